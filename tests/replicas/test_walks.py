"""Two replicas, and books that change while they are read: nothing lost, and nothing written where nothing is new."""

import signal

import pytest

from tests.end_to_end.sync.test_pull import LISTS, calls_by_resource, writes
from tests.support.oracle import assert_mirror_equals
from tests.support.replica_processes import ONE, open_fleet, until

BUSY = (*ONE, "--contacts", "120", "--invoices", "1200", "--payments", "700", "--credit-notes", "80")
EDITS = 500
AT_A_TIME = 25
CROWD = 2500


@pytest.mark.parametrize("if_modified_since", ["inclusive", "exclusive"])
async def test_five_hundred_edits_while_two_replicas_hand_the_walk_over(dsn, tmp_path, if_modified_since):
    async with open_fleet(dsn, tmp_path, xero=BUSY, XERO_PAGE_SIZE="20") as fleet:
        await fleet.control("PATCH", "/options", {"if_modified_since": if_modified_since})
        first = await fleet.start()
        await fleet.remember_owners()
        tenant_id = await fleet.begin_first_sync()
        second = fleet.launch()
        made = pages = 0
        while made < EDITS:
            pages = await next_page(fleet, pages)
            resource = LISTS[made // AT_A_TIME % len(LISTS)]
            edit = {"edit": "bulk_edit", "resource": resource, "count": AT_A_TIME}
            made += len((await fleet.edit(tenant_id, **edit))["changes"])
            if made >= EDITS // 2 and fleet.front is None:
                await second.until_ready()
                first.signal(signal.SIGTERM)
                fleet.front = second
        assert not await fleet.is_idle(), "the edits were to be made while pages were read"
        await fleet.work()
        await fleet.sync()
        assert len(await fleet.owners()) == 2
        await assert_mirror_equals(fleet, tenant_id)


async def next_page(fleet, pages):
    """Wait until more pages were asked for than that; return how many."""

    async def is_there():
        return len(await fleet.ledger()) > pages

    await until(is_there, "another page is asked for")
    return len(await fleet.ledger())


async def test_a_killed_replicas_crowded_second_is_read_to_its_end_by_another(dsn, tmp_path):
    async with open_fleet(dsn, tmp_path, xero=(*ONE, "--invoices", "60"), XERO_PAGE_SIZE="100") as fleet:
        walking = await fleet.start()
        tenant_id = await fleet.begin_first_sync()
        await fleet.work()
        await fleet.put_ticks_off()
        await fleet.control("POST", "/clock", {"advance_seconds": 900})
        await fleet.edit(tenant_id, edit="bulk_insert", resource="Invoices", count=CROWD)
        await fleet.start()
        await fleet.control("DELETE", "/ledger")
        fleet.front = walking
        started = await fleet.begin_sync()
        await next_page(fleet, 12)
        walking.kill()
        fleet.front = None
        await fleet.work()
        assert (await fleet.read(started))["status"] == "succeeded"
        await assert_mirror_equals(fleet, tenant_id)


async def test_ticks_of_two_replicas_over_unchanged_books_write_no_row_and_cost_four_calls(dsn, tmp_path):
    small = ("--no-limits", "--latency-ms", "50", "--organisations", "4", "--practices", "0", "--invoices", "120")
    async with open_fleet(dsn, tmp_path, xero=small) as fleet:
        both = [await fleet.start(), await fleet.start()]
        tenant_ids = await fleet.connect()
        await fleet.pick(*tenant_ids)
        await fleet.work()
        await fleet.put_ticks_off()
        await fleet.sync()
        # A process tells the server's statistics of its writes at the latest when it ends.
        for replica in both:
            await replica.end()
        before = await writes(fleet)
        await fleet.control("DELETE", "/ledger")
        fleet.replicas = []
        both = [await fleet.start(), await fleet.start()]
        await fleet.remember_owners()
        for _ in range(3):
            await fleet.sync_from_both(tenant_ids)
            await fleet.work()
        assert len(await fleet.owners()) == 2
        for replica in both:
            await replica.end()
        assert await writes(fleet) == before
        for tenant_id in tenant_ids:
            assert await calls_by_resource(fleet, tenant_id) == dict.fromkeys(LISTS, 3)
