"""The store: idempotent, the newest version wins, exact, complete, in whatever order records are written."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import text

from app.billing.alerts import AlertPolicy
from app.billing.locks import lock_tenant
from app.billing.maintenance import refresh_derived
from app.billing.mirror.base_currency import refresh_base_currencies
from app.billing.mirror.documents import complete_currencies
from app.billing.records import Counts
from app.db import DatabaseUnavailable
from tests.support.factories import Ledger, allocation, at, contact, invoice, memo, payment

TABLES = (
    "customers",
    "customer_links",
    "billing_invoices",
    "billing_payments",
    "billing_credit_memos",
    "billing_credit_allocations",
    "billing_organisations",
    "external_timeline_events",
)

QUICKBOOKS = """
INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, matched_by)
SELECT id, 'quickbooks', 't1', 'c1', 'Acme', 'new' FROM customers LIMIT 1;

INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, number, status, currency, total,
  paid, credited, balance, issued_on, due_on)
SELECT 'quickbooks', 't1', 'i1', id, 'QB-1', 'open', 'USD', 10, 0, 0, 10, '2026-10-01', '2026-10-15'
FROM customers LIMIT 1;

INSERT INTO billing_payments (source, source_tenant_id, external_id, invoice_external_id, amount, currency, paid_on)
VALUES ('quickbooks', 't1', 'p1', 'i1', 3, 'USD', '2026-10-03');

INSERT INTO billing_credit_memos (source, source_tenant_id, external_id, customer_id, status, currency, total,
  remaining, issued_on)
SELECT 'quickbooks', 't1', 'm1', id, 'open', 'USD', 5, 1, '2026-10-02' FROM customers LIMIT 1;

INSERT INTO billing_credit_allocations (source, source_tenant_id, credit_external_id, invoice_external_id, amount)
VALUES ('quickbooks', 't1', 'm1', 'i1', 4)
"""


@pytest.fixture
def ledger(db):
    return Ledger(db)


async def versions(ledger):
    """Return each row's ctid, xmin and xmax, which change with every write and lock of the row."""
    found = {}
    for table in TABLES:
        async with ledger.db.transaction() as session:
            query = f"SELECT ctid::text, xmin::text, xmax::text FROM {table} ORDER BY 1"  # noqa: S608 - see TABLES
            found[table] = (await session.execute(text(query))).all()
    return found


async def test_each_resource_is_counted_and_what_the_batch_lacks_is_not(ledger):
    counts = await ledger.write(contact(minute=0), contact("s1", "Supplier", 0, is_customer=False), invoice())

    assert counts == {"contacts": Counts(created=1, skipped=1), "invoices": Counts(created=1)}


async def test_contacts_without_a_stamp_are_counted_too(ledger):
    assert (await ledger.write(contact(is_customer=True), invoice(of=contact("c2"))))["contacts"] == Counts(created=1)
    assert (await ledger.write(contact(is_customer=True, name="New"), read=61))["contacts"] == Counts(updated=1)


async def test_a_second_read_of_everything_writes_nothing_at_all(ledger):
    everything = (
        contact(minute=0),
        contact("c2", "Beta", 0, merged_into="c1"),
        invoice(credited="20.00", applied_credits=(allocation("o1", "i1", "5.00", "overpayment"),)),
        invoice("i2", total="10.00", paid="10.00"),
        payment(to="i2", amount="10.00"),
        payment("p2", to="not here yet"),
        memo(parts=[("i1", "15.00")]),
    )
    await ledger.write(*everything, read=60)
    before = await versions(ledger)

    counts = await ledger.write(*everything, read=75)

    assert await versions(ledger) == before
    assert counts == {
        "contacts": Counts(unchanged=2),
        "invoices": Counts(unchanged=2),
        "payments": Counts(unchanged=2),
        "credit_memos": Counts(unchanged=1),
    }


async def test_an_older_version_is_skipped(ledger):
    await ledger.write(invoice(minute=5, total="200.00"))

    counts = await ledger.write(invoice(minute=4, total="100.00"), read=90)

    assert counts["invoices"] == Counts(skipped=1)
    assert (await ledger.row("billing_invoices"))["total"] == Decimal("200.00")


