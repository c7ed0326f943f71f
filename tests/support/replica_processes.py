"""Real processes: replicas of the service over one PostgreSQL, and the pretend Xero, on loopback."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
from sqlalchemy import text
from typing_extensions import override

from app.clock import SystemClock
from app.db import Database, DatabaseUnavailable
from tests.support.paths import ROOT
from tests.support.service import CARD, KEYS, SECRET, World

SHORT = ("2", "0.5")
ONE = ("--no-limits", "--organisations", "1", "--practices", "0", "--latency-ms", "20")
PATIENCE = 90
LOOK = 0.05
SERVICE = Path(sys.executable).with_name("vectis-xero")
WIPED = (
    "sync_cursors, sync_runs, customers, billing_invoices, billing_payments, billing_credit_memos,"
    " billing_credit_allocations, customer_links, timeline_events, billing_alerts"
)


OPEN_TRANSACTIONS = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
    " AND pid <> pg_backend_pid()"
)
REMEMBER_OWNERS = (
    "CREATE TABLE seen_owners (owner text PRIMARY KEY)",
    """
    CREATE FUNCTION remember_owner() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO seen_owners VALUES (NEW.owner) ON CONFLICT DO NOTHING;
      RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER remember_owner AFTER INSERT OR UPDATE OF owner ON sync_leases
      FOR EACH ROW WHEN (NEW.owner IS NOT NULL) EXECUTE FUNCTION remember_owner()
    """,
)


class Replica:
    """A process of the service that listens on that port."""

    def __init__(self, command, port, environment, log):
        self._is_stopped = False
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            command, env=environment, stdout=log, stderr=log, cwd=ROOT
        )
        self.url = f"http://localhost:{port}"

    @property
    def is_answering(self):
        return self.process.poll() is None and not self._is_stopped

    def signal(self, number):
        self._is_stopped = number == signal.SIGSTOP
        self.process.send_signal(number)

    def kill(self):
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    async def end(self):
        """End it as an orchestrator does, and wait until it has."""
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 10)

    async def until_ready(self):
        async with httpx.AsyncClient() as client:
            await until(lambda: self._is_ready(client), "the replica is ready")

    async def _is_ready(self, client):
        assert self.process.poll() is None, "the replica ended; its log says why"
        try:
            return (await client.get(f"{self.url}/health/ready")).is_success
        except httpx.TransportError:
            return False


class Fleet(World):
    """Replicas, and the calls of `World` made to the one in `front`, or to the first that is up when none is."""

    def __init__(self, dsn, xero_url, logs, settings):
        self.services = SimpleNamespace(db=Database(dsn), clock=SystemClock())
        self.xero = httpx.AsyncClient(base_url=xero_url, timeout=60)
        self.replicas = []
        self.front = None
        self.home = f"http://localhost:{free_port()}"
        self._logs = logs
        self._client = httpx.AsyncClient(timeout=30)
        self._environment = {
            **os.environ,
            "DATABASE_URL": dsn,
            "ENCRYPTION_KEYS": KEYS,
            "AUTH_JWT_SECRET": SECRET,
            "PUBLIC_URL": self.home,
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
        living = self.front or next(one for one in self.replicas if one.is_answering)
        self._client.base_url = living.url
        return self._client

    async def start(self, timings=SHORT, arguments=()):
        """Start a replica, its leases on these terms or on the usual ones, and wait until it is ready."""
        replica = self.launch(timings, arguments)
        await replica.until_ready()
        return replica

    def launch(self, timings=SHORT, arguments=()):
        number = len(self.replicas)
        port = free_port() if self.replicas else int(self.home.rsplit(":", 1)[1])
        usual = [SERVICE, "serve", "--port", str(port), *arguments]
        ours = [sys.executable, "-m", "tests.replicas.replica", str(port), str(number), *(timings or ())]
        with (self._logs / f"replica-{number}.log").open("wb") as log:
            replica = Replica(ours if timings else usual, port, self._environment, log)
        self.replicas.append(replica)
        return replica

    @override
    async def work(self):
        """Wait until nothing is under way; the replicas do the work."""
        await until(self.is_idle, "every run is over")

    async def sync_from_both(self, tenant_ids):
        """Ask each of the first two replicas to sync one half of the organisations, so that both go to work."""
        half = len(tenant_ids) // 2
        for replica, share in zip(self.replicas, (tenant_ids[:half], tenant_ids[half:]), strict=False):
            self.front = replica
            started = await self.call("POST", f"{CARD}/sync", json={"tenant_ids": share})
            assert started.status_code == 202, started.text
        self.front = None

    async def put_ticks_off(self):
        """Leave it to the test alone when anything is synced from now on."""
        await self.execute(
            "INSERT INTO sync_schedules (name, due_at) VALUES ('tick:xero', now() + interval '1 day')"
            " ON CONFLICT (name) DO UPDATE SET due_at = excluded.due_at"
        )
        await self.work()

    async def remember_owners(self):
        """Have the database remember who owned anything; `owners` tells."""
        for statement in REMEMBER_OWNERS:
            await self.execute(statement)

    async def owners(self):
        return {row["owner"] for row in await self.rows("SELECT owner FROM seen_owners")}

    async def is_idle(self):
        try:
            return not await self.rows("SELECT 1 FROM sync_runs WHERE status = 'running'")
        except DatabaseUnavailable:
            return False

    async def begin_first_sync(self):
        """Pick the first organisation and wait until its first pages are here; return its id."""
        [tenant_id, *_] = await self.connect()
        await self.pick(tenant_id)
        await self.until_rows(1)
        return tenant_id

    async def begin_anew(self, tenant_id):
        """Forget everything that was synced, and have it synced again."""
        await self.work()
        async with self.services.db.transaction() as session:
            await session.execute(text(f"TRUNCATE {WIPED} CASCADE"))
        started = await self.call("POST", f"{CARD}/sync", json={"tenant_ids": [tenant_id]})
        assert started.status_code == 202, started.text
        await self.until_rows(1)

    async def until_rows(self, least):
        async def are_there():
            [found] = await self.rows("SELECT coalesce(sum(rows_read), 0) AS n FROM sync_cursors")
            return found["n"] >= least

        await until(are_there, f"{least} rows are read")

    async def freeze_at_rest(self, replica):
        """Stop a replica between two of its transactions, so that what follows meets no lock of it."""

        async def is_at_rest():
            replica.signal(signal.SIGSTOP)
            if not await self.rows(OPEN_TRANSACTIONS):
                return True
            replica.signal(signal.SIGCONT)
            return False

        await until(is_at_rest, "no transaction is open")

    async def owner(self):
        """Return who owns the first organisation now, and by which fencing token."""
        rows = await self.rows(
            "SELECT owner, fencing_token FROM sync_leases WHERE expires_at > wall_clock() ORDER BY fencing_token DESC"
        )
        return (rows[0]["owner"], rows[0]["fencing_token"]) if rows else (None, 0)

    async def until_another_owns(self, former):
        """Wait until somebody else than the former owner holds the lease; return the seconds it took."""
        began = time.monotonic()

        async def is_taken():
            return (await self.owner())[0] not in {None, former}

        await until(is_taken, "another replica has taken over")
        return time.monotonic() - began

    async def close(self):
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.signal(signal.SIGCONT)
                replica.kill()
        await self._client.aclose()
        await self.xero.aclose()
        await self.services.db.close()


@asynccontextmanager
async def open_fleet(dsn, logs, *, xero=("--no-limits",), **settings):
    """Open a fleet without replicas; `xero` are arguments of the pretend Xero, settings environment variables."""
    command = [sys.executable, "-m", "simulator", "--auto-consent", "--until-stdin-closes", *xero]
    simulator = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert simulator.stdout
    fleet = Fleet(dsn, (await simulator.stdout.readline()).decode().split()[-1], logs, settings)
    try:
        yield fleet
    finally:
        await fleet.close()
        simulator.terminate()
        await simulator.wait()


async def until(is_so, what):
    """Look until it is so."""
    began = time.monotonic()
    while not await is_so():
        assert time.monotonic() - began < PATIENCE, f"waited {PATIENCE} s until {what}"
        await asyncio.sleep(LOOK)


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
