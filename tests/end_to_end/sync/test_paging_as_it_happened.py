"""Lists that Xero paged otherwise than it documents: no row may be missing, or the run says so."""

import json

import pytest

from tests.support.oracle import assert_mirror_equals
from tests.support.paths import INPUTS
from tests.support.service import INTEGRATION, open_harness

REPORTED = json.loads((INPUTS / "01-paging-block-absent.json").read_text())
BLOCKS = ("pagination", "absent", "renamed", "text", "item_count", "page_count")
# Of each block, whether the page size has an effect; where it has none, a list has more pages to go wrong at.
PAGINGS = [*((block, False) for block in BLOCKS), ("pagination", True), ("absent", True)]


def books(**options):
    """Return options of a simulated Xero without limits, whose invoices are those of the report."""
    count = REPORTED["answer"]["PageInfo"]["itemCount"]
    return {"contacts": 130, "invoices": count, "payments": 150, "limits_enabled": False, **options}


async def tenant_of(harness, tenant_id):
    return (await harness.selected_tenants())[tenant_id]


@pytest.mark.parametrize(("block", "page_size_has_effect"), PAGINGS)
async def test_every_row_comes_whatever_the_paging_block_says(dsn, block, page_size_has_effect):
    options = books(paging_block=block, page_size_has_effect=page_size_has_effect)
    async with open_harness(dsn, options=options) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await assert_mirror_equals(harness, tenant_id)
        # More rows of one second than a page holds are read by page number.
        await harness.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=230)
        run = await harness.sync()
        assert run["status"] == "succeeded"
        await assert_mirror_equals(harness, tenant_id)
        assert (await tenant_of(harness, tenant_id))["health"] == "healthy"


async def test_rows_that_are_counted_and_do_not_come_are_told_of_and_come_with_the_next_sync(dsn):
    async with open_harness(dsn, options=books(), xero_page_size=100) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.add_fault("withheld_rows", resource="Invoices", times=None)
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        [run] = (await harness.read(f"{INTEGRATION}/runs"))["items"]
        tenant = await tenant_of(harness, tenant_id)
        assert run["status"] == "partial"
        assert "did not come" in run["error"]
        assert (tenant["health"], tenant["reason"]["code"]) == ("partial", "partial_sync")
        assert "did not come" in tenant["reason"]["message"]
        assert await harness.banner_codes() == ["partial_sync"]

        await harness.control("DELETE", "/faults")
        assert (await harness.sync())["status"] == "succeeded"
        await assert_mirror_equals(harness, tenant_id)
        assert (await tenant_of(harness, tenant_id))["health"] == "healthy"


async def test_a_count_that_stays_wrong_costs_three_whole_reads_and_is_told_of_until_a_reconciliation_agrees(dsn):
    async with open_harness(dsn, options=books(), xero_page_size=100) as harness:
        [tenant_id] = await harness.connect_and_sync()
        [row] = await harness.query(
            "UPDATE sync_cursors SET next_since = NULL WHERE resource = 'invoices' RETURNING rows_read"
        )
        assert row["rows_read"] > 200
        # The second page of the list never comes.
        await harness.add_fault("withheld_rows", resource="Invoices", query="page=1", times=None)
        calls = []
        for _ in range(5):
            await harness.control("DELETE", "/ledger")
            assert (await harness.sync())["status"] == "partial"
            calls.append([call for call in await harness.xero_calls() if call["resource"] == "Invoices"])
        since = [call[0]["headers"].get("if-modified-since") for call in calls]
        assert since[:3] == [None] * 3
        assert None not in since[3:]

        await harness.control("DELETE", "/faults")
        assert (await harness.sync())["status"] == "partial"
        reconciled = await harness.call("POST", f"{INTEGRATION}/reconcile")
        await harness.run_until_idle()
        assert (await harness.read(reconciled.headers["location"]))["status"] == "succeeded"
        assert (await harness.sync())["status"] == "succeeded"
        assert (await tenant_of(harness, tenant_id))["health"] == "healthy"
        await assert_mirror_equals(harness, tenant_id)


async def test_a_reconciliation_that_does_not_get_every_row_says_so_and_deletes_none(dsn):
    async with open_harness(dsn, options=books(), xero_page_size=100) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.add_fault("withheld_rows", resource="Payments", query="page=", times=None)
        started = await harness.call("POST", f"{INTEGRATION}/reconcile")
        await harness.run_until_idle()
        run = await harness.read(started.headers["location"])
        assert run["status"] == "partial"
        await assert_mirror_equals(harness, tenant_id)
        assert (await harness.sync())["status"] == "partial"