async def test_with_equal_stamps_the_later_reading_wins(ledger):
    await ledger.write(invoice(due_on=at(0).date()), read=60)

    later = await ledger.write(invoice(due_on=at(9999).date()), read=61)
    earlier = await ledger.write(invoice(due_on=at(0).date()), read=59)

    assert (later["invoices"], earlier["invoices"]) == (Counts(updated=1), Counts(skipped=1))
    assert (await ledger.row("billing_invoices"))["due_on"] == at(9999).date()


async def test_a_version_of_the_same_stamp_and_the_same_instant_replaces_the_stored_one(ledger):
    await ledger.write(invoice(reference="one"))
    same = await ledger.write(invoice(reference="one"))
    other = await ledger.write(invoice(reference="two"))

    assert (same["invoices"], other["invoices"]) == (Counts(unchanged=1), Counts(updated=1))


async def test_a_stamp_that_moves_alone_is_kept_so_that_a_version_between_cannot_win(ledger):
    await ledger.write(invoice(minute=1))
    await ledger.write(invoice(minute=3))

    counts = await ledger.write(invoice(minute=2, total="7.00"))

    assert counts["invoices"] == Counts(skipped=1)


@pytest.mark.parametrize("make", [contact, payment, memo])
async def test_newest_wins_for_every_resource(ledger, make):
    field = {contact: "name", payment: "reference", memo: "reference"}[make]
    table = {contact: "customer_links", payment: "billing_payments", memo: "billing_credit_memos"}[make]
    await ledger.write(invoice(minute=0), make(minute=5, **{field: "new"}))

    await ledger.write(make(minute=4, **{field: "old"}), read=99)

    assert (await ledger.row(table))[field] == "new"


LEAST = datetime(1, 1, 1, tzinfo=UTC)
STAMPED: dict[Any, str] = {
    contact: "customer_links",
    invoice: "billing_invoices",
    payment: "billing_payments",
    memo: "billing_credit_memos",
}


@pytest.mark.parametrize("make", STAMPED)
@pytest.mark.parametrize("minute", [90, 10_000_000])
async def test_a_stamp_later_than_its_answer_is_stored_as_the_answers_instant_and_loses_to_a_true_change(
    ledger, make, minute
):
    field = "name" if make is contact else "reference"
    await ledger.write(invoice(minute=0), make(minute=minute, **{field: "old"}), read=60)
    assert (await ledger.row(STAMPED[make]))["vendor_updated_at"] == at(60)

    before = await versions(ledger)
    await ledger.write(make(minute=minute, **{field: "old"}), read=62)
    assert await versions(ledger) == before

    await ledger.write(make(minute=61, **{field: "new"}), read=63)
    await ledger.write(make(minute=minute, **{field: "old"}), read=60)
    assert (await ledger.row(STAMPED[make]))[field] == "new"


@pytest.mark.parametrize(("first", "first_read", "then", "stored"), [(90, 60, 61, 61), (5, 60, 99, 70)])
async def test_a_true_stamp_and_one_from_the_future_replace_each_other(ledger, first, first_read, then, stored):
    await ledger.write(invoice(minute=first), read=first_read)

    await ledger.write(invoice(minute=then), read=70)

    assert (await ledger.row("billing_invoices"))["vendor_updated_at"] == at(stored)


@pytest.mark.parametrize("make", STAMPED)
async def test_a_stamp_from_the_future_that_is_already_stored_loses_to_a_true_change(ledger, make):
    field = "name" if make is contact else "reference"
    await ledger.write(invoice(minute=0), make(minute=1, **{field: "old"}), read=60)
    await ledger.run(f"UPDATE {STAMPED[make]} SET vendor_updated_at = '2031-01-01Z'")  # noqa: S608 - see STAMPED

    await ledger.write(make(minute=61, **{field: "new"}), read=62)

    assert (await ledger.row(STAMPED[make]))[field] == "new"


