"""Two replicas over one PostgreSQL, killed, stopped, ended and left without their database; the mirror stays whole.

Run shortened here; `make soak` runs the whole loops (SOAK_KILLS, SOAK_STOPS, SOAK_RESTARTS say how many).
"""

import asyncio
import os
import random
import signal
import time
from pathlib import Path

from app.embedded_postgres import EmbeddedPostgres
from tests.conftest import CARELESS
from tests.support.oracle import assert_mirror_equals
from tests.support.postgres import Administrator, make_data_dir
from tests.support.replica_processes import ONE, free_port, open_fleet, until
from tests.support.service import CARD

KILLS = int(os.environ.get("SOAK_KILLS", "3"))
STOPS = int(os.environ.get("SOAK_STOPS", "1"))
RESTARTS = int(os.environ.get("SOAK_RESTARTS", "1"))
TWENTY_THOUSAND = (
    *ONE,
    *("--contacts", "1500", "--invoices", "12000", "--payments", "6000", "--credit-notes", "500"),
)
FIVE_THOUSAND = (*ONE, *("--contacts", "400", "--invoices", "3000", "--payments", "1500", "--credit-notes", "100"))
FOUR = (
    *("--no-limits", "--organisations", "4", "--practices", "0"),
    *("--contacts", "40", "--invoices", "300", "--payments", "150"),
)
PAGES = 25


async def test_twenty_thousand_rows_survive_kills_at_random_moments(dsn, tmp_path):
    chance = random.Random()  # noqa: S311 - moments, not secrets
    async with open_fleet(dsn, tmp_path, xero=TWENTY_THOUSAND) as fleet:
        living = [await fleet.start(), await fleet.start()]
        tenant_id = await fleet.begin_first_sync()
        killed_since_anew = 0
        for _ in range(KILLS):
            if await fleet.is_idle():
                await check_calls(fleet, killed_since_anew)
                await assert_mirror_equals(fleet, tenant_id)
                await fleet.control("DELETE", "/ledger")
                await fleet.begin_anew(tenant_id)
                killed_since_anew = 0
            await asyncio.sleep(chance.uniform(0, 1.5))
            victim = chance.randrange(2)
            living[victim].kill()
            killed_since_anew += 1
            living[victim] = await fleet.start()
        await fleet.work()
        await check_calls(fleet, killed_since_anew)
        await assert_mirror_equals(fleet, tenant_id)
        [doubled] = await fleet.rows(
            "SELECT count(*) - count(DISTINCT (source, source_tenant_id, external_id)) AS n FROM billing_invoices"
        )
        assert doubled["n"] == 0


async def check_calls(fleet, kills):
    """Each kill costs at most the page under way of each of the four resources, and one look at the end."""
    assert len(await fleet.ledger()) <= PAGES + 8 * kills


async def test_a_replica_stopped_past_its_lease_writes_nothing_when_it_goes_on(dsn, tmp_path):
    async with open_fleet(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="200") as fleet:
        stopped, other = await fleet.start(), None
        tenant_id = await fleet.begin_first_sync()
        for number in range(STOPS):
            former, token = await fleet.owner()
            stopped.signal(signal.SIGSTOP)
            other = other or fleet.launch()
            await fleet.until_another_owns(former)
            assert (await fleet.owner())[1] > token
            await fleet.work()
            await assert_mirror_equals(fleet, tenant_id)
            [before] = await fleet.rows("SELECT max(updated_at) AS at FROM billing_invoices")
            stopped.signal(signal.SIGCONT)
            await asyncio.sleep(1.5)
            [after] = await fleet.rows("SELECT max(updated_at) AS at FROM billing_invoices")
            assert before["at"] == after["at"]
            await assert_mirror_equals(fleet, tenant_id)
            if number + 1 < STOPS:
                # The next to be stopped is whoever works now, with the other one standing by.
                stopped, other = other, stopped
                await fleet.freeze_at_rest(other)
                await fleet.begin_anew(tenant_id)
                other.signal(signal.SIGCONT)


async def test_a_killed_owner_is_followed_within_thirty_seconds(dsn, tmp_path):
    """With the usual leases, and the command itself."""
    async with open_fleet(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="50") as fleet:
        owner = await fleet.start(timings=None)
        tenant_id = await fleet.begin_first_sync()
        former, _ = await fleet.owner()
        await fleet.start(timings=None)
        owner.kill()
        assert await fleet.until_another_owns(former) < 30
        await fleet.work()
        await assert_mirror_equals(fleet, tenant_id)


