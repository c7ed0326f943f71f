"""Replicas of the service in processes of their own, over one PostgreSQL and one simulated Xero."""

import asyncio
import os
import signal
import time
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from types import SimpleNamespace

import httpx
from sqlalchemy import text
from typing_extensions import override

from app.clock import SystemClock
from app.db import Database, DatabaseUnavailable
from tests.support.forked_process import ForkedProcess
from tests.support.paths import ROOT
from tests.support.pgbouncer import run_pgbouncer
from tests.support.ports import free_port
from tests.support.service import ENCRYPTION_KEYS, INTEGRATION, JWT_SECRET, ServiceHarness
from tests.support.waiting import wait_until

# Arguments of `tests.replicas.replica`: the seconds that a lease lasts, and those between two heartbeats.
SHORT_LEASES = ("2", "0.5")
# Whether every replica is put behind PgBouncer, as `make soak` does in its second half.
BEHIND_POOLER = bool(os.environ.get("TEST_POOLER"))
# Arguments of the simulated Xero.
ONE_ORGANISATION = ("--no-limits", "--organisations", "1", "--practices", "0", "--latency-ms", "20")
# A replica lets requests end for 5 seconds; the rest is for a slow machine.
TERMINATE_TIMEOUT_SECONDS = 60
SYNCED_TABLES = (
    "sync_cursors, sync_runs, customers, billing_invoices, billing_payments, billing_credit_memos,"
    " billing_credit_allocations, customer_links, external_timeline_events, billing_alerts"
)
OPEN_TRANSACTIONS = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
    " AND pid <> pg_backend_pid()"
)
RECORD_OWNERS = (
    "CREATE TABLE recorded_owners (owner text PRIMARY KEY)",
    """
    CREATE FUNCTION record_owner() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO recorded_owners VALUES (NEW.owner) ON CONFLICT DO NOTHING;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER record_owner AFTER INSERT OR UPDATE OF owner ON sync_leases
      FOR EACH ROW WHEN (NEW.owner IS NOT NULL) EXECUTE FUNCTION record_owner()
    """,
)


class Replica:
    """One process of the service, listening on a port of this machine."""

    def __init__(self, process, port):
        self._is_stopped = False
        self.process = process
        self.url = f"http://localhost:{port}"

    @property
    def is_answering(self):
        return self.process.poll() is None and not self._is_stopped

    def signal(self, number):
        self._is_stopped = number == signal.SIGSTOP
        self.process.send_signal(number)

    def kill(self):
        """End the process without a chance to clean up, as a power cut does."""
        self.process.kill()
        self.process.wait(10)

    async def terminate(self):
        """End the process as an orchestrator does, with SIGTERM, and wait for its end."""
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, TERMINATE_TIMEOUT_SECONDS)

    async def wait_until_ready(self):
        async with httpx.AsyncClient() as client:
            await wait_until(lambda: self._is_ready(client), "the replica is ready")

    async def _is_ready(self, client):
        assert self.process.poll() is None, "the replica ended; its log says why"
        try:
            return (await client.get(f"{self.url}/health/ready")).is_success
        except httpx.TransportError:
            return False


