"""Answers that do not come in time or are too large: the same run asks for fewer rows, and no row is missing."""

from itertools import count
from urllib.parse import parse_qs

from app.main import create_app
from app.sync.client.tenant_client import MAX_ATTEMPTS
from tests.support.clocks import shifted_clock
from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION, open_harness, settings_for

UNLIMITED = {"limits_enabled": False}
HOUR = 3600


async def invoice_requests(harness):
    """Return page and size of the invoice lists that were asked for since the last call, and forget them."""
    queries = [parse_qs(call["query"]) for call in await harness.xero_calls() if call["resource"] == "Invoices"]
    await harness.control("DELETE", "/ledger")
    return [(int(query["page"][0]), int(query["pageSize"][0])) for query in queries if "page" in query]


async def sizes_asked_for(harness):
    return [size for _, size in await invoice_requests(harness)]


async def reconcile(harness):
    started = await harness.call("POST", f"{INTEGRATION}/reconcile")
    await harness.run_until_idle()
    return await harness.read(started.headers["location"])


async def test_slow_answers_are_asked_for_with_fewer_rows_at_once_remembered_and_more_rows_tried_day_by_day(dsn, logs):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock, options=UNLIMITED) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.add_fault("unanswered", resource="Invoices", rows_above=250, times=None)
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        [run] = (await harness.read(f"{INTEGRATION}/runs"))["items"]
        assert run["status"] == "succeeded"
        assert (await harness.selected_tenants())[tenant_id]["health"] == "healthy"
        assert await sizes_asked_for(harness) == [1000, 500, 250]
        told = [(log["resource"], log["page_size"]) for log in logs if log["event"] == "page_size_reduced"]
        assert told == [("invoices", 500), ("invoices", 250)]
        await assert_mirror_equals(harness, tenant_id)

        other = create_app(settings_for(dsn), clock=clock, transport=harness.transport)
        await harness.start_sync()
        await other.state.services.engines["xero"].worker.run_until_idle()
        await other.state.services.close()
        assert await sizes_asked_for(harness) == [250]

        sizes: list[list[int]] = []
        for hours in (23, 2, 23, 2, 24):
            if len(sizes) == 2:
                await harness.control("DELETE", "/faults")
            await clock.advance(hours * HOUR)
            assert (await harness.sync())["status"] == "succeeded"
            sizes.append(await sizes_asked_for(harness))
        assert sizes == [[250], [500, 250], [250], [500], [1000]]


async def test_a_slow_answer_at_the_smallest_size_is_asked_for_again_and_starts_the_day_anew(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, xero_page_size=200, options=UNLIMITED) as harness,
    ):
        await harness.connect_and_sync()
        await harness.control("DELETE", "/ledger")
        await harness.add_fault("unanswered", resource="Invoices", rows_above=100)
        sizes: list[list[int]] = []
        for hours in (0, 23, 2, 23):
            await clock.advance(hours * HOUR)
            if hours == 23 and len(sizes) == 1:
                await harness.add_fault("unanswered", resource="Invoices")
            assert (await harness.sync())["status"] == "succeeded"
            sizes.append(await sizes_asked_for(harness))
        assert sizes == [[200, 100], [100, 100], [100], [200]]


async def test_page_numbers_count_anew_where_pages_get_smaller_among_rows_of_one_second(dsn):
    async with open_harness(dsn, xero_page_size=400, options=UNLIMITED) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.control("POST", "/clock", {"advance_seconds": 900})
        await harness.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=700)
        await harness.control("DELETE", "/ledger")
        await harness.add_fault("unanswered", resource="Invoices", query="page=2&", rows_above=250, times=None)
        await harness.add_fault("unanswered", resource="Invoices", query="page=3&", rows_above=100, times=None)
        numbers = count()

        async def edit(_request):
            if next(numbers) % 4 == 0:
                await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=5)

        harness.transport.after_call = edit
        run = await harness.sync()
        harness.transport.after_call = None
        assert run["status"] == "succeeded"
        requests = await invoice_requests(harness)
        assert requests[:8] == [(1, 400), (2, 400), (1, 250), (2, 250), (3, 250), (1, 100), (2, 100), (3, 100)]
        assert {size for _, size in requests[5:]} == {100}
        await harness.sync()
        await assert_mirror_equals(harness, tenant_id)


async def test_a_reconciliation_reads_on_with_fewer_rows_and_pulls_remember_it(dsn):
    async with open_harness(dsn, xero_page_size=200, options={**UNLIMITED, "invoices": 450}) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.execute("DELETE FROM billing_invoices WHERE number = (SELECT max(number) FROM billing_invoices)")
        await harness.control("DELETE", "/ledger")
        await harness.add_fault("unanswered", resource="Invoices", rows_above=100, times=None)
        assert (await reconcile(harness))["status"] == "succeeded"
        [report] = [
            report
            for report in (await harness.read(f"{INTEGRATION}/reconciliations"))["items"]
            if report["resource"] == "invoices"
        ]
        assert (report["missing"], report["stale"], report["orphaned"]) == (1, 0, 0)
        first, *others = await sizes_asked_for(harness)
        assert (first, set(others)) == (200, {100})
        await assert_mirror_equals(harness, tenant_id)
        await harness.sync()
        assert await sizes_asked_for(harness) == [100]


async def test_a_run_whose_smallest_pages_are_too_slow_fails_says_so_and_shrinks_nothing_for_later(harness):
    [tenant_id, *_] = await harness.connect()
    await harness.add_fault("unanswered", resource="Invoices", times=None)
    await harness.select_tenants(tenant_id)
    await harness.run_until_idle()
    [run] = (await harness.read(f"{INTEGRATION}/runs"))["items"]
    told = "Xero did not finish its answer in time. That was so even for pages of 100 rows, the fewest we ask for."
    # The other resources came.
    assert (run["status"], told in run["error"]) == ("partial", True)
    tenant = (await harness.selected_tenants())[tenant_id]
    assert (tenant["health"], tenant["reason"]["code"]) == ("failing", "xero_unavailable")
    assert tenant["reason"]["message"].startswith(told)
    assert await sizes_asked_for(harness) == [1000, 500, 250, *[100] * MAX_ATTEMPTS]

    await harness.control("DELETE", "/faults")
    assert (await harness.sync())["status"] == "succeeded"
    assert await sizes_asked_for(harness) == [1000]
    await assert_mirror_equals(harness, tenant_id)


async def test_answers_that_are_too_large_are_asked_for_with_fewer_rows(harness):
    [tenant_id, *_] = await harness.connect()
    # One megabyte more than the client reads.
    await harness.add_fault("gzip_bomb", resource="Invoices", rows_above=500, megabytes=65, times=None)
    await harness.select_tenants(tenant_id)
    await harness.run_until_idle()
    assert await sizes_asked_for(harness) == [1000, 500]
    await assert_mirror_equals(harness, tenant_id)
    await harness.sync()
    assert await sizes_asked_for(harness) == [500]


async def test_an_outage_that_says_nothing_about_the_size_of_a_page_leaves_it_as_it_is(harness):
    await harness.connect_and_sync()
    await harness.control("DELETE", "/ledger")
    for kind in ("unavailable", "server_error", "refused", "reset"):
        await harness.add_fault(kind, resource="Invoices", times=MAX_ATTEMPTS)
        assert (await harness.sync())["status"] == "partial", kind
        assert await sizes_asked_for(harness) == [1000] * MAX_ATTEMPTS, kind
    assert (await harness.sync())["status"] == "succeeded"
    assert await sizes_asked_for(harness) == [1000]
