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

    async def titles(self, condition):
        return {row["title"] for row in await self.rows("timeline_events", condition)}


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


async def test_an_invoice_has_one_event_of_each_kind_however_often_its_status_changes(ledger):
    for minute, status in enumerate(("draft", "draft", "open", "open", "paid", "open", "paid", "paid")):
        await ledger.write(invoice(minute=minute, status=status))
        await ledger.write(invoice(minute=minute, status=status), read=61)

    assert await ledger.kinds() == ["invoice_issued", "invoice_paid"]


async def test_an_invoice_whose_payment_was_deleted_was_not_paid(ledger):
    await ledger.write(invoice(status="paid"), payment())
    await ledger.write(invoice(minute=1, status="open"), payment(minute=1, status="deleted"))

    assert await ledger.kinds() == ["invoice_issued", "payment_deleted", "payment_received"]


async def test_an_invoice_that_is_not_void_after_all_has_no_instant_of_it(ledger):
    await ledger.write(invoice(status="void"))
    await ledger.write(invoice(minute=1, status="open"))
    await ledger.write(invoice(minute=2, status="void"))

    assert (await ledger.event("invoice_voided"))["at"] == at(2)


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


async def test_rows_of_other_services_have_events_at_once_and_again_when_they_change(ledger):
    await ledger.write(invoice())
    await ledger.run(QUICKBOOKS_INVOICE)
    await ledger.run(QUICKBOOKS_PAYMENT)
    before = await ledger.titles("source = 'quickbooks'")
    await ledger.run(
        "UPDATE billing_invoices SET status = 'void', updated_at = '2026-10-04' WHERE source = 'quickbooks'"
    )

    assert before == {"Invoice QB-9 issued", "Payment received"}
    assert await ledger.titles("source = 'quickbooks'") == {*before, "Invoice QB-9 voided"}
    assert (await ledger.event("invoice_voided"))["at"] == midnight(2026, 10, 4)


async def test_what_another_service_inserts_is_an_event_of_its_own(ledger):
    await ledger.write(invoice())
    columns = "(source, customer_id, at, kind, title)"
    await ledger.run(
        f"INSERT INTO timeline_events {columns} SELECT 'rmm', id, '2026-10-03', 'device_alert', 'Disk' FROM customers"  # noqa: S608 - as above
    )
    event = await ledger.event("device_alert")

    assert event == {**await ledger.row("external_timeline_events")}
    assert None not in (event["id"], event["dedupe_key"], event["created_at"])


async def test_the_columns_are_those_of_the_view(ledger):
    await ledger.write(invoice())

    assert list(await ledger.event("invoice_issued")) == [column.name for column in timeline.EVENTS.c]


async def test_every_event_has_an_id_of_its_own(ledger):
    await ledger.write(invoice("i1", status="paid"), invoice("i2", status="void"), memo(), payment(to="i1"))
    await ledger.write(payment(minute=1, to="i1", status="deleted"))
    events = await ledger.rows("timeline_events")

    assert len(events) == len({event["id"] for event in events}) == len({event["dedupe_key"] for event in events}) == 7
