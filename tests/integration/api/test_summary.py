"""A customer's panel: figures per currency, in base currency where it is known, and whether there is data at all."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import insert

from app.billing.tables import BillingOrganisation, CreditMemo, CustomerLink, Payment, Service
from app.connections.tables import Grant, Tenant
from tests.support.api import NOON, ManualClock, add, add_customer, add_invoice, api_client, make_app, make_services

ZERO = {
    "invoiced_this_month": "0.00",
    "outstanding": "0.00",
    "overdue": "0.00",
    "overdue_count": 0,
    "unapplied_credit": "0.00",
    "contracted_mrr": "0.00",
}


async def panel(api, customer):
    answer = await api.get(f"/api/customers/{customer}/billing")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def set_base_currency(session, currency, tenant="org-1"):
    row = {"source": "xero", "source_tenant_id": tenant, "base_currency": currency}
    await session.execute(insert(BillingOrganisation).values(row))


async def connect(session, tenant="org-1", *, state="active", selected=True, as_of=None):
    user = f"user of {tenant}"
    grant = await add(
        session, Grant, vendor="xero", vendor_user_id=user, state=state, scope_set="broad", connected_by="tester"
    )
    row = {"vendor": "xero", "tenant_id": tenant, "name": tenant, "connection_id": "c", "grant_id": grant}
    await session.execute(insert(Tenant).values(**row, is_selected=selected, data_as_of=as_of))


async def link(session, customer, tenant="org-1", source="xero"):
    contact = {"source": source, "source_tenant_id": tenant, "external_id": f"c-{tenant}", "name": "Acme"}
    await add(session, CustomerLink, customer_id=customer, **contact)


async def test_the_figures_add_up_per_currency_and_never_across(api, db):
    yesterday = NOON.date() - timedelta(days=1)
    async with db.transaction() as session:
        acme = await add_customer(session)
        await add_invoice(session, acme, "open", total="100.10", balance="60.05")
        await add_invoice(session, acme, "paid", total="50", balance="0", status="paid")
        await add_invoice(session, acme, "late", total="30", issued_on=date(2026, 9, 1), due_on=yesterday)
        await add_invoice(session, acme, "void", total="999", status="void", due_on=yesterday)
        await add_invoice(session, acme, "draft", total="999", status="draft", due_on=yesterday)
        await add_invoice(session, acme, "deleted", total="999", status="deleted", due_on=yesterday)
        await add_invoice(session, acme, "dollars", total="7", currency="USD", source="quickbooks")
        memo = {"source": "xero", "source_tenant_id": "org-1", "customer_id": acme, "currency": "NZD", "total": "9"}
        await add(session, CreditMemo, **memo, external_id="m1", status="open", remaining="4.5")
        await add(session, CreditMemo, **memo, external_id="m2", status="void", remaining="9")
        service = {"customer_id": acme, "name": "Care", "currency": "AUD"}
        for number, (start, end) in enumerate([(NOON.date(), None), (yesterday, NOON.date()), (yesterday, yesterday)]):
            await add(
                session, Service, **service, external_id=str(number), monthly_amount="10", starts_on=start, ends_on=end
            )
        tomorrow = NOON.date() + timedelta(days=1)
        await add(session, Service, **service, external_id="next", monthly_amount="10", starts_on=tomorrow)
    shown = await panel(api, acme)
    assert shown["currencies"] == [
        {**ZERO, "currency": "AUD", "contracted_mrr": "20.00"},
        {
            "currency": "NZD",
            "invoiced_this_month": "150.10",
            "outstanding": "90.05",
            "overdue": "30.00",
            "overdue_count": 1,
            "unapplied_credit": "4.50",
            "contracted_mrr": "0.00",
        },
        {**ZERO, "currency": "USD", "invoiced_this_month": "7.00", "outstanding": "7.00"},
    ]
    assert (shown["month"], shown["sources"], shown["has_data"]) == ("2026-11", ["quickbooks", "xero"], True)
    assert {each["number"] for each in shown["recent_invoices"]} == {"open", "paid", "late", "void", "draft", "dollars"}


async def test_the_panel_shows_the_ten_newest_invoices_and_the_last_payment_that_is_not_deleted(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        for day in range(12):
            await add_invoice(session, acme, str(day), issued_on=NOON.date() - timedelta(days=day))
        payment = {"source": "xero", "source_tenant_id": "org-1", "currency": "NZD", "customer_id": acme}
        await add(session, Payment, **payment, external_id="a", amount="1", paid_on=date(2026, 11, 1))
        await add(session, Payment, **payment, external_id="b", amount="2", paid_on=date(2026, 11, 2))
        gone = {"amount": "3", "paid_on": date(2026, 11, 3), "status": "deleted"}
        await add(session, Payment, **payment, external_id="c", **gone)
        await add(session, Payment, **payment, external_id="d", amount="4")
    shown = await panel(api, acme)
    assert [each["number"] for each in shown["recent_invoices"]] == [str(day) for day in range(10)]
    assert (shown["last_payment"]["external_id"], shown["last_payment"]["amount"]) == ("b", "2.00")


@pytest.mark.parametrize(
    ("timezone", "instant", "month", "counted"),
    [
        ("UTC", datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), "2026-10", "1.00"),
        ("UTC", datetime(2026, 11, 1, tzinfo=UTC), "2026-11", "10.00"),
        ("Pacific/Auckland", datetime(2026, 10, 31, 10, 59, 59, tzinfo=UTC), "2026-10", "1.00"),
        ("Pacific/Auckland", datetime(2026, 10, 31, 11, tzinfo=UTC), "2026-11", "10.00"),
        ("America/Los_Angeles", datetime(2026, 11, 1, 6, 59, 59, tzinfo=UTC), "2026-10", "1.00"),
        ("America/Los_Angeles", datetime(2026, 11, 1, 7, tzinfo=UTC), "2026-11", "10.00"),
        ("Pacific/Auckland", datetime(2026, 12, 31, 11, tzinfo=UTC), "2027-01", "0.00"),
    ],
)
async def test_the_month_turns_at_midnight_of_the_billing_timezone(db, timezone, instant, month, counted):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await add_invoice(session, acme, "last day", total="1", issued_on=date(2026, 10, 31), due_on=None)
        await add_invoice(session, acme, "first day", total="10", issued_on=date(2026, 11, 1), due_on=None)
    clock = ManualClock(instant)
    async with api_client(make_app(make_services(db, clock, billing_timezone=timezone)), clock) as api:
        shown = await panel(api, acme)
    assert (shown["month"], shown["currencies"][0]["invoiced_this_month"]) == (month, counted)


async def test_base_figures_go_by_each_document_s_own_rate(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await set_base_currency(session, "NZD")
        await add_invoice(session, acme, "1", total="100", balance="50")
        await add_invoice(session, acme, "2", total="60", balance="60", currency="USD", exchange_rate="0.6")
        await add_invoice(session, acme, "3", total="10", balance="10", currency="USD", exchange_rate="0.3")
        old = {"status": "paid", "balance": "0", "issued_on": date(2026, 1, 1), "currency": "EUR"}
        await add_invoice(session, acme, "old, and without a rate, but nothing of it counts", **old)
    shown = await panel(api, acme)
    assert shown["base"] == {"currency": "NZD", "invoiced_this_month": "233.33", "outstanding": "183.33"}
    assert shown["base_unavailable_reason"] is None


async def test_base_is_null_where_it_is_not_known(api, db):
    async with db.transaction() as session:
        for tenant in ("a", "b"):
            await set_base_currency(session, "NZD", tenant)
        await set_base_currency(session, "AUD", "c")
        await set_base_currency(session, None, "empty")
        cases = {
            None: [{"source_tenant_id": "a"}, {"source_tenant_id": "b"}],
            "no_invoices": [],
            "base_currency_unknown": [{"source_tenant_id": "a"}, {"source_tenant_id": "nobody"}],
            "organisations_differ": [{"source_tenant_id": "a"}, {"source_tenant_id": "c"}],
            "exchange_rate_missing": [{"source_tenant_id": "a", "currency": "USD"}],
        }
        customers = {reason: await add_customer(session, str(reason)) for reason in cases}
        for reason, invoices in cases.items():
            for number, invoice in enumerate(invoices):
                await add_invoice(session, customers[reason], f"{reason} {number}", **invoice)
        zero_rate = await add_customer(session, "zero rate")
        slip = {"currency": "USD", "exchange_rate": "0", "source_tenant_id": "a"}
        await add_invoice(session, zero_rate, "zero", **slip)
        silent = await add_customer(session, "silent")
        await add_invoice(session, silent, "silent", source_tenant_id="empty")
    for reason, customer in [
        *customers.items(),
        ("exchange_rate_missing", zero_rate),
        ("base_currency_unknown", silent),
    ]:
        shown = await panel(api, customer)
        assert shown["base_unavailable_reason"] == reason
        assert (shown["base"] is None) == (reason is not None)


async def test_money_stays_exact_however_large(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await set_base_currency(session, "NZD")
        await add_invoice(session, acme, "1", total="12345678901234567890123456789.01")
        await add_invoice(session, acme, "2", total="0.0000000000001")
    shown = await panel(api, acme)
    assert shown["currencies"][0]["outstanding"] == "12345678901234567890123456789.0100000000001"
    assert shown["base"]["outstanding"] == "12345678901234567890123456789.01"


async def test_many_customers_in_one_answer(api, db):
    async with db.transaction() as session:
        customers = [await add_customer(session, str(number)) for number in range(5)]
        for number, customer in enumerate(customers[1:], 1):
            await add_invoice(session, customer, str(number), total=str(number))
    unknown = "8c0f4a5e-0000-4000-8000-000000000000"
    wanted = [str(each) for each in [customers[3], customers[0], customers[3]]] + [unknown]
    answer = await api.post("/api/billing/summaries", {"customer_ids": wanted})
    three = {**ZERO, "currency": "NZD", "invoiced_this_month": "3.00", "outstanding": "3.00"}
    assert answer.json() == {
        "items": [
            {"customer_id": str(customers[3]), "currencies": [three]},
            {"customer_id": str(customers[0]), "currencies": []},
        ]
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"customer_ids": ["x"]},
        {"customer_ids": None},
        {"customer_ids": [], "more": 1},
        {"customer_ids": ["8c0f4a5e-0000-4000-8000-000000000000"] * 501},
    ],
)
async def test_an_invalid_bulk_request_is_422(api, body):
    answer = await api.post("/api/billing/summaries", body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


async def test_a_customer_without_data_is_distinguished_from_a_missing_connection(api, db):
    async with db.transaction() as session:
        nobody = await add_customer(session, "nobody's")
    assert (await panel(api, nobody))["connected"] is False
    async with db.transaction() as session:
        await connect(session)
        await link(session, nobody)
    shown = await panel(api, nobody)
    facts = {
        name: shown[name] for name in ("connected", "has_data", "data_as_of", "currencies", "last_payment", "sources")
    }
    assert facts == {
        "connected": True,
        "has_data": False,
        "data_as_of": None,
        "currencies": [],
        "last_payment": None,
        "sources": ["xero"],
    }


@pytest.mark.parametrize(
    ("grant", "connected"),
    [
        ({"state": "active"}, True),
        ({"state": "reconnect_required"}, True),
        ({"state": "disconnected"}, False),
        ({"selected": False}, False),
    ],
)
async def test_connected_means_a_selected_organisation_of_a_grant_that_is_not_disconnected(api, db, grant, connected):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await connect(session, **grant)
        await add_invoice(session, acme)
    assert (await panel(api, acme))["connected"] is connected


async def test_another_vendor_s_rows_count_as_connected(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await add_invoice(session, acme, source="quickbooks")
    assert (await panel(api, acme))["connected"] is True


async def test_data_as_of_is_that_of_the_stalest_organisation_that_is_counted(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await connect(session, "new", as_of=NOON)
        await connect(session, "old", as_of=NOON - timedelta(hours=1))
        await connect(session, "not picked", as_of=NOON - timedelta(hours=2), selected=False)
        await connect(session, "not the customer's", as_of=NOON - timedelta(hours=3))
        await connect(session, "expired", as_of=NOON, state="reconnect_required")
        await connect(session, "disconnected", as_of=NOON, state="disconnected")
        await link(session, acme, "new")
        for tenant in ("old", "not picked", "expired", "disconnected"):
            await add_invoice(session, acme, tenant, source_tenant_id=tenant)
        await add_invoice(session, acme, "q", source="quickbooks", source_tenant_id="new")
    shown = await panel(api, acme)
    assert shown["data_as_of"] == "2026-11-15T10:00:00Z"
    assert [tuple(each.values()) for each in shown["source_details"]] == [
        ("quickbooks", "new", None, None, True),
        ("xero", "disconnected", "disconnected", "2026-11-15T12:00:00Z", False),
        ("xero", "expired", "expired", "2026-11-15T12:00:00Z", True),
        ("xero", "new", "new", "2026-11-15T12:00:00Z", True),
        ("xero", "not picked", "not picked", "2026-11-15T10:00:00Z", False),
        ("xero", "old", "old", "2026-11-15T11:00:00Z", True),
    ]
    assert list(shown["source_details"][0]) == ["source", "tenant_id", "name", "data_as_of", "is_synced"]


@pytest.mark.parametrize("selected", [True, False])
async def test_data_as_of_is_null_while_an_organisation_was_never_synced_whole(api, db, selected):
    async with db.transaction() as session:
        acme = await add_customer(session)
        await connect(session, "new", as_of=NOON)
        await connect(session, "first sync", selected=selected)
        for tenant in ("new", "first sync"):
            await add_invoice(session, acme, tenant, source_tenant_id=tenant)
    assert (await panel(api, acme))["data_as_of"] is None


async def test_the_panel_and_the_bulk_response_agree(api, db):
    async with db.transaction() as session:
        acme = await add_customer(session)
        for number in range(20):
            currency = ("NZD", "USD", "AUD")[number % 3]
            await add_invoice(session, acme, str(number), total=str(Decimal(number) / 7), currency=currency)
    bulk = (await api.post("/api/billing/summaries", {"customer_ids": [str(acme)]})).json()["items"][0]
    assert bulk["currencies"] == (await panel(api, acme))["currencies"]
