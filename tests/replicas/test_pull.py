"""Two replicas that pull books which change meanwhile must lose no row, and write none where nothing is new."""

import signal

from tests.support.oracle import XERO_RESOURCES, assert_mirror_equals, count_calls_by_resource, count_writes
from tests.support.replica_processes import ONE_ORGANISATION, open_cluster
from tests.support.waiting import wait_until

BOOKS = (*ONE_ORGANISATION, "--contacts", "120", "--invoices", "800", "--payments", "400", "--credit-notes", "80")
EDITS = 300
EDITS_PER_PAGE = 25
ROWS_IN_ONE_SECOND = 1500
ROUNDS = 2


async def test_hundreds_of_edits_while_one_replica_takes_the_pull_over_from_another_lose_nothing(dsn, tmp_path):
    """With the reading of `If-Modified-Since` that loses more; one process is tested with both."""
    async with open_cluster(dsn, tmp_path, xero=BOOKS, XERO_PAGE_SIZE="20") as cluster:
        await cluster.control("PATCH", "/options", {"if_modified_since": "exclusive"})
        first = await cluster.start()
        await cluster.record_owners()
        tenant_id = await cluster.start_first_sync()
        second = cluster.launch()
        made = pages = 0
        while made < EDITS:
            pages = await wait_for_next_page(cluster, pages)
            resource = XERO_RESOURCES[made // EDITS_PER_PAGE % len(XERO_RESOURCES)]
            edit = {"edit": "bulk_edit", "resource": resource, "count": EDITS_PER_PAGE}
            made += len((await cluster.edit_books(tenant_id, **edit))["changes"])
            if made >= EDITS // 2 and cluster.target is None:
                await second.wait_until_ready()
                first.signal(signal.SIGTERM)
                cluster.target = second
        assert not await cluster.is_idle(), "the pull ended before the edits did"
        await cluster.run_until_idle()
        await cluster.sync()
        assert len(await cluster.recorded_owners()) == 2
        await assert_mirror_equals(cluster, tenant_id)


async def wait_for_next_page(cluster, pages):
    """Wait until more than so many pages have been requested; return how many have."""

    async def is_requested():
        return len(await cluster.xero_calls()) > pages

    await wait_until(is_requested, "another page is requested")
    return len(await cluster.xero_calls())


async def test_more_rows_of_one_second_than_a_page_holds_are_read_to_the_end_by_a_second_replica(dsn, tmp_path):
    async with open_cluster(
        dsn, tmp_path, xero=(*ONE_ORGANISATION, "--invoices", "60"), XERO_PAGE_SIZE="100"
    ) as cluster:
        puller = await cluster.start()
        tenant_id = await cluster.start_first_sync()
        await cluster.run_until_idle()
        await cluster.postpone_ticks()
        await cluster.control("POST", "/clock", {"advance_seconds": 900})
        await cluster.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=ROWS_IN_ONE_SECOND)
        await cluster.start()
        await cluster.control("DELETE", "/ledger")
        cluster.target = puller
        started = await cluster.start_sync()
        await wait_for_next_page(cluster, 7)
        puller.kill()
        cluster.target = None
        await cluster.run_until_idle()
        assert (await cluster.read(started))["status"] == "succeeded"
        await assert_mirror_equals(cluster, tenant_id)


async def test_ticks_of_two_replicas_over_unchanged_books_write_no_row_and_cost_four_calls(dsn, tmp_path):
    small = ("--no-limits", "--latency-ms", "50", "--organisations", "4", "--practices", "0", "--invoices", "120")
    async with open_cluster(dsn, tmp_path, xero=small) as cluster:
        both = [await cluster.start(), await cluster.start()]
        tenant_ids = await cluster.connect()
        await cluster.select_tenants(*tenant_ids)
        await cluster.run_until_idle()
        await cluster.postpone_ticks()
        await cluster.sync()
        # PostgreSQL's statistics hold all writes of a replica at the latest when it has ended.
        for replica in both:
            await replica.terminate()
        before = await count_writes(cluster)
        await cluster.control("DELETE", "/ledger")
        cluster.replicas = []
        both = [await cluster.start(), await cluster.start()]
        await cluster.record_owners()
        for _ in range(ROUNDS):
            await cluster.sync_from_both(tenant_ids)
            await cluster.run_until_idle()
        assert len(await cluster.recorded_owners()) == 2
        for replica in both:
            await replica.terminate()
        assert await count_writes(cluster) == before
        for tenant_id in tenant_ids:
            assert await count_calls_by_resource(cluster, tenant_id) == dict.fromkeys(XERO_RESOURCES, ROUNDS)