@pytest.mark.parametrize("make", STAMPED)
async def test_the_least_date_is_stored_as_1970_and_loses_to_any_change(ledger, make):
    field = "name" if make is contact else "reference"
    least = replace(make(minute=0, **{field: "old"}), vendor_updated_at=LEAST)
    await ledger.write(*([] if make is invoice else [invoice(minute=0)]), least, read=60)
    assert (await ledger.row(STAMPED[make]))["vendor_updated_at"] == datetime(1970, 1, 1, tzinfo=UTC)
    before = await versions(ledger)
    await ledger.write(least, read=61)
    assert await versions(ledger) == before

    await ledger.write(make(minute=-9999, **{field: "new"}), read=62)

    assert (await ledger.row(STAMPED[make]))[field] == "new"


async def test_money_keeps_every_digit(ledger):
    amount = "12345678901234567890.123456789"
    await ledger.write(invoice(total=amount, exchange_rate=Decimal("0.937053")))

    row = await ledger.row("billing_invoices")

    assert (str(row["total"]), str(row["exchange_rate"])) == (amount, "0.937053")


async def test_text_is_stored_as_it_is_but_for_nul(ledger):
    strange = "NUL\x00 gone, \\u0000 stays, 'quotes\" and \\ too, Łódź 漢字 🦊"
    await ledger.write(invoice(reference=strange))

    assert (await ledger.row("billing_invoices"))["reference"] == strange.replace("\x00", "")


async def test_an_id_that_comes_twice_is_stored_once_in_its_newest_version(ledger):
    counts = await ledger.write(invoice(minute=2, total="2.00"), invoice(minute=1, total="1.00"))

    assert counts["invoices"] == Counts(created=1)
    assert (await ledger.row("billing_invoices"))["total"] == Decimal("2.00")


async def test_documents_that_are_deleted_when_first_seen_are_skipped_and_create_no_customer(ledger):
    gone = {"status": "deleted"}
    counts = await ledger.write(invoice(**gone), memo(**gone, parts=[("i1", "1.00")]), payment(**gone, of=contact()))

    assert set(counts.values()) == {Counts(skipped=1)}
    assert [await ledger.count(table) for table in TABLES] == [0] * len(TABLES)


async def test_a_row_deleted_later_stays_stored_as_deleted(ledger):
    await ledger.write(invoice(), payment())
    await ledger.write(invoice(minute=1, status="deleted"), payment(minute=1, status="deleted"))

    assert (await ledger.row("billing_invoices"))["status"] == "deleted"
    assert (await ledger.row("billing_payments"))["status"] == "deleted"


async def test_suppliers_are_not_stored(ledger):
    await ledger.write(contact(minute=0, is_customer=False), contact("c2", minute=0, is_customer=None))

    assert await ledger.count("customers") == await ledger.count("customer_links") == 0


async def test_a_link_is_updated_even_when_the_vendor_no_longer_calls_the_contact_a_customer(ledger):
    await ledger.write(invoice(of=contact(name="Old")))

    await ledger.write(contact(name="New", minute=1, is_customer=False, email="a@new.example", is_archived=True))

    link = await ledger.row("customer_links")
    assert (link["name"], link["name_key"], link["email"], link["is_archived"]) == ("New", "new", "a@new.example", True)


@pytest.mark.parametrize("document", [invoice, memo, payment])
async def test_a_document_creates_the_link_of_its_unknown_contact(ledger, document):
    await ledger.write(document(of=contact("c9", "Nested Ltd")))

    link, customer = await ledger.row("customer_links"), await ledger.row("customers")
    assert (link["external_id"], link["customer_id"], customer["name"]) == ("c9", customer["id"], "Nested Ltd")


async def test_a_contact_beside_its_document_is_written_with_its_own_record(ledger):
    counts = await ledger.write(contact(minute=0, is_customer=False, email="a@b.example"), invoice())

    assert counts["contacts"] == Counts(created=1)
    assert (await ledger.row("customer_links"))["email"] == "a@b.example"


