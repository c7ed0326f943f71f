"""Two replicas that are killed, stopped, terminated or cut off from PostgreSQL must lose and double no row.

Run shortened here; `make soak` runs the whole loops (SOAK_KILLS, SOAK_STOPS, SOAK_RESTARTS say how many).
"""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

from app.embedded_postgres import EmbeddedPostgres
from tests.support.oracle import assert_mirror_equals
from tests.support.ports import free_port
from tests.support.postgres import WITHOUT_DURABILITY, Administrator, make_data_dir
from tests.support.replica_processes import ONE_ORGANISATION, open_cluster
from tests.support.service import INTEGRATION
from tests.support.waiting import wait_until

KILLS = int(os.environ.get("SOAK_KILLS", "2"))
STOPS = int(os.environ.get("SOAK_STOPS", "1"))
RESTARTS = int(os.environ.get("SOAK_RESTARTS", "1"))
TWENTY_THOUSAND = (
    *ONE_ORGANISATION,
    *("--contacts", "1500", "--invoices", "12000", "--payments", "6000", "--credit-notes", "500"),
)
FOUR_THOUSAND = (
    *(*ONE_ORGANISATION, "--latency-ms", "150"),
    *("--contacts", "300", "--invoices", "2400", "--payments", "1200", "--credit-notes", "100"),
)
# In as many pages either way, so that a kill at a random moment is one amid the reading.
KILLED_BOOKS, KILLED_PAGE_SIZE = (TWENTY_THOUSAND, "1000") if "SOAK_KILLS" in os.environ else (FOUR_THOUSAND, "200")
FIVE_THOUSAND = (
    *ONE_ORGANISATION,
    *("--contacts", "400", "--invoices", "3000", "--payments", "1500", "--credit-notes", "100"),
)
FOUR_ORGANISATIONS = (
    *("--no-limits", "--organisations", "4", "--practices", "0"),
    *("--contacts", "40", "--invoices", "300", "--payments", "150"),
)
PAGES = 25


async def test_thousands_of_rows_survive_kills_at_random_moments(dsn, tmp_path):
    moments = random.Random()  # noqa: S311 - moments, not secrets
    async with open_cluster(dsn, tmp_path, xero=KILLED_BOOKS, XERO_PAGE_SIZE=KILLED_PAGE_SIZE) as cluster:
        replicas = [await cluster.start(), await cluster.start()]
        tenant_id = await cluster.start_first_sync()
        kills = kills_amid = 0
        for _ in range(KILLS):
            if await cluster.is_idle():
                await assert_few_calls(cluster, kills)
                await assert_mirror_equals(cluster, tenant_id)
                await cluster.control("DELETE", "/ledger")
                await cluster.resync_from_empty(tenant_id)
                kills = 0
            await asyncio.sleep(moments.uniform(0, 1.5))
            victim = moments.randrange(2)
            kills_amid += not await cluster.is_idle()
            replicas[victim].kill()
            kills += 1
            replicas[victim] = await cluster.start()
        assert kills_amid, "every run ended before a replica was killed"
        await cluster.run_until_idle()
        await assert_few_calls(cluster, kills)
        await assert_mirror_equals(cluster, tenant_id)
        [duplicates] = await cluster.query(
            "SELECT count(*) - count(DISTINCT (source, source_tenant_id, external_id)) AS n FROM billing_invoices"
        )
        assert duplicates["n"] == 0


async def assert_few_calls(cluster, kills):
    """Each kill costs, of each of the four resources, the page being stored and the one being read, at most."""
    assert len(await cluster.xero_calls()) <= PAGES + 8 * kills


async def test_a_replica_stopped_past_its_lease_writes_nothing_when_it_continues(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="200") as cluster:
        stopped, other = await cluster.start(), None
        tenant_id = await cluster.start_first_sync()
        for number in range(STOPS):
            former, token = await cluster.lease_holder()
            stopped.signal(signal.SIGSTOP)
            other = other or cluster.launch()
            await cluster.wait_for_takeover(former)
            assert (await cluster.lease_holder())[1] > token
            await cluster.run_until_idle()
            await assert_mirror_equals(cluster, tenant_id)
            [before] = await cluster.query("SELECT max(updated_at) AS at FROM billing_invoices")
            stopped.signal(signal.SIGCONT)
            await asyncio.sleep(1.5)
            [after] = await cluster.query("SELECT max(updated_at) AS at FROM billing_invoices")
            assert before["at"] == after["at"]
            await assert_mirror_equals(cluster, tenant_id)
            if number + 1 < STOPS:
                # The next replica to be stopped is the one that syncs now; the other must be there to take over.
                stopped, other = other, stopped
                await cluster.stop_between_transactions(other)
                await cluster.resync_from_empty(tenant_id)
                other.signal(signal.SIGCONT)


