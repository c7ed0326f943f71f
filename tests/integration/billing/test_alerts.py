"""Alerts: when they open, what they say, what a person may make of them, and when they end and come back."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.billing import alerts
from app.billing.alerts import AlertCounts, AlertIsResolved, AlertPolicy, UnknownAlert
from app.billing.psa import PsaCustomer, PsaService, upsert_customers, upsert_services
from app.db import DatabaseUnavailable
from tests.support.factories import Ledger, at, contact, invoice

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
DUE = date(2026, 10, 20)
NOTHING = AlertCounts()


class Watch(Ledger):
    """A ledger watched day by day; day 0 is the due date of its invoices."""

    minute = 0

    async def bill(self, external_id="i1", **facts):
        self.minute += 1
        await self.write(invoice(external_id, self.minute, **{"due_on": DUE, "issued_on": date(2026, 10, 1), **facts}))

    async def look(self, day=1, hour=12, **policy):
        """Evaluate at that hour, UTC, that many days after the due date."""
        now = datetime(DUE.year, DUE.month, DUE.day, hour, tzinfo=UTC) + timedelta(days=day)
        return await self.look_at(now, **policy)

    async def look_at(self, now, **policy):
        async with self.db.transaction() as session:
            return await alerts.evaluate(session, now, AlertPolicy(**policy))

    async def alert(self, where="true"):
        return await self.row("billing_alerts", where)

    async def state(self):
        alert = await self.alert()
        return alert["status"], alert["occurrences"]

    async def do(self, deed, *args, alert_id=None):
        async with self.db.transaction() as session:
            await deed(session, alert_id or (await self.alert())["id"], *args)

    async def serve(self, **facts):
        usual = {"name": "Backup", "monthly_amount": Decimal("99.5"), "currency": "NZD", "starts_on": date(2026, 1, 1)}
        async with self.db.transaction() as session:
            await upsert_customers(session, [PsaCustomer("p1", "Acme")])
            await upsert_services(session, [PsaService("s1", "p1", **{**usual, **facts})])


@pytest.fixture
def watch(db):
    return Watch(db)


async def test_an_invoice_is_overdue_the_day_after_it_was_due_and_not_before(watch):
    await watch.bill()

    assert await watch.look(0, hour=23) == NOTHING
    assert await watch.look(1, hour=0) == AlertCounts(opened=1)


async def test_grace_days_move_the_day(watch):
    await watch.bill()

    assert await watch.look(3, grace_days=3) == NOTHING
    assert await watch.look(4, grace_days=3) == AlertCounts(opened=1)


@pytest.mark.parametrize(
    ("timezone", "last_of_the_day"),
    [
        ("UTC", datetime(2026, 10, 20, 23, 59, 59, tzinfo=UTC)),
        ("Pacific/Auckland", datetime(2026, 10, 20, 10, 59, 59, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2026, 10, 21, 6, 59, 59, tzinfo=UTC)),
    ],
)
async def test_the_day_begins_where_the_business_is(watch, timezone, last_of_the_day):
    await watch.bill()

    assert await watch.look_at(last_of_the_day, timezone=timezone) == NOTHING
    assert await watch.look_at(last_of_the_day + timedelta(seconds=1), timezone=timezone) == AlertCounts(opened=1)


async def test_an_overdue_alert_says_how_long_and_how_much_and_whose(watch):
    await watch.bill(number="INV-7", total="1200.00", paid="200.00")
    await watch.look(1)
    alert, row = await watch.alert(), await watch.row("billing_invoices")

    assert (alert["title"], alert["detail"]) == ("Invoice INV-7 is overdue", "1 day overdue, 1000.00 NZD outstanding")
    assert (alert["trigger"], alert["severity"]) == ("invoice_overdue", "warning")
    assert (alert["subject_type"], alert["subject_id"]) == ("invoice", row["id"])
    assert alert["customer_id"] == row["customer_id"]
    assert alert["first_seen_at"] == alert["last_seen_at"] == datetime(2026, 10, 21, 12, tzinfo=UTC)


async def test_the_days_and_the_severity_follow_the_calendar(watch):
    await watch.bill(total="5")
    await watch.look(1)
    assert await watch.look(29) == AlertCounts(updated=1)
    before = await watch.alert()
    await watch.look(30)
    alert = await watch.alert()

    assert (before["severity"], alert["severity"]) == ("warning", "critical")
    assert alert["detail"] == "30 days overdue, 5.00 NZD outstanding"
    assert alert["occurrences"] == 1


async def test_critical_days_are_a_setting(watch):
    await watch.bill()
    await watch.look(5, critical_days=5)

    assert (await watch.alert())["severity"] == "critical"


async def test_looking_again_on_the_same_day_writes_nothing(watch):
    await watch.bill()
    await watch.serve()
    await watch.look(60)
    seen = "(SELECT ctid::text, xmin::text, xmax::text FROM billing_alerts)"
    before = await watch.rows(seen)

    assert await watch.look(60, hour=13) == NOTHING
    assert len(before) == 2
    assert await watch.rows(seen) == before


@pytest.mark.parametrize(
    "change",
    [
        {"status": "paid", "paid": "115.00"},
        {"status": "void", "balance": Decimal(0)},
        {"status": "deleted"},
        {"status": "draft"},
        {"due_on": DUE + timedelta(days=30)},
        {"due_on": None},
        {"credited": "115.00", "status": "open"},
    ],
    ids=["paid", "voided", "deleted", "back to draft", "moved", "no due date", "nothing left of it"],
)
async def test_an_overdue_alert_ends_with_its_condition_and_comes_back_with_it(watch, change):
    await watch.bill()
    await watch.look(1)
    await watch.bill(**change)
    ended = await watch.look(2)
    resolved = await watch.alert()
    await watch.bill()
    back = await watch.look(3)

    assert (ended, back) == (AlertCounts(resolved=1), AlertCounts(reopened=1))
    assert (resolved["status"], resolved["resolved_at"]) == ("resolved", datetime(2026, 10, 22, 12, tzinfo=UTC))
    assert await watch.state() == ("open", 2)
    assert (await watch.alert())["resolved_at"] is None


async def test_an_acknowledged_alert_stays_so_until_its_condition_ends(watch):
    await watch.bill()
    await watch.look(1)
    await watch.do(alerts.acknowledge, "ana")
    await watch.look(40)
    lasting = await watch.state()
    by_whom = (await watch.alert())["changed_by"]
    await watch.bill(status="paid")
    await watch.look(41)
    ended = await watch.state()
    await watch.bill()
    await watch.look(42)

    assert (lasting, ended, await watch.state()) == (("acknowledged", 1), ("resolved", 1), ("open", 2))
    assert by_whom == "ana"


async def test_an_alert_resolved_by_hand_comes_back_only_when_its_condition_recurs(watch):
    await watch.bill()
    await watch.look(1)
    await watch.do(alerts.resolve, "ana", NOON)
    lasting = await watch.look(40)
    by_hand = await watch.alert()
    await watch.bill(status="paid")
    ended = await watch.look(41)
    await watch.bill()
    back = await watch.look(42)

    assert (lasting, ended, back) == (NOTHING, NOTHING, AlertCounts(reopened=1))
    assert (by_hand["status"], by_hand["resolved_at"], by_hand["changed_by"]) == ("resolved", NOON, "ana")
    assert await watch.state() == ("open", 2)


async def test_a_muted_alert_is_silent_for_its_hours(watch):
    await watch.bill()
    await watch.look(1)
    await watch.do(alerts.mute, 4, "ana", datetime(2026, 10, 21, 12, tzinfo=UTC))
    states = [(await watch.look(1, hour=hour), await watch.state()) for hour in (13, 15, 16, 17)]

    assert states == [
        (NOTHING, ("muted", 1)),
        (NOTHING, ("muted", 1)),
        (AlertCounts(updated=1), ("open", 1)),
        (NOTHING, ("open", 1)),
    ]
    assert (await watch.alert())["muted_until"] is None


async def test_a_muted_alert_that_recurs_within_its_hours_is_still_muted(watch):
    await watch.bill()
    await watch.look(1)
    await watch.do(alerts.mute, 72, "ana", datetime(2026, 10, 21, 12, tzinfo=UTC))
    await watch.bill(status="paid")
    await watch.look(2)
    paid = await watch.state()
    await watch.bill()
    await watch.look(3)
    recurred = await watch.state()
    await watch.look(5)

    assert (paid, recurred, await watch.state()) == (("resolved", 1), ("muted", 2), ("open", 2))


async def test_what_a_person_may_make_of_an_alert(watch):
    await watch.bill()
    await watch.look(1)
    await watch.do(alerts.mute, 4, "ana", NOON)
    await watch.do(alerts.acknowledge, "ben")
    acknowledged = await watch.alert()
    await watch.do(alerts.resolve, "ana", NOON)
    await watch.do(alerts.resolve, "ben", NOON)

    assert (acknowledged["status"], acknowledged["muted_until"]) == ("acknowledged", None)
    assert (await watch.alert())["changed_by"] == "ana"
    deeds = [(row["actor"], row["action"]) for row in await watch.rows("audit_entries", order="at")]
    assert deeds == [("ana", "alert_muted"), ("ben", "alert_acknowledged"), ("ana", "alert_resolved")]


async def test_nothing_is_left_to_do_about_a_resolved_alert_and_nothing_about_an_unknown_one(watch):
    await watch.bill()
    await watch.look(1)
    await watch.do(alerts.resolve, "ana", NOON)
    for deed, args in ((alerts.acknowledge, ("ana",)), (alerts.mute, (4, "ana", NOON))):
        with pytest.raises(AlertIsResolved):
            await watch.do(deed, *args)
        with pytest.raises(UnknownAlert):
            await watch.do(deed, *args, alert_id=uuid4())


async def test_a_person_waits_for_an_evaluation_under_way_so_that_neither_undoes_the_other(watch):
    await watch.bill()
    await watch.look(1)
    alert = await watch.alert()
    async with watch.db.transaction() as evaluating:
        await alerts.evaluate(evaluating, NOON, AlertPolicy())
        with pytest.raises(DatabaseUnavailable):
            await watch.do(impatiently, alert_id=alert["id"])

    await watch.do(alerts.acknowledge, "ana")
    assert await watch.state() == ("acknowledged", 1)


async def impatiently(session, alert_id):
    await session.execute(text("SET LOCAL lock_timeout = '20ms'"))
    await alerts.acknowledge(session, alert_id, "ana")


async def test_a_service_without_invoice_is_told_of_when_the_gap_has_passed(watch):
    await watch.serve()
    await watch.bill(status="paid", paid="115.00")

    assert await watch.look_at(datetime(2026, 11, 5, tzinfo=UTC)) == NOTHING
    assert await watch.look_at(datetime(2026, 11, 6, tzinfo=UTC)) == AlertCounts(opened=1)
    alert, service = await watch.alert(), await watch.row("billing_services")
    assert (alert["trigger"], alert["severity"]) == ("service_without_invoice", "warning")
    assert (alert["subject_type"], alert["subject_id"]) == ("service", service["id"])
    assert (alert["title"], alert["detail"]) == (
        "No invoice for Backup",
        "Last invoice issued on 2026-10-01; 99.50 NZD a month is contracted",
    )


async def test_the_gap_is_a_setting_and_the_day_is_the_business_day(watch):
    await watch.serve()
    await watch.bill(status="paid")
    before = datetime(2026, 10, 8, 10, 59, 59, tzinfo=UTC)

    assert await watch.look_at(before, gap_days=7, timezone="Pacific/Auckland") == NOTHING
    later = await watch.look_at(before + timedelta(seconds=1), gap_days=7, timezone="Pacific/Auckland")
    assert later == AlertCounts(opened=1)


@pytest.mark.parametrize("status", ["draft", "void", "deleted"])
async def test_an_invoice_that_is_not_issued_bills_nothing(watch, status):
    await watch.serve()
    await watch.bill(status="open", due_on=None)
    await watch.bill(status=status, due_on=None)

    assert await watch.look_at(datetime(2026, 10, 2, tzinfo=UTC)) == AlertCounts(opened=1)
    assert (await watch.alert())["detail"].startswith("Never invoiced; active since 2026-01-01")


@pytest.mark.parametrize("source", ["xero", "quickbooks"])
async def test_an_invoice_of_any_vendor_ends_the_gap(watch, source):
    await watch.serve()
    await watch.look_at(NOON)
    customer = (await watch.row("customers"))["id"]
    await watch.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance, issued_on) VALUES (:source, 'q', '1', :customer, 'open', 'USD', 1, 1, '2026-10-30')",
        source=source,
        customer=customer,
    )

    assert await watch.look_at(NOON) == AlertCounts(resolved=1)


async def test_an_overdue_invoice_of_another_vendor_is_told_of(watch):
    await watch.write(contact(minute=0))
    await watch.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance, due_on) SELECT 'quickbooks', 'q', '1', id, 'open', 'USD', 1, 1, '2026-10-20' FROM customers"
    )

    assert await watch.look(1) == AlertCounts(opened=1)
    assert (await watch.alert())["title"] == "An invoice is overdue"


@pytest.mark.parametrize(
    ("facts", "is_told"),
    [
        ({"starts_on": date(2026, 9, 27)}, False),
        ({"starts_on": date(2026, 9, 26)}, True),
        ({"starts_on": date(2026, 12, 1)}, False),
        ({"ends_on": date(2026, 10, 31)}, False),
        ({"ends_on": date(2026, 11, 1)}, True),
    ],
    ids=["as old as the gap", "older than the gap", "not begun", "ended yesterday", "ends today"],
)
async def test_only_a_service_that_is_active_and_old_enough_is_told_of(watch, facts, is_told):
    await watch.serve(**facts)

    assert await watch.look_at(NOON) == AlertCounts(opened=int(is_told))


async def test_a_gap_alert_ends_when_its_service_does(watch):
    await watch.serve()
    await watch.look_at(NOON)
    await watch.serve(ends_on=date(2026, 10, 31))

    assert await watch.look_at(NOON) == AlertCounts(resolved=1)


async def test_each_service_is_held_against_its_own_customers_invoices(watch):
    await watch.serve()
    await watch.write(invoice("i1", of=contact("c2", "Somebody Else"), issued_on=at(0).date(), due_on=None))

    assert await watch.look_at(NOON) == AlertCounts(opened=1)
