"""Time stamps that cannot be true, and rows that follow others: each must be right after the next sync or webhook."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.oracle import assert_mirror_equals, count_writes
from tests.support.paths import INPUTS
from tests.support.service import INTEGRATION, open_harness

LEAST_DATE = json.loads((INPUTS / "08-least-date.json").read_text())["a"]["Contacts"][0]["UpdatedDateUTC"]
# Of the report in 05-stamp-from-the-future.json: 10.6 hours.
AHEAD = timedelta(milliseconds=38_000_000)
YEAR_9999 = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


async def find_row(harness, tenant_id, resource, wanted):
    return next(row for row in await harness.xero_rows(tenant_id, resource) if wanted(row))


async def open_invoice(harness, tenant_id):
    """Return an open receivable without a payment."""
    return await find_row(
        harness,
        tenant_id,
        "Invoices",
        lambda row: row["type"] == "ACCREC" and row["status"] == "AUTHORISED" and not float(row["amount_paid"]),
    )


async def read_change(harness, how):
    """Let the service see a change that was made with `webhook=True`."""
    if how == "pull":
        await harness.execute("DELETE FROM xero_webhook_events")
        assert (await harness.sync())["status"] == "succeeded"
    else:
        await harness.run_until_idle()


async def mirrored(harness, invoice_id, contact_id):
    [invoice] = await harness.query("SELECT * FROM billing_invoices WHERE external_id = :i", i=invoice_id)
    [link] = await harness.query("SELECT * FROM customer_links WHERE external_id = :i", i=contact_id)
    return invoice, link


@pytest.mark.parametrize(("how", "stamp"), [("pull", "ahead"), ("webhook", "year 9999")])
async def test_a_change_after_a_stamp_from_the_future_is_here_at_once(harness, how, stamp):
    [tenant_id] = await harness.connect_and_sync()
    invoice = await open_invoice(harness, tenant_id)
    later = (datetime.now(UTC) + AHEAD if stamp == "ahead" else YEAR_9999).isoformat()
    await harness.edit_books(tenant_id, edit="stamp", resource="Invoices", id=invoice["id"], at=later)
    await harness.edit_books(tenant_id, edit="rename", contact_id=invoice["contact_id"], name="Old Name Ltd", at=later)
    assert (await harness.sync())["status"] == "succeeded"
    _, link = await mirrored(harness, invoice["id"], invoice["contact_id"])
    assert link["name"] == "Old Name Ltd"
    before = await count_writes(harness)
    assert (await harness.sync())["status"] == "succeeded"
    assert await count_writes(harness) == before

    edits = [
        {"edit": "pay", "invoice_id": invoice["id"]},
        {"edit": "rename", "contact_id": invoice["contact_id"], "name": "New Name Ltd"},
    ]
    await harness.edit_books(tenant_id, edits=edits, webhook=True)
    await read_change(harness, how)

    found, link = await mirrored(harness, invoice["id"], invoice["contact_id"])
    assert (found["status"], found["balance"], link["name"]) == ("paid", 0, "New Name Ltd")


async def test_a_stamp_from_the_future_that_an_earlier_release_stored_hides_no_change(harness):
    [tenant_id] = await harness.connect_and_sync()
    invoice = await open_invoice(harness, tenant_id)
    for table in ("billing_invoices", "customer_links"):
        await harness.execute(f"UPDATE {table} SET vendor_updated_at = now() + interval '10 hours'")  # noqa: S608 - named above
    await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice["id"])
    await harness.edit_books(tenant_id, edit="rename", contact_id=invoice["contact_id"], name="New Name Ltd")

    await harness.sync()

    found, link = await mirrored(harness, invoice["id"], invoice["contact_id"])
    assert (found["status"], link["name"]) == ("paid", "New Name Ltd")


async def test_a_reconciliation_corrects_a_contact_of_an_implausible_stamp(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.execute(
        "UPDATE customer_links SET name = 'Old Name Ltd', vendor_updated_at = now() - interval '1 hour',"
        " vendor_read_at = now() - interval '1 hour' WHERE id = (SELECT id FROM customer_links LIMIT 1)"
    )
    started = await harness.call("POST", f"{INTEGRATION}/reconcile")
    await harness.run_until_idle()
    findings = (await harness.read(f"{INTEGRATION}/reconciliations"))["items"]
    assert (await harness.read(started.headers["location"]))["status"] == "succeeded"
    assert next(one for one in findings if one["resource"] == "contacts")["stale"] == 1
    await assert_mirror_equals(harness, tenant_id)


async def test_the_least_date_of_dotnet_stops_no_page_and_no_cursor(dsn):
    options = {"contacts": 30, "limits_enabled": False}
    async with open_harness(dsn, options=options, xero_page_size=10) as harness:
        [tenant_id, *_] = await harness.connect()
        rows = await harness.xero_rows(tenant_id, "Contacts")
        for row in rows[:25]:
            await harness.edit_books(
                tenant_id, edit="stamp", resource="Contacts", id=row["id"], at="0001-01-01T00:00:00+00:00"
            )
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        [run] = (await harness.read(f"{INTEGRATION}/runs"))["items"]
        assert run["status"] == "succeeded"
        await assert_mirror_equals(harness, tenant_id)
        sent = [call["headers"].get("if-modified-since", "9") for call in await harness.xero_calls()]
        assert min(sent) >= "1969"

        await harness.edit_books(tenant_id, edit="rename", contact_id=rows[0]["id"], name="Renamed Ltd")
        await harness.sync()
        await assert_mirror_equals(harness, tenant_id)


@pytest.mark.parametrize("field", ["UpdatedDateUTC", "DueDateString", "DueDate"])
async def test_an_invoice_with_the_least_date_is_stored_and_not_overdue_for_two_thousand_years(harness, field):
    [tenant_id] = await harness.connect_and_sync()
    invoice = await open_invoice(harness, tenant_id)
    fields = {"Reference": "odd", "DueDateString": None, "DueDate": None, field: LEAST_DATE}
    if field == "DueDateString":
        fields[field] = "0001-01-01T00:00:00"
    await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=invoice["id"], fields=fields)
    # The stored row has a later stamp, beside which the least date would be an older version.
    await harness.execute(
        "UPDATE billing_invoices SET vendor_updated_at = NULL WHERE external_id = :i", i=invoice["id"]
    )
    assert (await harness.sync())["status"] == "succeeded"
    [found] = await harness.query("SELECT * FROM billing_invoices WHERE external_id = :i", i=invoice["id"])
    assert (found["reference"], found["due_on"]) == ("odd", None)
    assert found["vendor_updated_at"].year >= 1970


async def customers_of(harness, *contact_ids):
    rows = await harness.query("SELECT external_id, customer_id FROM customer_links")
    found = {row["external_id"]: row["customer_id"] for row in rows}
    return [found[contact_id] for contact_id in contact_ids]


async def two_customers(harness, tenant_id):
    return [
        (await harness.edit_books(tenant_id, edit="create_contact", name=name))["changes"][0]["id"]
        for name in ("Alpha Ltd", "Beta Ltd")
    ]


@pytest.mark.parametrize("how", ["pull", "webhook"])
async def test_a_payment_and_a_credit_follow_their_invoice_to_another_customer(harness, how):
    """The report is 07-payment-stays.json; the payment's stamp is too old for the pull to read it again."""
    [tenant_id] = await harness.connect_and_sync()
    alpha, beta = await two_customers(harness, tenant_id)
    for contact_id in (alpha, beta):
        await harness.edit_books(tenant_id, edit="create_invoice", contact_id=contact_id, total="7.00")
    made = await harness.edit_books(tenant_id, edit="create_invoice", contact_id=alpha, total="110.00")
    invoice_id = made["changes"][0]["id"]
    await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice_id, amount="40.00")
    made = await harness.edit_books(tenant_id, edit="create_credit_note", contact_id=alpha, total="20.00")
    memo_id = made["changes"][0]["id"]
    await harness.edit_books(tenant_id, edit="allocate", credit_id=memo_id, invoice_id=invoice_id, amount="20.00")
    await harness.sync()
    of_alpha, of_beta = await customers_of(harness, alpha, beta)
    assert (await harness.read(f"/api/customers/{of_alpha}/billing"))["last_payment"]["amount"] == "40.00"
    # The payment is not read again: only the invoice is delivered.
    await harness.add_fault("withheld_rows", resource="Payments", times=None)
    await harness.edit_books(
        tenant_id,
        edit="spoil",
        resource="Invoices",
        id=invoice_id,
        fields={"Contact": {"ContactID": beta, "Name": "Beta Ltd"}},
        webhook=True,
    )
    if how == "pull":
        await harness.execute("DELETE FROM xero_webhook_events")
        await harness.sync()
    else:
        await harness.run_until_idle()

    [payment] = await harness.query("SELECT * FROM billing_payments WHERE invoice_external_id = :i", i=invoice_id)
    assert (payment["customer_id"], payment["contact_external_id"]) == (of_beta, beta)
    assert (await harness.read(f"/api/customers/{of_alpha}/billing"))["last_payment"] is None
    assert (await harness.read(f"/api/customers/{of_beta}/billing"))["last_payment"]["amount"] == "40.00"
    kinds = {
        name: {event["kind"] for event in (await harness.read(f"/api/customers/{customer_id}/timeline"))["items"]}
        for name, customer_id in (("alpha", of_alpha), ("beta", of_beta))
    }
    assert "payment_received" in kinds["beta"]
    assert "payment_received" not in kinds["alpha"]
    detail = await harness.read(f"/api/invoices/{payment['invoice_id']}")
    assert (detail["customer_id"], len(detail["payments"]), len(detail["credits"])) == (str(of_beta), 1, 1)