async def test_a_killed_replica_s_organisation_is_taken_over_within_thirty_seconds(dsn, tmp_path):
    """With the default lease timings, and replicas started by the command `serve`."""
    async with open_cluster(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="50") as cluster:
        owner = await cluster.start(timings=None)
        tenant_id = await cluster.start_first_sync()
        former, _ = await cluster.lease_holder()
        await start_another(cluster)
        owner.kill()
        assert await cluster.wait_for_takeover(former) < 30
        await cluster.run_until_idle()
        await assert_mirror_equals(cluster, tenant_id)


async def start_another(cluster):
    """Start a second replica while Xero answers so slowly that the first one is not done meanwhile."""
    await cluster.control("PATCH", "/options", {"latency_ms": 2000})
    await cluster.start(timings=None)
    await cluster.control("PATCH", "/options", {"latency_ms": 20})


async def test_a_terminated_replica_releases_its_lease_at_once(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="50") as cluster:
        owner = await cluster.start(timings=None)
        tenant_id = await cluster.start_first_sync()
        former, _ = await cluster.lease_holder()
        await start_another(cluster)
        began = time.monotonic()
        owner.signal(signal.SIGTERM)
        assert await cluster.wait_for_takeover(former) < 5
        assert await asyncio.to_thread(owner.process.wait, 10) == 0
        assert time.monotonic() - began < 10
        await cluster.run_until_idle()
        await assert_mirror_equals(cluster, tenant_id)


async def test_postgres_restarted_under_load_ends_no_replica(tmp_path):
    data_dir = make_data_dir()
    settings = {**WITHOUT_DURABILITY, "port": str(free_port())}
    with EmbeddedPostgres(data_dir, settings) as server, EmbeddedPostgres(data_dir, settings) as second:
        dsn = server.start()
        with Administrator(dsn) as administrator:
            dsn = administrator.create_database()
        async with open_cluster(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="50") as cluster:
            await cluster.start(timings=None, arguments=("--migrate",))
            await cluster.start(timings=None)
            tenant_id = await cluster.start_first_sync()
            for _ in range(RESTARTS):
                await asyncio.to_thread(crash, data_dir)
                second.stop()
                second.start()
                began = time.monotonic()
                await wait_until(lambda: is_served(cluster), "the integration's status can be read again")
                assert time.monotonic() - began < 10
                await asyncio.sleep(1)
            await cluster.run_until_idle()
            await assert_mirror_equals(cluster, tenant_id)
            assert all(replica.process.poll() is None for replica in cluster.replicas)


async def is_served(cluster):
    return (await cluster.call("GET", INTEGRATION)).status_code == 200


def crash(data_dir: Path):
    """Stop the PostgreSQL of this folder at once, without a checkpoint, and wait for its end."""
    pid_file = data_dir / "postgres" / "cluster" / "data" / "postmaster.pid"
    os.kill(int(pid_file.read_text().split("\n")[0]), signal.SIGQUIT)
    began = time.monotonic()
    while pid_file.exists() and time.monotonic() - began < 10:
        time.sleep(0.05)


async def test_an_organisation_whose_every_call_is_rate_limited_delays_no_other(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=FOUR_ORGANISATIONS, XERO_PAGE_SIZE="50") as cluster:
        await cluster.start()
        await cluster.start()
        limited, *others = await cluster.connect()
        await cluster.add_fault("limit_minute", tenant_id=limited, retry_after="1", times=None)
        await cluster.select_tenants(limited, *others)

        async def are_synced():
            rows = await cluster.query("SELECT tenant_id FROM tenants WHERE data_as_of IS NOT NULL")
            done = {row["tenant_id"] for row in rows}
            return done >= set(others) or await are_read()

        async def are_read():
            rows = await cluster.query(
                "SELECT tenant_id FROM sync_cursors WHERE completed_at IS NOT NULL GROUP BY 1 HAVING count(*) = 4"
            )
            return {row["tenant_id"] for row in rows} >= set(others)

        # Which has no end, so they have not waited for the end of it.
        await wait_until(are_synced, "the others are synced, while one is being refused")
        for tenant_id in others:
            await assert_mirror_equals(cluster, tenant_id)
        await cluster.control("DELETE", "/faults")
        await cluster.run_until_idle()
        await cluster.call("POST", f"{INTEGRATION}/sync")
        await cluster.run_until_idle()
        await assert_mirror_equals(cluster, limited)


async def test_two_replicas_may_migrate_at_once(empty_dsn, tmp_path):
    async with open_cluster(empty_dsn, tmp_path, xero=ONE_ORGANISATION) as cluster:
        both = [cluster.launch(None, ("--migrate",)) for _ in range(2)]
        await asyncio.gather(*(replica.wait_until_ready() for replica in both))
