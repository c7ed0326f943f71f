"""The reconciliation: what no pull can find must be found, corrected and counted."""

from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION


async def reconcile(harness):
    """Reconcile every selected organisation and return the findings by resource."""
    started = await harness.call("POST", f"{INTEGRATION}/reconcile")
    assert started.status_code == 202, started.text
    await harness.run_until_idle()
    run = await harness.read(started.headers["location"])
    assert (run["trigger"], run["status"]) == ("reconcile", "succeeded")
    findings = (await harness.read(f"{INTEGRATION}/reconciliations"))["items"]
    return {finding["resource"]: finding for finding in findings if finding["run_id"] == run["id"]}


def figures(finding):
    return {name: finding[name] for name in ("missing", "stale", "orphaned", "healed")}


async def test_a_mirror_that_equals_the_books_is_found_equal(harness):
    [tenant_id] = await harness.connect_and_sync()
    found = await reconcile(harness)
    assert set(found) == {"contacts", "invoices", "credit_memos", "payments"}
    nothing = {"missing": 0, "stale": 0, "orphaned": 0, "healed": 0}
    assert [figures(finding) for finding in found.values()] == [nothing] * 4
    assert found["payments"]["checked"] > 0
    assert found["invoices"]["tenant_id"] == tenant_id


async def test_rows_changed_deleted_and_added_here_alone_are_corrected_and_counted(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.execute(
        "UPDATE billing_invoices SET total = total + 1, vendor_updated_at = now() + interval '1 year'"
        " WHERE id IN (SELECT id FROM billing_invoices WHERE status = 'open' ORDER BY external_id LIMIT 3)"
    )
    await harness.execute(
        "DELETE FROM billing_payments WHERE id IN (SELECT id FROM billing_payments ORDER BY external_id LIMIT 2)"
    )
    await harness.execute(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance, created_at) SELECT 'xero', source_tenant_id, '00000000-0000-4000-8000-00000000dead', customer_id,"
        " 'open', 'AUD', 7, 7, now() - interval '1 day' FROM billing_invoices LIMIT 1"
    )

    found = await reconcile(harness)

    assert figures(found["invoices"]) == {"missing": 0, "stale": 3, "orphaned": 1, "healed": 4}
    assert figures(found["payments"]) == {"missing": 2, "stale": 0, "orphaned": 0, "healed": 2}
    await assert_mirror_equals(harness, tenant_id)
    [made_up] = await harness.query("SELECT status, balance FROM billing_invoices WHERE external_id LIKE '%dead'")
    assert (made_up["status"], made_up["balance"]) == ("deleted", 0)


async def test_a_row_quarantined_without_an_id_is_released_by_a_reconciliation(harness):
    [tenant_id] = await harness.connect_and_sync()
    row = next(row for row in await harness.xero_rows(tenant_id, "Invoices") if row["type"] == "ACCREC")
    await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=row["id"], fields={"InvoiceID": "none"})
    assert (await harness.sync())["status"] == "partial"
    assert len(await harness.query("SELECT 1 FROM quarantined_rows WHERE external_id <> :id", id=row["id"])) == 1

    await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=row["id"], fields={})
    await reconcile(harness)

    assert not await harness.query("SELECT 1 FROM quarantined_rows")
    assert await harness.banner_codes() == []


async def test_a_change_that_moves_no_stamp_is_found(harness):
    [tenant_id] = await harness.connect_and_sync()
    invoices = await harness.xero_rows(tenant_id, "Invoices")
    part_paid = next(
        row
        for row in invoices
        if row["type"] == "ACCREC" and row["status"] == "AUTHORISED" and float(row["amount_paid"]) > 0
    )
    await harness.edit_books(tenant_id, edit="change_due_date", invoice_id=part_paid["id"], due_on="2031-01-02")
    await harness.sync()
    [before] = await harness.query("SELECT due_on FROM billing_invoices WHERE external_id = :id", id=part_paid["id"])
    assert str(before["due_on"]) != "2031-01-02"

    found = await reconcile(harness)

    [after] = await harness.query("SELECT due_on FROM billing_invoices WHERE external_id = :id", id=part_paid["id"])
    assert str(after["due_on"]) == "2031-01-02"
    assert found["invoices"]["stale"] == 1


async def test_rows_of_other_vendors_are_not_compared(harness):
    await harness.connect_and_sync()
    await harness.execute(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance, created_at) SELECT 'quickbooks', source_tenant_id, 'qb-1', customer_id, 'open', 'USD', 7, 7,"
        " now() - interval '1 day' FROM billing_invoices LIMIT 1"
    )
    before = await harness.query("SELECT * FROM billing_invoices WHERE source = 'quickbooks'")
    assert (await reconcile(harness))["invoices"]["orphaned"] == 0
    assert await harness.query("SELECT * FROM billing_invoices WHERE source = 'quickbooks'") == before


async def test_a_reconciliation_runs_by_itself_once_a_day(harness):
    await harness.connect_and_sync()
    await harness.engine.reconcile_nightly()
    await harness.run_until_idle()
    assert (await harness.read(f"{INTEGRATION}/reconciliations"))["items"] == []
    await harness.execute("UPDATE sync_schedules SET due_at = wall_clock() WHERE name = 'reconcile:xero'")
    await harness.engine.reconcile_nightly()
    await harness.engine.reconcile_nightly()
    await harness.run_until_idle()
    assert len((await harness.read(f"{INTEGRATION}/reconciliations"))["items"]) == 4


async def test_a_reconciliation_without_a_selected_organisation_is_refused(harness):
    response = await harness.call("POST", f"{INTEGRATION}/reconcile")
    assert (response.status_code, response.json()["code"]) == (409, "no_tenant_selected")