async def test_a_payment_read_again_with_its_former_contact_stays_with_its_invoice(harness):
    [tenant_id] = await harness.connect_and_sync()
    alpha, beta = await two_customers(harness, tenant_id)
    made = await harness.edit_books(tenant_id, edit="create_invoice", contact_id=beta, total="110.00")
    invoice_id = made["changes"][0]["id"]
    paid = await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice_id, amount="40.00")
    payment_id = next(change["id"] for change in paid["changes"] if change["resource"] == "Payments")
    await harness.sync()
    nested = {"InvoiceID": invoice_id, "Type": "ACCREC", "Contact": {"ContactID": alpha, "Name": "Alpha Ltd"}}
    await harness.edit_books(
        tenant_id,
        edit="spoil",
        resource="Payments",
        id=payment_id,
        fields={"Reference": "again", "Invoice": nested},
    )
    assert (await harness.sync())["status"] == "succeeded"
    [payment] = await harness.query("SELECT * FROM billing_payments WHERE external_id = :p", p=payment_id)
    [invoice] = await harness.query("SELECT * FROM billing_invoices WHERE external_id = :i", i=invoice_id)
    assert (payment["reference"], payment["customer_id"]) == ("again", invoice["customer_id"])
    # The nested invoice also lacks its currency here.
    assert payment["currency"] == invoice["currency"]