async def test_an_ended_owner_hands_over_at_once(dsn, tmp_path):
    async with open_fleet(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="50") as fleet:
        owner = await fleet.start(timings=None)
        tenant_id = await fleet.begin_first_sync()
        former, _ = await fleet.owner()
        await fleet.start(timings=None)
        began = time.monotonic()
        owner.signal(signal.SIGTERM)
        assert await fleet.until_another_owns(former) < 5
        assert await asyncio.to_thread(owner.process.wait, 10) == 0
        assert time.monotonic() - began < 10
        await fleet.work()
        await assert_mirror_equals(fleet, tenant_id)


async def test_postgres_restarted_under_load_ends_no_replica(tmp_path):
    data_dir = make_data_dir()
    settings = {**CARELESS, "port": str(free_port())}
    with EmbeddedPostgres(data_dir, settings) as server, EmbeddedPostgres(data_dir, settings) as second:
        dsn = server.start()
        with Administrator(dsn) as administrator:
            dsn = administrator.create_database()
        async with open_fleet(dsn, tmp_path, xero=FIVE_THOUSAND, XERO_PAGE_SIZE="50") as fleet:
            await fleet.start(timings=None, arguments=("--migrate",))
            await fleet.start(timings=None)
            tenant_id = await fleet.begin_first_sync()
            for _ in range(RESTARTS):
                await asyncio.to_thread(crash, data_dir)
                second.stop()
                second.start()
                began = time.monotonic()
                await until(lambda: is_served(fleet), "the card can be read again")
                assert time.monotonic() - began < 10
                await asyncio.sleep(1)
            await fleet.work()
            await assert_mirror_equals(fleet, tenant_id)
            assert all(replica.process.poll() is None for replica in fleet.replicas)


async def is_served(fleet):
    return (await fleet.call("GET", CARD)).status_code == 200


def crash(data_dir: Path):
    """Stop the server at once, without a checkpoint, and wait for its end."""
    pid_file = data_dir / "postgres" / "cluster" / "data" / "postmaster.pid"
    os.kill(int(pid_file.read_text().split("\n")[0]), signal.SIGQUIT)
    began = time.monotonic()
    while pid_file.exists() and time.monotonic() - began < 10:
        time.sleep(0.05)


async def test_a_storm_of_refusals_at_one_organisation_leaves_the_others_alone(dsn, tmp_path):
    small = (
        "--no-limits",
        "--organisations",
        "4",
        "--practices",
        "0",
        "--contacts",
        "40",
        "--invoices",
        "300",
        "--payments",
        "150",
    )
    async with open_fleet(dsn, tmp_path, xero=small, XERO_PAGE_SIZE="50") as fleet:
        await fleet.start()
        await fleet.start()
        stormy, *others = await fleet.connect()
        await fleet.fault("limit_minute", tenant_id=stormy, retry_after="1", times=None)
        began = time.monotonic()
        await fleet.pick(stormy, *others)

        async def are_done():
            rows = await fleet.rows("SELECT tenant_id FROM tenants WHERE data_as_of IS NOT NULL")
            done = {row["tenant_id"] for row in rows}
            return done >= set(others) or await are_whole()

        async def are_whole():
            rows = await fleet.rows(
                "SELECT tenant_id FROM sync_cursors WHERE completed_at IS NOT NULL GROUP BY 1 HAVING count(*) = 4"
            )
            return {row["tenant_id"] for row in rows} >= set(others)

        await until(are_done, "the others are done")
        assert time.monotonic() - began < 20
        for tenant_id in others:
            await assert_mirror_equals(fleet, tenant_id)
        await fleet.control("DELETE", "/faults")
        await fleet.work()
        await fleet.call("POST", f"{CARD}/sync")
        await fleet.work()
        await assert_mirror_equals(fleet, stormy)


async def test_two_replicas_may_migrate_at_once(empty_dsn, tmp_path):
    async with open_fleet(empty_dsn, tmp_path, xero=ONE) as fleet:
        both = [fleet.launch(None, ("--migrate",)) for _ in range(2)]
        await asyncio.gather(*(replica.until_ready() for replica in both))
