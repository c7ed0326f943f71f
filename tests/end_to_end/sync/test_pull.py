"""The pull: no edit may be missed, no call wasted, and no row written where nothing is new."""

import asyncio
import itertools
from math import ceil
from urllib.parse import parse_qs

import pytest

from tests.support.oracle import XERO_RESOURCES, assert_mirror_equals, count_calls_by_resource, count_writes
from tests.support.service import open_harness
from tests.support.waiting import wait_until

# Books are generated for every organisation that Xero has.
ONE = {"organisations": 1, "practices": 0}
LARGE_BOOKS = {**ONE, "contacts": 120, "invoices": 1200, "payments": 700, "credit_notes": 80}


@pytest.mark.parametrize("if_modified_since", ["inclusive", "exclusive"])
async def test_five_hundred_edits_between_the_pages_lose_nothing(dsn, if_modified_since):
    options = {**LARGE_BOOKS, "if_modified_since": if_modified_since}
    async with open_harness(dsn, options=options, xero_page_size=100) as harness:
        [tenant_id, *_] = await harness.connect()
        made: list[object] = []

        async def edit(request):
            if len(made) < 500:
                resource = request.url.path.rsplit("/", 1)[1]
                edit = {"edit": "bulk_edit", "resource": resource, "count": 25}
                made.extend((await harness.edit_books(tenant_id, **edit))["changes"])

        harness.transport.after_call = edit
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        harness.transport.after_call = None
        assert len(made) >= 500
        await harness.sync()
        await assert_mirror_equals(harness, tenant_id)


async def test_rows_added_and_edited_during_a_pull_are_here_after_the_next(dsn):
    async with open_harness(dsn, xero_page_size=20) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=90)
        left = iter(range(6))

        async def edit(_request):
            if next(left, None) is not None:
                await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=10)
                await harness.edit_books(tenant_id, edit="bulk_insert", resource="Payments", count=7)

        harness.transport.after_call = edit
        await harness.sync()
        await harness.sync()
        assert next(left, None) is None
        await assert_mirror_equals(harness, tenant_id)


async def test_two_and_a_half_thousand_rows_in_one_second_are_three_calls(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.control("POST", "/clock", {"advance_seconds": 900})
    await harness.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=2500)
    await harness.control("DELETE", "/ledger")

    run = await harness.sync()

    assert run["status"] == "succeeded"
    assert (await count_calls_by_resource(harness, tenant_id))["Invoices"] == 3
    await assert_mirror_equals(harness, tenant_id)


async def test_a_backfill_costs_a_call_per_thousand_rows_and_at_most_one_more(dsn):
    options = {**ONE, "contacts": 1100, "invoices": 3300, "payments": 1100, "credit_notes": 30}
    async with open_harness(dsn, options=options) as harness:
        [tenant_id] = await harness.connect_and_sync()
        calls = await count_calls_by_resource(harness, tenant_id)
        for resource in XERO_RESOURCES:
            rows = await harness.xero_rows(tenant_id, resource)
            kept = [row for row in rows if row.get("type", "ACCREC") in {"ACCREC", "ACCRECCREDIT", "ACCRECPAYMENT"}]
            assert ceil(len(kept) / 1000) <= calls[resource] <= ceil(len(kept) / 1000) + 1
        await assert_mirror_equals(harness, tenant_id)


async def test_payments_of_a_first_sync_are_written_once_because_their_invoices_come_first(dsn):
    options = {**ONE, "contacts": 40, "invoices": 600, "payments": 400, "credit_notes": 10, "limits_enabled": False}
    async with open_harness(dsn, xero_page_size=50, options=options) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        await assert_mirror_equals(harness, tenant_id)
        [written] = await harness.query(
            "SELECT count(*) AS once, count(*) FILTER (WHERE updated_at > created_at) AS twice FROM billing_payments"
        )
        assert written["once"] > 200
        # An invoice that was edited long after it was paid comes later than its payment.
        assert written["twice"] * 10 < written["once"]


async def test_a_tick_over_unchanged_data_is_four_calls_and_not_one_row_written(harness):
    tenant_ids = await harness.connect_and_sync(organisations=2)
    await harness.sync()
    await harness.control("DELETE", "/ledger")
    before = await count_writes(harness)

    for _ in range(3):
        assert (await harness.sync())["status"] == "succeeded"

    assert await count_writes(harness) == before
    for tenant_id in tenant_ids:
        assert await count_calls_by_resource(harness, tenant_id) == dict.fromkeys(XERO_RESOURCES, 3)