async def test_a_payment_without_a_currency_waits_for_its_invoice(harness):
    [tenant_id] = await harness.connect_and_sync()
    invoice = await open_invoice(harness, tenant_id)
    paid = await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice["id"], amount="1.00")
    payment_id = next(change["id"] for change in paid["changes"] if change["resource"] == "Payments")
    nested = {"InvoiceID": invoice["id"], "Type": "ACCREC"}
    await harness.edit_books(tenant_id, edit="spoil", resource="Payments", id=payment_id, fields={"Invoice": nested})
    await harness.execute("UPDATE billing_payments SET invoice_id = NULL")
    await harness.execute("DELETE FROM billing_credit_allocations")
    await harness.execute("DELETE FROM billing_invoices")
    await harness.add_fault("withheld_rows", resource="Invoices", times=1)
    assert (await harness.sync())["status"] == "partial"
    [kept] = await harness.query("SELECT * FROM quarantined_rows")
    assert (kept["external_id"], "currency" in kept["reason"]) == (payment_id, True)

    await harness.call("POST", f"{INTEGRATION}/reconcile")
    await harness.run_until_idle()
    await harness.sync()
    await harness.call("POST", f"{INTEGRATION}/reconcile")
    await harness.run_until_idle()

    assert not await harness.query("SELECT 1 FROM quarantined_rows")
    [payment] = await harness.query("SELECT * FROM billing_payments WHERE external_id = :p", p=payment_id)
    assert payment["currency"] == invoice["currency"]


async def test_a_credit_note_without_its_allocations_is_stored_and_keeps_those_known(harness):
    [tenant_id] = await harness.connect_and_sync()
    memo = await find_row(
        harness, tenant_id, "CreditNotes", lambda row: row["type"] == "ACCRECCREDIT" and row["allocations"]
    )
    before = await harness.query("SELECT * FROM billing_credit_allocations WHERE credit_external_id = :m", m=memo["id"])
    assert before
    fields = {"Allocations": None, "CreditNoteNumber": "CN-NEW"}
    await harness.edit_books(tenant_id, edit="spoil", resource="CreditNotes", id=memo["id"], fields=fields)

    assert (await harness.sync())["status"] == "succeeded"

    [stored] = await harness.query("SELECT * FROM billing_credit_memos WHERE external_id = :m", m=memo["id"])
    assert stored["number"] == "CN-NEW"
    statement = "SELECT * FROM billing_credit_allocations WHERE credit_external_id = :m"
    assert await harness.query(statement, m=memo["id"]) == before