async def test_what_a_document_says_of_a_contact_never_overwrites_its_own_record(ledger):
    await ledger.write(contact(minute=0, name="Told", email="told@acme.example"))
    await ledger.write(invoice(minute=99, of=contact(name="Nested")))

    link = await ledger.row("customer_links")
    assert (link["name"], link["email"]) == ("Told", "told@acme.example")


async def test_a_contacts_own_record_completes_what_a_document_said(ledger):
    await ledger.write(invoice(of=contact(name="Nested")))
    await ledger.write(contact(minute=-9999, name="Told"), read=1)

    assert (await ledger.row("customer_links"))["name"] == (await ledger.row("customers"))["name"] == "Told"


async def test_a_document_moves_to_the_customer_of_its_new_contact(ledger):
    await ledger.write(invoice(of=contact("c1", "One")))
    await ledger.write(invoice(minute=1, of=contact("c2", "Two")))

    row, link = await ledger.row("billing_invoices"), await ledger.row("customer_links", "external_id = 'c2'")
    assert (row["customer_id"], row["contact_external_id"]) == (link["customer_id"], "c2")


async def test_a_payment_gets_its_invoice_when_that_arrives_later(ledger):
    await ledger.write(payment(of=None))
    waiting = await ledger.row("billing_payments")
    await ledger.write(invoice())
    joined, bill = await ledger.row("billing_payments"), await ledger.row("billing_invoices")

    assert (waiting["invoice_id"], waiting["customer_id"]) == (None, None)
    assert (joined["invoice_id"], joined["customer_id"]) == (bill["id"], bill["customer_id"])


async def test_a_payment_gets_its_invoice_at_once_when_that_is_stored(ledger):
    await ledger.write(invoice())
    await ledger.write(payment())

    assert (await ledger.row("billing_payments"))["invoice_id"] == (await ledger.row("billing_invoices"))["id"]


async def test_a_payment_moves_with_its_invoice_to_another_customer(ledger):
    alpha, beta = contact("c1", "Alpha"), contact("c2", "Beta")
    await ledger.write(
        invoice(of=alpha), payment(of=alpha), payment("p2", to="i2", of=alpha), memo(parts=[("i1", "5.00")])
    )
    await ledger.write(invoice(minute=1, of=beta))

    link = await ledger.row("customer_links", "external_id = 'c2'")
    moved, other = await ledger.rows("billing_payments", order="external_id")
    assert (moved["customer_id"], moved["contact_external_id"]) == (link["customer_id"], "c2")
    assert other["contact_external_id"] == "c1"
    events = await ledger.rows("timeline_events", "kind = 'payment_received'", order="dedupe_key")
    assert [event["customer_id"] for event in events] == [moved["customer_id"], other["customer_id"]]
    assert (await ledger.row("billing_credit_allocations"))["invoice_id"] == moved["invoice_id"]


@pytest.mark.parametrize("order", [("invoice", "payment"), ("payment", "invoice")])
async def test_a_payment_has_its_invoices_customer_whatever_it_says_itself_and_whichever_comes_first(ledger, order):
    records = {"invoice": invoice(of=contact("c2", "Beta")), "payment": payment(of=contact("c1", "Alpha"))}
    for name in order:
        await ledger.write(records[name])

    link = await ledger.row("customer_links", "external_id = 'c2'")
    stored = await ledger.row("billing_payments")
    assert (stored["customer_id"], stored["contact_external_id"]) == (link["customer_id"], "c2")
    again = await ledger.write(records["payment"], read=61)
    assert again["payments"] == Counts(unchanged=1)


async def test_payments_of_another_service_do_not_move_with_our_invoice(ledger):
    await ledger.write(invoice(of=contact("c1", "Alpha")))
    bill = await ledger.row("billing_invoices")
    await ledger.run(
        "INSERT INTO billing_payments"
        " (source, source_tenant_id, external_id, invoice_id, customer_id, amount, currency)"
        " VALUES ('quickbooks', 't1', 'q1', :invoice, :customer, 1, 'NZD')",
        invoice=bill["id"],
        customer=bill["customer_id"],
    )
    await ledger.write(invoice(minute=1, of=contact("c2", "Beta")))

    assert (await ledger.row("billing_payments"))["customer_id"] == bill["customer_id"]