async def test_rows_are_requested_in_full_pages_compressed_and_without_fields_that_are_not_stored(harness):
    [tenant_id] = await harness.connect_and_sync()
    calls = {call["resource"]: call for call in await harness.xero_calls() if call["tenant_id"] == tenant_id}
    for call in calls.values():
        assert parse_qs(call["query"])["pageSize"] == ["1000"]
        assert call["headers"]["accept-encoding"] == "gzip"
        assert 0 < call["bytes_wire"] < call["bytes_raw"]
    assert "summaryOnly=true" in calls["Invoices"]["query"]
    assert "includeArchived=true" in calls["Contacts"]["query"]
    assert "summaryOnly" not in calls["Contacts"]["query"]


async def test_usage_is_the_vendors_own_count(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.sync()
    stats = (await harness.control("GET", "/stats"))["tenants"][tenant_id]
    [usage] = await harness.query("SELECT * FROM api_usage WHERE tenant_id = :t", t=tenant_id)
    assert (usage["calls"], usage["bytes_raw"], usage["bytes_wire"]) == (
        stats["calls"],
        stats["bytes_raw"],
        stats["bytes_wire"],
    )


async def find_row(harness, tenant_id, resource, wanted):
    return next(row for row in await harness.xero_rows(tenant_id, resource) if wanted(row))


async def test_every_edit_that_moves_a_row_s_stamp_is_here_after_one_sync(harness):
    [tenant_id] = await harness.connect_and_sync()
    contact = await find_row(
        harness, tenant_id, "Contacts", lambda row: row["is_customer"] and row["status"] == "ACTIVE"
    )
    other = await find_row(
        harness, tenant_id, "Contacts", lambda row: row["is_customer"] and row["id"] != contact["id"]
    )
    created = await harness.edit_books(tenant_id, edit="create_invoice", contact_id=contact["id"], total="110.00")
    to_void = created["changes"][0]["id"]
    created = await harness.edit_books(tenant_id, edit="create_invoice", contact_id=contact["id"], total="220.00")
    to_pay = created["changes"][0]["id"]
    memo = await harness.edit_books(tenant_id, edit="create_credit_note", contact_id=contact["id"], total="50.00")
    memo_id = memo["changes"][0]["id"]
    await harness.edit_books(tenant_id, edit="allocate", credit_id=memo_id, invoice_id=to_pay, amount="30.00")
    paid = await harness.edit_books(tenant_id, edit="pay", invoice_id=to_pay, amount="40.00")
    payment_id = next(change["id"] for change in paid["changes"] if change["resource"] == "Payments")
    await harness.sync()
    await assert_mirror_equals(harness, tenant_id)

    await harness.edit_books(tenant_id, edit="void", id=to_void)
    await harness.edit_books(tenant_id, edit="delete_payment", payment_id=payment_id)
    await harness.edit_books(tenant_id, edit="rename", contact_id=other["id"], name="Renamed Ltd")
    await harness.sync()
    await assert_mirror_equals(harness, tenant_id)
    rows = await harness.query("SELECT status FROM billing_payments WHERE external_id = :p", p=payment_id)
    assert [row["status"] for row in rows] == ["deleted"]

    [allocation] = (await find_row(harness, tenant_id, "CreditNotes", lambda row: row["id"] == memo_id))["allocations"]
    await harness.edit_books(tenant_id, edit="deallocate", allocation_id=allocation["id"])
    await harness.edit_books(tenant_id, edit="archive", contact_id=contact["id"])
    await harness.sync()
    await assert_mirror_equals(harness, tenant_id)
    [link] = await harness.query("SELECT is_archived FROM customer_links WHERE external_id = :c", c=contact["id"])
    assert link["is_archived"] is True


async def test_a_contact_that_becomes_a_customer_without_a_new_stamp_is_a_customer_here(harness):
    [tenant_id] = await harness.connect_and_sync()
    contact = await find_row(harness, tenant_id, "Contacts", lambda row: not row["is_customer"])
    await harness.sync()
    assert not await harness.query("SELECT 1 FROM customer_links WHERE external_id = :c", c=contact["id"])
    await harness.edit_books(tenant_id, edit="create_invoice", contact_id=contact["id"], total="10.00")
    await harness.sync()
    await assert_mirror_equals(harness, tenant_id)
    assert await harness.query("SELECT 1 FROM customer_links WHERE external_id = :c", c=contact["id"])


async def test_a_merged_contact_is_linked_to_the_customer_of_the_contact_it_was_merged_into(harness):
    [tenant_id] = await harness.connect_and_sync()
    first, second = [row for row in await harness.xero_rows(tenant_id, "Contacts") if row["is_customer"]][:2]
    await harness.edit_books(tenant_id, edit="merge", contact_id=first["id"], into=second["id"])
    await harness.sync()
    rows = await harness.query(
        "SELECT external_id, customer_id, merged_into FROM customer_links WHERE external_id = ANY(:ids)",
        ids=[first["id"], second["id"]],
    )
    found = {row["external_id"]: row for row in rows}
    assert found[first["id"]]["merged_into"] == second["id"]
    assert found[first["id"]]["customer_id"] == found[second["id"]]["customer_id"]


async def test_an_unreadable_row_is_quarantined_and_released_by_a_readable_version(harness):
    [tenant_id] = await harness.connect_and_sync()
    bad = await find_row(harness, tenant_id, "Invoices", lambda row: row["type"] == "ACCREC")
    good = await find_row(
        harness,
        tenant_id,
        "Invoices",
        lambda row: row["type"] == "ACCREC" and row["id"] != bad["id"] and row["status"] == "AUTHORISED",
    )
    await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=bad["id"], fields={"Total": "a lot"})
    await harness.edit_books(tenant_id, edit="pay", invoice_id=good["id"])

    run = await harness.sync()

    assert run["status"] == "partial"
    [tenant] = [one for one in (await harness.read("/api/integrations/xero/tenants"))["items"] if one["selected"]]
    assert (tenant["health"], tenant["reason"]["code"]) == ("partial", "partial_sync")
    assert await harness.banner_codes() == ["partial_sync"]
    [paid] = await harness.query("SELECT status FROM billing_invoices WHERE external_id = :i", i=good["id"])
    assert paid["status"] == "paid"
    [kept] = await harness.query("SELECT * FROM quarantined_rows")
    assert (kept["external_id"], kept["resource"]) == (bad["id"], "invoices")
    assert "a lot" in kept["payload"]

    await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=bad["id"], fields={})
    assert (await harness.sync())["status"] == "succeeded"
    assert not await harness.query("SELECT 1 FROM quarantined_rows")
    assert await harness.banner_codes() == []
    await assert_mirror_equals(harness, tenant_id)


