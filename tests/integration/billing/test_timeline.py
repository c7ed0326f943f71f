"""The timeline's billing events: one for each thing that happened, however often and by whomever it is told."""

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


class Story(Ledger):
    async def kinds(self):
        return sorted(row["kind"] for row in await self.rows("timeline_events"))

    async def event(self, kind):
        return await self.row("timeline_events", f"kind = '{kind}'")

    async def record_others(self, **limit):
        async with self.db.transaction() as session:
            return await timeline.record_events_of_other_services(session, **limit)


@pytest.fixture
def story(db):
    return Story(db)


def midnight(year, month, day):
    return datetime(year, month, day, tzinfo=UTC)


async def test_an_event_says_what_its_row_says(story):
    await story.write(invoice(reference="PO 7", number="INV-0042"))
    event, row = await story.event("invoice_issued"), await story.row("billing_invoices")

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
async def test_what_is_told_of_an_invoice_when_first_seen(story, status, kinds):
    await story.write(invoice(status=status))

    assert await story.kinds() == kinds


async def test_an_invoices_life_is_told_step_by_step_and_each_step_once(story):
    for minute, status in enumerate(("draft", "draft", "open", "open", "paid", "open", "paid", "open", "void", "void")):
        await story.write(invoice(minute=minute, status=status))
        await story.write(invoice(minute=minute, status=status), read=61)

    assert await story.kinds() == ["invoice_issued", "invoice_paid", "invoice_voided"]


async def test_paid_again_the_invoice_was_paid_on_the_later_day(story):
    for minute, paid_on in enumerate((date(2026, 10, 8), None, date(2026, 10, 9))):
        await story.write(invoice(minute=minute, status="paid" if paid_on else "open", paid_on=paid_on))

    assert (await story.event("invoice_paid"))["at"] == midnight(2026, 10, 9)


async def test_a_draft_that_is_deleted_is_never_told_of(story):
    await story.write(invoice(status="draft"))
    await story.write(invoice(minute=1, status="deleted"))

    assert await story.kinds() == []


async def test_a_correction_corrects_the_event_and_keeps_its_place_among_the_ids(story):
    await story.write(invoice())
    before = await story.event("invoice_issued")
    await story.write(invoice(minute=1, number="INV-9", total="9.00", issued_on=date(2026, 10, 2)))
    after = await story.event("invoice_issued")

    assert after["id"] == before["id"]
    assert (after["title"], after["amount"], after["at"]) == ("Invoice INV-9 issued", 9, midnight(2026, 10, 2))


async def test_voiding_is_told_at_the_instant_it_was_first_seen_at(story):
    await story.write(invoice(minute=0))
    await story.write(invoice(minute=5, status="void"))
    await story.write(invoice(minute=9, status="void", reference="touched"))

    assert (await story.event("invoice_voided"))["at"] == at(5)


async def test_a_payment_is_told_of_with_its_invoice_and_so_is_its_deletion(story):
    await story.write(invoice(number="INV-1"), payment())
    await story.write(payment(minute=7, status="deleted"))
    received, deleted = await story.event("payment_received"), await story.event("payment_deleted")

    assert (received["title"], received["at"]) == ("Payment received for INV-1", midnight(2026, 10, 30))
    assert (deleted["title"], deleted["at"]) == ("Payment deleted for INV-1", at(7))
    assert received["amount"] == deleted["amount"] == Decimal("115.00")


async def test_each_touch_of_one_payment_is_an_event(story):
    await story.write(invoice("i1"), invoice("i2"), payment(to="i1"), payment(to="i2"))

    assert (await story.kinds()).count("payment_received") == 2


async def test_a_payment_without_a_customer_is_told_of_when_its_invoice_comes(story):
    await story.write(payment(of=None))
    before = await story.kinds()
    await story.write(invoice(number="INV-1"))

    assert before == []
    assert (await story.event("payment_received"))["title"] == "Payment received for INV-1"


async def test_a_waiting_payments_event_names_the_invoice_once_it_is_known(story):
    await story.write(payment(of=contact()))
    before = (await story.event("payment_received"))["title"]
    await story.write(invoice(number="INV-1"))

    assert (before, (await story.event("payment_received"))["title"]) == (
        "Payment received",
        "Payment received for INV-1",
    )


async def test_a_credit_memo_is_told_of_when_it_is_issued(story):
    await story.write(memo(status="draft"))
    before = await story.kinds()
    await story.write(memo(minute=1, number="CN-7"))

    assert before == []
    assert (await story.event("credit_memo_issued"))["title"] == "Credit memo CN-7 issued"


async def test_documents_without_number_and_date_are_told_of_plainly(story):
    await story.write(invoice(minute=3, number=None, issued_on=None))
    event = await story.event("invoice_issued")

    assert (event["title"], event["at"]) == ("Invoice issued", at(3))


async def test_rows_of_other_vendors_are_told_of_once_and_again_when_they_change(story):
    await story.write(invoice())
    await story.run(QUICKBOOKS_INVOICE)
    await story.run(QUICKBOOKS_PAYMENT)
    told = [await story.record_others(), await story.record_others()]
    await story.run("UPDATE billing_invoices SET status = 'paid', paid_on = '2026-10-03' WHERE source = 'quickbooks'")
    told += [await story.record_others(), await story.record_others()]

    titles = {row["title"] for row in await story.rows("timeline_events", "source = 'quickbooks'")}
    assert told == [2, 0, 1, 0]
    assert titles == {"Invoice QB-9 issued", "Invoice QB-9 paid", "Payment received"}


async def test_a_flood_of_other_vendors_rows_is_told_of_in_portions(story):
    await story.write(invoice())
    await story.run(QUICKBOOKS_INVOICE)
    await story.run("UPDATE billing_invoices SET status = 'paid', paid_on = '2026-10-03' WHERE source = 'quickbooks'")

    assert [await story.record_others(limit=1) for _ in range(3)] == [1, 1, 0]