async def test_a_memo_without_a_list_of_allocations_keeps_those_stored(ledger):
    await ledger.write(memo(parts=[("i1", "10.00")]))
    counts = await ledger.write(replace(memo(minute=1, number="CN-2"), allocations=None))

    assert counts["credit_memos"] == Counts(updated=1)
    assert (await ledger.row("billing_credit_memos"))["number"] == "CN-2"
    assert await ledger.count("billing_credit_allocations") == 1


async def test_a_currency_is_that_of_the_same_organisations_invoice(ledger):
    await ledger.write(invoice(currency="USD"))
    await ledger.of("t2").write(invoice("i2", currency="AUD"))
    await ledger.write(payment("p4", to="i4", currency="EUR"))
    asked = [
        payment(currency=None),
        payment("p2", currency="GBP"),
        payment("p3", to="i2", currency=None),
        payment("p4", to="i4", currency=None),
    ]

    async with ledger.db.transaction() as session:
        found = await complete_currencies(session, "xero", "t1", asked)

    assert [record.currency for record in found] == ["USD", "GBP", None, "EUR"]


async def test_an_invoice_that_changes_leaves_its_payments_unwritten(ledger):
    await ledger.write(invoice(), payment(), memo(parts=[("i1", "5.00")]))
    before = await versions(ledger)
    await ledger.write(invoice(minute=1, reference="touched"))
    after = await versions(ledger)

    for table in ("billing_payments", "billing_credit_allocations"):
        assert after[table] == before[table]


async def test_a_payment_and_its_invoice_that_come_at_the_same_moment_do_not_miss_each_other(ledger):
    for number in range(20):
        await asyncio.gather(ledger.write(invoice(f"i{number}")), ledger.write(payment(f"p{number}", to=f"i{number}")))

    assert await ledger.count("billing_payments", "invoice_id IS NULL") == 0


async def test_the_same_id_in_two_organisations_is_two_rows_each_with_its_own_invoice(ledger):
    other = ledger.of("t2")
    await ledger.write(invoice())
    await other.write(payment())

    assert (await ledger.row("billing_payments"))["invoice_id"] is None


async def test_one_payment_of_two_invoices_is_two_rows(ledger):
    counts = await ledger.write(payment(to="i1", amount="1.00"), payment(to="i2", amount="2.00"))

    assert counts["payments"] == Counts(created=2)
    assert await ledger.count("billing_payments") == 2


async def test_a_memos_allocations_are_the_ones_it_lists(ledger):
    await ledger.write(invoice("i1"), invoice("i2"), memo(parts=[("i1", "10.00"), ("i2", "5.00")]))
    counts = await ledger.write(memo(minute=1, parts=[("i2", "5.00"), ("i3", "7.00")]))

    parts = await ledger.rows("billing_credit_allocations", order="invoice_external_id")
    bill = await ledger.row("billing_invoices", "external_id = 'i2'")
    assert counts["credit_memos"] == Counts(updated=1)
    assert [(part["invoice_external_id"], part["invoice_id"], str(part["amount"])) for part in parts] == [
        ("i2", bill["id"], "5.00"),
        ("i3", None, "7.00"),
    ]
    assert {part["credit_memo_id"] for part in parts} == {(await ledger.row("billing_credit_memos"))["id"]}


async def test_two_equal_allocations_are_two_rows(ledger):
    twice = [("i1", "10.00"), ("i1", "10.00")]
    await ledger.write(memo(parts=twice))
    again = await ledger.write(memo(parts=twice), read=61)

    assert await ledger.count("billing_credit_allocations") == 2
    assert again["credit_memos"] == Counts(unchanged=1)