async def test_an_organisation_deselected_during_a_sync_stops_and_continues_from_its_cursors(dsn):
    options = {"invoices": 400, "limits_enabled": False}
    async with open_harness(dsn, options=options, xero_page_size=10) as harness:
        [tenant_id, other, *_] = await harness.connect()
        await harness.select_tenants(tenant_id)
        numbers = itertools.count(1)
        deselecting = asyncio.Lock()

        async def deselect(_request):
            # The other resources' pages wait meanwhile, or a slow moment would let any number of them pass.
            async with deselecting:
                if next(numbers) == 6:
                    await harness.select_tenants(other)

        harness.transport.after_call = deselect
        await harness.run_until_idle()
        harness.transport.after_call = None
        runs = (await harness.read("/api/integrations/xero/runs"))["items"]
        assert {run["status"] for run in runs} <= {"paused", "succeeded"}
        assert not await harness.query("SELECT 1 FROM sync_run_resources WHERE status IN ('pending', 'running')")
        pages = len([call for call in await harness.xero_calls() if call["tenant_id"] == tenant_id])
        assert pages <= 6 + 4
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        await harness.sync()
        await assert_mirror_equals(harness, tenant_id)


async def test_a_disconnect_during_a_sync_ends_the_run(dsn):
    async with open_harness(dsn, xero_page_size=10) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.select_tenants(tenant_id)
        requests = []

        async def disconnect(request):
            requests.append(request)
            if len(requests) == 6:
                await harness.call("POST", "/api/integrations/xero/disconnect")

        harness.transport.after_call = disconnect
        await harness.run_until_idle()
        assert not await harness.query("SELECT 1 FROM sync_runs WHERE status = 'running'")
        assert not await harness.query("SELECT 1 FROM sync_run_resources WHERE status IN ('pending', 'running')")
        await harness.run_until_idle()


async def test_large_organisations_do_not_keep_small_ones_waiting(dsn):
    options = {"organisations": 10, "limits_enabled": False, "contacts": 8, "invoices": 40, "payments": 10}
    async with open_harness(dsn, options=options, xero_page_size=10) as harness:
        *large, one, other = sorted(await harness.connect())
        never = asyncio.Event()

        async def hold_back_large_ones(request):
            if request.url.path.endswith("/Invoices") and request.headers["xero-tenant-id"] in large:
                await never.wait()

        harness.transport.after_call = hold_back_large_ones
        await harness.select_tenants(*large, one, other)
        syncing = asyncio.create_task(harness.run_until_idle())

        async def synced():
            rows = await harness.query("SELECT tenant_id FROM tenants WHERE data_as_of IS NOT NULL")
            return {row["tenant_id"] for row in rows}

        async def are_small_ones_synced():
            return await synced() >= {one, other}

        await wait_until(are_small_ones_synced, "the small organisations are synced")
        assert await synced() == {one, other}
        assert not syncing.done()
        syncing.cancel()
        await asyncio.gather(syncing, return_exceptions=True)
