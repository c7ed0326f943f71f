"""The timeline's billing events: one per document and kind, however often the row is read and whoever wrote it."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from app.billing import timeline
from tests.support.factories import Ledger, at, contact, invoice, memo, payment

QUICKBOOKS_INVOICE = """
INSERT INTO billing_invoices
  (source, source_tenant_id, external_id, customer_id, number, status, currency, total, paid, credited, balance,
   issued_on)
SELECT 'quickbooks', 'q1', '9', id, 'QB-9', 'open', 'USD', 5, 0, 0, 5, '2026-10-02' FROM customers
"""
QUICKBOOKS_PAYMENT = """
INSERT INTO billing_payments
  (source, source_tenant_id, external_id, invoice_external_id, customer_id, amount, currency, paid_on)
SELECT 'quickbooks', 'q1', '8', '9', id, 5, 'USD', '2026-10-03' FROM customers
"""


class TimelineLedger(Ledger):
    async def kinds(self):
        return sorted(row["kind"] for row in await self.rows("timeline_events"))

    async def event(self, kind):
        return await self.row("timeline_events", f"kind = '{kind}'")

    async def record_others(self, **limit):
        async with self.db.transaction() as session:
            return await timeline.record_events_of_other_services(session, **limit)


@pytest.fixture
def ledger(db):
    return TimelineLedger(db)


def midnight(year, month, day):
    return datetime(year, month, day, tzinfo=UTC)


async def test_an_event_has_the_values_of_its_row(ledger):
    await ledger.write(invoice(reference="PO 7", number="INV-0042"))
    event, row = await ledger.event("invoice_issued"), await ledger.row("billing_invoices")

    assert (event["source"], event["customer_id"], event["subject_id"]) == ("xero", row["customer_id"], row["id"])
    assert (event["at"], event["title"], event["detail"]) == (midnight(2026, 10, 1), "Invoice INV-0042 issued", "PO 7")
    assert (event["amount"], event["currency"]) == (Decimal("115.00"), "NZD")
    assert event["link"] == row["vendor_url"]
    assert event["dedupe_key"] == "xero:t1:invoice:i1:invoice_issued"


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        ("draft", []),
        ("open", ["invoice_issued"]),
        ("paid", ["invoice_issued", "invoice_paid"]),
        ("void", ["invoice_issued", "invoice_voided"]),
    ],
)
async def test_an_invoice_has_the_events_of_its_status_when_first_seen(ledger, status, kinds):
    await ledger.write(invoice(status=status))

    assert await ledger.kinds() == kinds


async def test_each_change_of_an_invoices_status_is_one_event(ledger):
    for minute, status in enumerate(("draft", "draft", "open", "open", "paid", "open", "paid", "open", "void", "void")):
        await ledger.write(invoice(minute=minute, status=status))
        await ledger.write(invoice(minute=minute, status=status), read=61)

    assert await ledger.kinds() == ["invoice_issued", "invoice_paid", "invoice_voided"]


async def test_paid_again_the_invoice_was_paid_on_the_later_day(ledger):
    for minute, paid_on in enumerate((date(2026, 10, 8), None, date(2026, 10, 9))):
        await ledger.write(invoice(minute=minute, status="paid" if paid_on else "open", paid_on=paid_on))

    assert (await ledger.event("invoice_paid"))["at"] == midnight(2026, 10, 9)


async def test_a_draft_that_is_deleted_has_no_event(ledger):
    await ledger.write(invoice(status="draft"))
    await ledger.write(invoice(minute=1, status="deleted"))

    assert await ledger.kinds() == []


async def test_a_correction_corrects_the_event_and_keeps_its_id(ledger):
    await ledger.write(invoice())
    before = await ledger.event("invoice_issued")
    await ledger.write(invoice(minute=1, number="INV-9", total="9.00", issued_on=date(2026, 10, 2)))
    after = await ledger.event("invoice_issued")

    assert after["id"] == before["id"]
    assert (after["title"], after["amount"], after["at"]) == ("Invoice INV-9 issued", 9, midnight(2026, 10, 2))


async def test_a_voided_event_keeps_the_instant_at_which_it_was_first_seen(ledger):
    await ledger.write(invoice(minute=0))
    await ledger.write(invoice(minute=5, status="void"))
    await ledger.write(invoice(minute=9, status="void", reference="touched"))

    assert (await ledger.event("invoice_voided"))["at"] == at(5)


async def test_the_events_of_a_payment_and_its_deletion_name_the_invoice(ledger):
    await ledger.write(invoice(number="INV-1"), payment())
    await ledger.write(payment(minute=7, status="deleted"))
    received, deleted = await ledger.event("payment_received"), await ledger.event("payment_deleted")

    assert (received["title"], received["at"]) == ("Payment received for INV-1", midnight(2026, 10, 30))
    assert (deleted["title"], deleted["at"]) == ("Payment deleted for INV-1", at(7))
    assert received["amount"] == deleted["amount"] == Decimal("115.00")


async def test_a_payment_of_two_invoices_has_two_events(ledger):
    await ledger.write(invoice("i1"), invoice("i2"), payment(to="i1"), payment(to="i2"))

    assert (await ledger.kinds()).count("payment_received") == 2


async def test_a_payment_without_a_customer_gets_its_event_when_its_invoice_arrives(ledger):
    await ledger.write(payment(of=None))
    before = await ledger.kinds()
    await ledger.write(invoice(number="INV-1"))

    assert before == []
    assert (await ledger.event("payment_received"))["title"] == "Payment received for INV-1"


async def test_a_waiting_payments_event_names_the_invoice_once_it_is_known(ledger):
    await ledger.write(payment(of=contact()))
    before = (await ledger.event("payment_received"))["title"]
    await ledger.write(invoice(number="INV-1"))

    assert (before, (await ledger.event("payment_received"))["title"]) == (
        "Payment received",
        "Payment received for INV-1",
    )


async def test_a_credit_memo_has_an_event_when_it_is_issued(ledger):
    await ledger.write(memo(status="draft"))
    before = await ledger.kinds()
    await ledger.write(memo(minute=1, number="CN-7"))

    assert before == []
    assert (await ledger.event("credit_memo_issued"))["title"] == "Credit memo CN-7 issued"


async def test_documents_without_number_and_date_have_events_too(ledger):
    await ledger.write(invoice(minute=3, number=None, issued_on=None))
    event = await ledger.event("invoice_issued")

    assert (event["title"], event["at"]) == ("Invoice issued", at(3))


async def test_events_of_other_services_rows_are_written_once_and_again_when_the_rows_change(ledger):
    await ledger.write(invoice())
    await ledger.run(QUICKBOOKS_INVOICE)
    await ledger.run(QUICKBOOKS_PAYMENT)
    counts = [await ledger.record_others(), await ledger.record_others()]
    await ledger.run("UPDATE billing_invoices SET status = 'paid', paid_on = '2026-10-03' WHERE source = 'quickbooks'")
    counts += [await ledger.record_others(), await ledger.record_others()]

    titles = {row["title"] for row in await ledger.rows("timeline_events", "source = 'quickbooks'")}
    assert counts == [2, 0, 1, 0]
    assert titles == {"Invoice QB-9 issued", "Invoice QB-9 paid", "Payment received"}


async def test_one_call_records_at_most_the_limit_of_other_services_events(ledger):
    await ledger.write(invoice())
    await ledger.run(QUICKBOOKS_INVOICE)
    await ledger.run("UPDATE billing_invoices SET status = 'paid', paid_on = '2026-10-03' WHERE source = 'quickbooks'")

    assert [await ledger.record_others(limit=1) for _ in range(3)] == [1, 1, 0]