async def test_an_allocation_that_vanishes_without_a_new_stamp_is_removed_and_counted(ledger):
    await ledger.write(memo(parts=[("i1", "10.00")]), read=60)
    counts = await ledger.write(memo(parts=[], remaining=Decimal("40.00")), read=61)

    assert counts["credit_memos"] == Counts(updated=1)
    assert await ledger.count("billing_credit_allocations") == 0


async def test_an_older_memo_does_not_touch_the_allocations(ledger):
    await ledger.write(memo(minute=2, parts=[("i1", "10.00")]))
    await ledger.write(memo(minute=1, parts=[]), read=99)

    assert await ledger.count("billing_credit_allocations") == 1


async def test_an_allocation_gets_its_invoice_when_that_arrives_later(ledger):
    await ledger.write(memo(parts=[("i1", "10.00")]))
    await ledger.write(invoice())

    assert (await ledger.row("billing_credit_allocations"))["invoice_id"] == (await ledger.row("billing_invoices"))[
        "id"
    ]


async def test_overpayments_and_prepayments_are_stored_from_the_invoice(ledger):
    over, pre = (allocation(kind, "i1", "5.00", kind) for kind in ("overpayment", "prepayment"))
    await ledger.write(memo(parts=[("i1", "10.00")]), invoice(applied_credits=(over, pre)))
    silent = await ledger.write(invoice(minute=1, applied_credits=None))
    both = await ledger.rows("billing_credit_allocations")
    counts = await ledger.write(invoice(minute=1, applied_credits=(pre,)), read=61)
    left = await ledger.rows("billing_credit_allocations")

    assert silent["invoices"] == counts["invoices"] == Counts(updated=1)
    assert sorted(part["kind"] for part in both) == ["credit_memo", "overpayment", "prepayment"]
    assert sorted(part["kind"] for part in left) == ["credit_memo", "prepayment"]


async def test_rows_of_another_source_stay_byte_for_byte_the_same(ledger):
    await ledger.write(contact(minute=0), invoice(), payment(), memo(parts=[("i1", "5.00")]))
    await write_quickbooks(ledger)
    before = await quickbooks(ledger)

    for minute in range(1, 101):
        await ledger.write(
            contact(minute=minute, name=f"Acme {minute}"),
            contact("c2", "Beta", minute, merged_into="c1"),
            invoice(minute=minute, total=f"{minute}.00", of=contact(f"c{minute % 3}")),
            payment(minute=minute, amount=f"{minute}.00"),
            memo(minute=minute, parts=[("i1", f"{minute}.00")]),
        )

    assert len(before) == 5
    assert await quickbooks(ledger) == before


async def write_quickbooks(ledger):
    for statement in QUICKBOOKS.split(";"):
        assert await ledger.run(statement) == 1


async def quickbooks(ledger):
    named = "(SELECT {0}::text AS whole, source FROM {0})"
    tables = [table for table in TABLES if table.startswith(("billing_", "customer_")) and "organisation" not in table]
    return [row for table in tables for row in await ledger.rows(named.format(table), "source = 'quickbooks'")]


@pytest.mark.parametrize(
    ("documents", "base"),
    [
        ([("NZD", "1"), ("USD", "0.61")], "NZD"),
        ([("NZD", None)], "NZD"),
        ([("USD", "0.61")], None),
        ([("NZD", "1"), ("NZD", "1"), ("USD", None)], None),
        ([*[("NZD", "1")] * 9, ("USD", None)], "NZD"),
        ([("NZD", "1"), ("USD", None)], None),
        ([("USD", "1"), ("USD", "1"), ("USD", "0.61"), ("NZD", "1")], "NZD"),
    ],
    ids=["rate 1", "no rate", "foreign alone", "most of three", "nine of ten", "a tie", "another rate rules it out"],
)
async def test_the_base_currency_is_inferred_from_documents(ledger, documents, base):
    await ledger.write(*(bill(f"i{at}", *document) for at, document in enumerate(documents)))

    assert [row["base_currency"] for row in await ledger.rows("billing_organisations")] == ([base] if base else [])


