"""Invoices, payments and credit memos over HTTP: lists, filters, pages, and one invoice in full."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from sqlalchemy import delete

from app.billing.tables import CreditAllocation, CreditMemo, Invoice, Payment
from tests.support.api import NOON, add, add_customer, add_invoice

PAYMENT = {"source": "xero", "source_tenant_id": "org-1", "amount": "40", "currency": "NZD"}
MEMO = {"source": "xero", "source_tenant_id": "org-1", "status": "open", "currency": "NZD", "total": "30"}


async def numbers(api, **params):
    return {each["number"] for each in await api.items("/api/invoices", params=params)}


async def test_an_invoice_shows_every_field_as_the_contract_names_it(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        invoice = await add_invoice(
            session,
            acme,
            reference="PO 7",
            vendor_status="AUTHORISED",
            exchange_rate="1.08250",
            subtotal="100",
            tax="15.0000",
            total="115.125",
            paid="0",
            due_on=NOON.date() - timedelta(days=1),
            vendor_url="https://go.xero.com/x",
            vendor_updated_at=datetime(2026, 11, 1, 2, 3, 4, 567000, tzinfo=UTC),
        )
    expected = {
        "id": str(invoice),
        "source": "xero",
        "tenant_id": "org-1",
        "external_id": "x-INV-1",
        "customer_id": str(acme),
        "number": "INV-1",
        "reference": "PO 7",
        "status": "open",
        "overdue": True,
        "currency": "NZD",
        "exchange_rate": "1.08250",
        "subtotal": "100.00",
        "tax": "15.00",
        "total": "115.125",
        "paid": "0.00",
        "credited": "0.00",
        "balance": "115.125",
        "issued_on": "2026-11-15",
        "due_on": "2026-11-14",
        "paid_on": None,
        "vendor_status": "AUTHORISED",
        "vendor_url": "https://go.xero.com/x",
        "vendor_updated_at": "2026-11-01T02:03:04.567000Z",
    }
    assert await api.items("/api/invoices") == [expected]
    assert (await api.get(f"/api/invoices/{invoice}")).json() == {**expected, "payments": [], "credits": []}


async def test_one_invoice_shows_its_payments_and_credits(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        invoice = await add_invoice(session, acme, total="100", balance="30", paid="40", credited="30")
        mine = {**PAYMENT, "customer_id": acme, "invoice_id": invoice, "invoice_external_id": "x-INV-1"}
        await add(session, Payment, **mine, external_id="p-2", paid_on=date(2026, 11, 3), status="deleted")
        await add(session, Payment, **mine, external_id="p-1", paid_on=date(2026, 11, 2))
        memo = await add(session, CreditMemo, **MEMO, customer_id=acme, external_id="m", number="CN-1", remaining="0")
        applied: dict[str, object] = {"source": "xero", "source_tenant_id": "org-1", "invoice_external_id": "x-INV-1"}
        applied = {**applied, "invoice_id": invoice, "applied_on": date(2026, 11, 4)}
        await add(
            session,
            CreditAllocation,
            **applied,
            credit_external_id="m",
            credit_memo_id=memo,
            amount="20",
            kind="credit_memo",
        )
        await add(session, CreditAllocation, **applied, credit_external_id="o", amount="10", kind="overpayment")
    shown = (await api.get(f"/api/invoices/{invoice}")).json()
    assert [(each["external_id"], each["amount"], each["status"]) for each in shown["payments"]] == [
        ("p-1", "40.00", "active"),
        ("p-2", "40.00", "deleted"),
    ]
    assert {(each["kind"], each["number"], each["amount"], each["currency"]) for each in shown["credits"]} == {
        ("credit_memo", "CN-1", "20.00", "NZD"),
        ("overpayment", None, "10.00", "NZD"),
    }
    credited = sum(Decimal(each["amount"]) for each in shown["credits"])
    assert Decimal(shown["total"]) == Decimal(shown["balance"]) + Decimal(shown["paid"]) + credited


async def test_an_unknown_invoice_is_404(api):
    answer = await api.get("/api/invoices/8c0f4a5e-0000-4000-8000-000000000000")
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no invoice of this id.")


@pytest.fixture
async def invoices_by_letter(db):
    """Invoices that differ in what can be filtered by; returns the ids of both customers."""
    async with db.transaction() as session:
        acme, other = await add_customer(session, "Acme"), await add_customer(session, "50% Off_Co")
        await add_invoice(session, acme, "A", issued_on=date(2026, 11, 1), reference="Fibre")
        await add_invoice(session, acme, "B", status="paid", balance="0", issued_on=date(2026, 10, 31))
        await add_invoice(session, other, "C", source="quickbooks", source_tenant_id="realm", currency="USD")
        await add_invoice(session, other, "D", due_on=date(2026, 11, 14))
        await add_invoice(session, other, "E", due_on=None, issued_on=None, status="draft")
        await add_invoice(session, other, "F", due_on=date(2026, 11, 1), balance="0")
    return acme, other


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({"status": "paid"}, "B"),
        ({"status": "draft"}, "E"),
        ({"status": "void"}, ""),
        ({"overdue": "true"}, "D"),
        ({"overdue": "false"}, "ABCEF"),
        ({"source": "quickbooks"}, "C"),
        ({"tenant_id": "org-1"}, "ABDEF"),
        ({"currency": "usd"}, "C"),
        ({"issued_from": "2026-11-01"}, "ACDF"),
        ({"issued_to": "2026-11-01"}, "AB"),
        ({"issued_from": "2026-11-01", "issued_to": "2026-11-01"}, "A"),
        ({"search": "fibre"}, "A"),
        ({"search": "acme"}, "AB"),
        ({"search": "50% off_"}, "CDEF"),
        ({"search": "50_ off"}, ""),
        ({"search": "%"}, "CDEF"),
        ({"source": "xero", "status": "open", "search": "off"}, "DF"),
    ],
)
@pytest.mark.usefixtures("invoices_by_letter")
async def test_invoices_are_filtered(api, params, found):
    assert await numbers(api, **params) == set(found)


async def test_invoices_of_one_customer(api, invoices_by_letter):
    assert await numbers(api, customer_id=invoices_by_letter[0]) == {"A", "B"}


async def test_due_today_is_not_overdue_and_today_is_the_billing_timezone_s(db, api, clock):
    async with db.transaction() as session:
        await add_invoice(session, await add_customer(session), due_on=date(2026, 11, 15))
    clock.instant = datetime(2026, 11, 15, 23, 59, 59, tzinfo=UTC)
    assert await numbers(api, overdue="true") == set()
    clock.instant += timedelta(seconds=1)
    assert await numbers(api, overdue="true") == {"INV-1"}


async def test_pages_are_newest_first_and_lose_nothing_while_rows_come_and_go(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        days = [None, None, *(NOON.date() - timedelta(days=day // 3) for day in range(15))]
        for number, day in enumerate(days):
            await add_invoice(session, acme, str(number), issued_on=day)
    everything = await api.items("/api/invoices", params={"limit": 200})
    dates = [each["issued_on"] for each in everything]
    assert dates == [None, None, *sorted(filter(None, dates), reverse=True)]
    assert await api.read_all("/api/invoices", limit=1) == everything

    first = (await api.get("/api/invoices", params={"limit": 5})).json()
    async with db.transaction() as session:
        await add_invoice(session, acme, "newer", issued_on=NOON.date() + timedelta(days=1))
        await session.execute(delete(Invoice).where(Invoice.id == UUID(first["items"][-1]["id"])))
    rest = await api.get("/api/invoices", params={"limit": 200, "cursor": first["next_cursor"]})
    assert rest.json() == {"items": everything[5:], "next_cursor": None}


async def test_a_cursor_is_valid_for_its_own_list_and_filters_only(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        for number in range(3):
            await add_invoice(session, acme, str(number))
    filters = {"status": "open", "search": "acme"}
    cursor = (await api.get("/api/invoices", params={**filters, "limit": 1})).json()["next_cursor"]
    changed_limit = await api.get("/api/invoices", params={"cursor": cursor, "limit": 2, **filters})
    assert len(changed_limit.json()["items"]) == 2
    for path, params in [
        ("/api/invoices", {}),
        ("/api/invoices", {**filters, "status": "paid"}),
        ("/api/invoices", {**filters, "currency": "NZD"}),
        ("/api/credit-memos", filters),
    ]:
        refused = await api.get(path, params={**params, "cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_cursor")


async def test_payments_are_listed_and_filtered(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        invoice = await add_invoice(session, acme)
        mine = {**PAYMENT, "customer_id": acme}
        joined = await add(
            session,
            Payment,
            **mine,
            external_id="p-1",
            invoice_id=invoice,
            invoice_external_id="x-INV-1",
            paid_on=date(2026, 11, 2),
            reference="bank",
        )
        await add(session, Payment, **mine, external_id="p-2", paid_on=date(2026, 11, 3), status="deleted")
        await add(
            session, Payment, **{**PAYMENT, "source": "quickbooks", "external_id": "q"}, paid_on=date(2026, 11, 1)
        )
    items = await api.items("/api/payments")
    assert [each["external_id"] for each in items] == ["p-2", "p-1", "q"]
    assert items[1] == {
        "id": str(joined),
        "source": "xero",
        "tenant_id": "org-1",
        "external_id": "p-1",
        "invoice_id": str(invoice),
        "invoice_external_id": "x-INV-1",
        "customer_id": str(acme),
        "amount": "40.00",
        "currency": "NZD",
        "exchange_rate": None,
        "paid_on": "2026-11-02",
        "reference": "bank",
        "status": "active",
        "vendor_updated_at": None,
    }
    assert items[2]["customer_id"] is None

    for params, found in [
        ({"status": "deleted"}, ["p-2"]),
        ({"invoice_id": str(invoice)}, ["p-1"]),
        ({"customer_id": str(acme)}, ["p-2", "p-1"]),
        ({"source": "quickbooks"}, ["q"]),
        ({"paid_from": "2026-11-02", "paid_to": "2026-11-02"}, ["p-1"]),
        ({"search": "BANK"}, ["p-1"]),
        ({"search": "acme"}, ["p-2", "p-1"]),
    ]:
        assert [each["external_id"] for each in await api.items("/api/payments", params=params)] == found, params
    assert await api.read_all("/api/payments", limit=1) == items


async def test_credit_memos_have_their_allocations(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        invoice = await add_invoice(session, acme)
        mine = {**MEMO, "customer_id": acme}
        memo = await add(
            session, CreditMemo, **mine, external_id="m-1", number="CN-1", remaining="10", issued_on=date(2026, 11, 2)
        )
        unused = {**mine, "status": "paid", "currency": "USD", "issued_on": date(2026, 11, 3)}
        await add(session, CreditMemo, **unused, external_id="m-2", number="CN-2", remaining="0")
        await add(
            session,
            CreditAllocation,
            source="xero",
            source_tenant_id="org-1",
            credit_external_id="m-1",
            credit_memo_id=memo,
            invoice_external_id="x-INV-1",
            invoice_id=invoice,
            amount="20",
            applied_on=date(2026, 11, 4),
        )
    items = await api.items("/api/credit-memos")
    assert [each["number"] for each in items] == ["CN-2", "CN-1"]
    assert items[0]["allocations"] == []
    assert items[1] == {
        "id": str(memo),
        "source": "xero",
        "tenant_id": "org-1",
        "external_id": "m-1",
        "customer_id": str(acme),
        "number": "CN-1",
        "reference": None,
        "status": "open",
        "currency": "NZD",
        "exchange_rate": None,
        "total": "30.00",
        "remaining": "10.00",
        "issued_on": "2026-11-02",
        "vendor_status": None,
        "vendor_url": None,
        "vendor_updated_at": None,
        "allocations": [
            {
                "invoice_external_id": "x-INV-1",
                "invoice_id": str(invoice),
                "amount": "20.00",
                "applied_on": "2026-11-04",
            }
        ],
    }
    assert await api.read_all("/api/credit-memos", limit=1) == items
    for params, found in [
        ({"status": "paid"}, ["CN-2"]),
        ({"currency": "NZD"}, ["CN-1"]),
        ({"search": "cn-1"}, ["CN-1"]),
        ({"issued_to": "2026-11-02"}, ["CN-1"]),
    ]:
        assert [each["number"] for each in await api.items("/api/credit-memos", params=params)] == found, params


async def test_a_link_that_a_browser_would_execute_is_not_returned(api, db):
    async with db.transaction() as session:
        await add_invoice(session, await add_customer(session), vendor_url="javascript:alert(1)")
    assert (await api.items("/api/invoices"))[0]["vendor_url"] is None