class ReplicaCluster(ServiceHarness):
    """The replicas of one service; makes the calls of `ServiceHarness` to one of them.

    Args:
        dsn: the database that all replicas share.
        xero_url: the simulated Xero.
        log_dir: the folder for a log per replica.
        settings: environment variables of every replica.

    Attributes:
        replicas: in the order they were launched, those that have ended included.
        target: the replica that is called; None for the first that answers.
        public_url: PUBLIC_URL of every replica, which the first one listens at.
    """

    def __init__(self, dsn, xero_url, log_dir, settings):
        database = Database(dsn)
        self.services = SimpleNamespace(db=database, databases=(database,), close=database.close, clock=SystemClock())
        self.jwt_secret = JWT_SECRET
        self.xero = httpx.AsyncClient(base_url=xero_url, timeout=60)
        self.replicas = []
        self.target = None
        self.public_url = f"http://localhost:{free_port()}"
        self._log_dir = log_dir
        self._client = httpx.AsyncClient(timeout=30)
        self._environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "ENCRYPTION_KEYS": ENCRYPTION_KEYS,
            "AUTH_JWT_SECRET": JWT_SECRET,
            "PUBLIC_URL": self.public_url,
            "XERO_CLIENT_ID": "SIMULATED-CLIENT",
            "XERO_CLIENT_SECRET": "simulated-secret",
            "XERO_WEBHOOK_KEY": "simulated-webhook-key",
            **{f"XERO_{name}_URL": xero_url for name in ("LOGIN", "IDENTITY", "API")},
            "XERO_REQUESTS_PER_MINUTE": "60000",
            "XERO_APP_REQUESTS_PER_MINUTE": "600000",
            "SYNC_INTERVAL_SECONDS": "86400",
            "LOG_FORMAT": "json",
            **settings,
        }

    @property
    @override
    def client(self):
        called = self.target or next(replica for replica in self.replicas if replica.is_answering)
        self._client.base_url = called.url
        return self._client

    async def start(self, timings=SHORT_LEASES, arguments=()):
        """Start a replica and wait until it is ready; see `launch`."""
        replica = self.launch(timings, arguments)
        await replica.wait_until_ready()
        return replica

    def launch(self, timings=SHORT_LEASES, arguments=()):
        """Start a replica with these lease timings, or by the command `serve` when they are None.

        Args:
            timings: how long a lease lasts and how often it is renewed, in seconds.
            arguments: of the command.
        """
        number = len(self.replicas)
        port = free_port() if self.replicas else int(self.public_url.rsplit(":", 1)[1])
        program, words = (
            ("tests.replicas.replica", (port, number, *timings))
            if timings
            else ("app.cli.commands", ("serve", "--port", port, *arguments))
        )
        log = self._log_dir / f"replica-{number}.log"
        replica = Replica(ForkedProcess(program, words, self._environment, (log, log), ROOT), port)
        self.replicas.append(replica)
        return replica

    @override
    async def run_until_idle(self):
        """Wait until no run is open: the replicas' own workers execute them."""
        await wait_until(self.is_idle, "no run is open")

    async def sync_from_both(self, tenant_ids):
        """Ask each of the first two replicas to sync one half of the organisations, so that both take some."""
        half = len(tenant_ids) // 2
        for replica, share in zip(self.replicas, (tenant_ids[:half], tenant_ids[half:]), strict=False):
            self.target = replica
            started = await self.call("POST", f"{INTEGRATION}/sync", json={"tenant_ids": share})
            assert started.status_code == 202, started.text
        self.target = None

    async def postpone_ticks(self):
        """Put the next tick off by a day, so that only the test starts runs."""
        await self.execute(
            "INSERT INTO sync_schedules (name, due_at) VALUES ('tick:xero', now() + interval '1 day')"
            " ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at"
        )
        await self.run_until_idle()

    async def record_owners(self):
        """Let the database record every owner of a lease from now on, for `recorded_owners`."""
        for statement in RECORD_OWNERS:
            await self.execute(statement)

    async def recorded_owners(self):
        return {row["owner"] for row in await self.query("SELECT owner FROM recorded_owners")}

    async def is_idle(self):
        try:
            return not await self.query("SELECT 1 FROM sync_runs WHERE status = 'running'")
        except DatabaseUnavailable:
            return False

    async def start_first_sync(self):
        """Select the first organisation, wait until its first rows are read, and return its tenant id."""
        [tenant_id, *_] = await self.connect()
        await self.select_tenants(tenant_id)
        await self.wait_for_rows(1)
        return tenant_id

    async def resync_from_empty(self, tenant_id):
        """Delete everything that was synced, start a run that reads it again, and wait for its first rows."""
        await self.run_until_idle()
        async with self.services.db.transaction() as session:
            await session.execute(text(f"TRUNCATE {SYNCED_TABLES} CASCADE"))
        started = await self.call("POST", f"{INTEGRATION}/sync", json={"tenant_ids": [tenant_id]})
        assert started.status_code == 202, started.text
        await self.wait_for_rows(1)

    async def wait_for_rows(self, least):
        async def are_there():
            [found] = await self.query("SELECT coalesce(sum(rows_read), 0) AS n FROM sync_cursors")
            return found["n"] >= least

        await wait_until(are_there, f"{least} rows are read")

    async def stop_between_transactions(self, replica):
        """Stop a replica while none of its transactions is open, so that it holds no lock."""

        async def is_stopped():
            replica.signal(signal.SIGSTOP)
            if not await self.query(OPEN_TRANSACTIONS):
                return True
            replica.signal(signal.SIGCONT)
            return False

        await wait_until(is_stopped, "no transaction is open")

    async def lease_holder(self):
        """Return the owner with the highest fencing token and that token; (None, 0) when no lease is held."""
        rows = await self.query(
            "SELECT owner, fencing_token FROM sync_leases WHERE expires_at > wall_clock() ORDER BY fencing_token DESC"
        )
        return (rows[0]["owner"], rows[0]["fencing_token"]) if rows else (None, 0)

    async def wait_for_takeover(self, former):
        """Wait until another owner than the former one holds a lease; return the seconds it took."""
        began = time.monotonic()

        async def is_taken():
            return (await self.lease_holder())[0] not in {None, former}

        await wait_until(is_taken, "another replica has taken over")
        return time.monotonic() - began

    async def aclose(self):
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.signal(signal.SIGCONT)
                replica.kill()
        await self._client.aclose()
        await self.xero.aclose()
        await self.services.close()


@asynccontextmanager
async def open_cluster(dsn, log_dir, *, xero=("--no-limits",), is_pooled=BEHIND_POOLER, **settings):
    """Start the simulated Xero and yield a cluster that has no replica yet.

    Args:
        dsn: the database that all replicas share.
        log_dir: the folder for a log per replica.
        xero: arguments of the simulated Xero.
        is_pooled: whether the replicas reach the database through PgBouncer; the test itself never does.
        settings: environment variables of every replica.
    """
    port = free_port()
    words, log = ("--port", port, "--auto-consent", *xero), log_dir / "xero.log"
    simulator = ForkedProcess("simulator.__main__", words, os.environ, (log, log), ROOT)
    xero_url = f"http://127.0.0.1:{port}"
    try:
        await _wait_until_answering(xero_url)
        pooler: AbstractContextManager[dict[str, str]] = _pooler_settings(dsn) if is_pooled else nullcontext({})
        with pooler as more_settings:
            async with aclosing(ReplicaCluster(dsn, xero_url, log_dir, {**settings, **more_settings})) as cluster:
                yield cluster
    finally:
        simulator.terminate()
        await asyncio.to_thread(simulator.wait, TERMINATE_TIMEOUT_SECONDS)


async def _wait_until_answering(url):
    async def is_answering():
        try:
            return (await client.get(f"{url}/_control/stats")).is_success
        except httpx.TransportError:
            return False

    async with httpx.AsyncClient() as client:
        await wait_until(is_answering, "the simulated Xero answers")


@contextmanager
def _pooler_settings(dsn):
    """Run a PgBouncer in front of the database, and yield the settings of a replica behind it."""
    with run_pgbouncer(dsn, free_port()) as pooled_dsn:
        yield {"DATABASE_URL": pooled_dsn, "DATABASE_POOLER": "transaction"}