async def test_the_base_currency_is_unknown_while_two_are_possible_and_falls_when_it_is_ruled_out(ledger):
    seen: list[str | None] = []
    for batch in ([("NZD", "1")], [("USD", None)] * 5, [("NZD", "1.6")], [("NZD", "1")] * 9):
        await ledger.write(*(bill(f"{len(seen)}-{at}", *document) for at, document in enumerate(batch)))
        seen.append((await ledger.row("billing_organisations"))["base_currency"])

    assert seen == ["NZD", None, "USD", "USD"]


async def test_a_refresh_infers_the_base_currency_of_rows_of_other_services(ledger):
    await ledger.write(contact(minute=0))
    await write_quickbooks(ledger)
    async with ledger.db.transaction() as session:
        await refresh_derived(session, at(0), AlertPolicy())

    row = await ledger.row("billing_organisations")
    assert (row["source"], row["source_tenant_id"], row["base_currency"]) == ("quickbooks", "t1", "USD")


async def test_the_documents_of_one_organisation_say_nothing_about_the_currency_of_another(ledger):
    others = {"USD": ledger.of("t2"), "EUR": ledger.of("t1", "quickbooks"), "AUD": ledger.of("t2", "quickbooks")}
    await ledger.write(bill("i1", "NZD", "1"))
    for currency, other in others.items():
        await other.write(bill("i1", currency, "1"))
        await other.write(bill("i2", "NZD", "1.6"))

    rows = await ledger.rows("billing_organisations")
    found = {row["base_currency"]: (row["source"], row["source_tenant_id"]) for row in rows}
    expected = {currency: (other.source, other.tenant_id) for currency, other in others.items()}
    assert found == {"NZD": ("xero", "t1"), **expected}


@pytest.mark.parametrize("tenant_id", ["t1", "t2"])
@pytest.mark.parametrize("source", ["xero", "quickbooks"])
async def test_a_base_currency_is_stored_although_another_organisation_has_the_same(ledger, tenant_id, source):
    await ledger.write(bill("i1", "NZD", "1"))
    await ledger.of(tenant_id, source).write(bill("i2", "NZD", "1"))

    found = {(row["source"], row["source_tenant_id"]) for row in await ledger.rows("billing_organisations")}
    assert found == {("xero", "t1"), (source, tenant_id)}


async def refresh_without_waiting(ledger):
    async with ledger.db.transaction() as session:
        await session.execute(text("SET LOCAL lock_timeout = '20ms'"))
        await refresh_base_currencies(session)


async def test_a_refresh_waits_for_writers_where_a_base_currency_changes_and_only_there(ledger):
    await ledger.write(bill("i1", "NZD", "1"))
    async with ledger.db.transaction() as writer:
        await lock_tenant(writer, "xero", "t1")
        await refresh_without_waiting(ledger)

    await ledger.run("UPDATE billing_organisations SET base_currency = 'USD'")
    async with ledger.db.transaction() as writer:
        await lock_tenant(writer, "xero", "t1")
        with pytest.raises(DatabaseUnavailable) as raised:
            await refresh_without_waiting(ledger)
        assert "lock timeout" in str(raised.value.__cause__)

    await refresh_without_waiting(ledger)
    assert (await ledger.row("billing_organisations"))["base_currency"] == "NZD"


async def test_an_old_version_rules_no_base_currency_out(ledger):
    await ledger.write(bill("i1", "NZD", "1"))
    await ledger.write(bill("i2", "USD", "0.6"), bill("i3", "USD", None))
    await ledger.write(invoice("i1", -1, exchange_rate=Decimal("1.6")))

    assert (await ledger.row("billing_organisations"))["base_currency"] == "NZD"


def bill(external_id, currency, rate):
    return invoice(external_id, currency=currency, exchange_rate=None if rate is None else Decimal(rate))


async def test_a_failed_write_leaves_nothing_behind(ledger):
    with pytest.raises(Exception, match="ck_billing_invoices_status"):
        await ledger.write(contact(minute=0), invoice(), invoice("i2", status="nonsense"), memo())

    assert [await ledger.count(table) for table in TABLES] == [0] * len(TABLES)
