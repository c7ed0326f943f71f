"""Alerts: when they open, their texts, how a person changes them, and when they are resolved and open again."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.billing import alerts
from app.billing.alerts import AlertCounts, AlertIsResolved, AlertPolicy, UnknownAlert
from app.billing.maintenance import refresh_derived
from app.billing.psa import PsaCustomer, PsaService, upsert_customers, upsert_services
from app.billing.sources import SourceDetails
from app.db import DatabaseUnavailable
from tests.support.factories import Ledger, at, contact, invoice

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
DUE = date(2026, 10, 20)
SYNCED = SourceDetails("xero", "t1", "One", NOON, is_synced=True)
UNSYNCED = SourceDetails(
    "xero", "t1", "One", datetime(2026, 10, 20, 21, 5, tzinfo=timezone(timedelta(hours=13))), is_synced=False
)
NOTE = "; figures as of 2026-10-20 08:05 UTC"
NOTHING = AlertCounts()


class AlertLedger(Ledger):
    """A ledger whose alerts are evaluated by day; day 0 is the due date of its invoices."""

    minute = 0

    async def bill(self, external_id="i1", **facts):
        self.minute += 1
        await self.write(invoice(external_id, self.minute, **{"due_on": DUE, "issued_on": date(2026, 10, 1), **facts}))

    async def evaluate(self, day=1, hour=12, **policy):
        """Evaluate at that hour, UTC, that many days after the due date."""
        now = datetime(DUE.year, DUE.month, DUE.day, hour, tzinfo=UTC) + timedelta(days=day)
        return await self.evaluate_at(now, **policy)

    async def evaluate_at(self, now, sources=(), **policy):
        """Derive what has changed, after which a derivation of everything must find nothing to do."""
        async with self.db.transaction() as session:
            found = (await refresh_derived(session, now, AlertPolicy(**policy), sources)).alerts
        async with self.db.transaction() as session:
            assert await alerts.open_and_resolve(session, now, AlertPolicy(**policy), sources) == NOTHING
        return found

    async def alert(self, where="true"):
        return await self.row("billing_alerts", where)

    async def state(self):
        alert = await self.alert()
        return alert["status"], alert["occurrences"]

    async def change(self, action, *args, alert_id=None):
        async with self.db.transaction() as session:
            await action(session, alert_id or (await self.alert())["id"], *args)

    async def send_service(self, **facts):
        usual = {"name": "Backup", "monthly_amount": Decimal("99.5"), "currency": "NZD", "starts_on": date(2026, 1, 1)}
        async with self.db.transaction() as session:
            await upsert_customers(session, [PsaCustomer("p1", "Acme")])
            await upsert_services(session, [PsaService("s1", "p1", **{**usual, **facts})])


@pytest.fixture
def ledger(db):
    return AlertLedger(db)


async def test_an_invoice_is_overdue_the_day_after_it_was_due_and_not_before(ledger):
    await ledger.bill()

    assert await ledger.evaluate(0, hour=23) == NOTHING
    assert await ledger.evaluate(1, hour=0) == AlertCounts(opened=1)


async def test_grace_days_move_the_day(ledger):
    await ledger.bill()

    assert await ledger.evaluate(3, grace_days=3) == NOTHING
    assert await ledger.evaluate(4, grace_days=3) == AlertCounts(opened=1)


@pytest.mark.parametrize(
    ("timezone", "last_of_the_day"),
    [
        ("UTC", datetime(2026, 10, 20, 23, 59, 59, tzinfo=UTC)),
        ("Pacific/Auckland", datetime(2026, 10, 20, 10, 59, 59, tzinfo=UTC)),
        ("America/Los_Angeles", datetime(2026, 10, 21, 6, 59, 59, tzinfo=UTC)),
    ],
)
async def test_the_day_begins_in_the_billing_timezone(ledger, timezone, last_of_the_day):
    await ledger.bill()

    assert await ledger.evaluate_at(last_of_the_day, timezone=timezone) == NOTHING
    assert await ledger.evaluate_at(last_of_the_day + timedelta(seconds=1), timezone=timezone) == AlertCounts(opened=1)


async def test_an_overdue_alert_says_how_long_and_how_much_and_whose(ledger):
    await ledger.bill(number="INV-7", total="1200.00", paid="200.00")
    await ledger.evaluate(1)
    alert, row = await ledger.alert(), await ledger.row("billing_invoices")

    assert (alert["title"], alert["detail"]) == ("Invoice INV-7 is overdue", "1 day overdue, 1000.00 NZD outstanding")
    assert (alert["trigger"], alert["severity"]) == ("invoice_overdue", "warning")
    assert (alert["subject_type"], alert["subject_id"]) == ("invoice", row["id"])
    assert alert["customer_id"] == row["customer_id"]
    assert alert["first_seen_at"] == alert["last_seen_at"] == datetime(2026, 10, 21, 12, tzinfo=UTC)


async def test_the_days_and_the_severity_follow_the_calendar(ledger):
    await ledger.bill(total="5")
    await ledger.evaluate(1)
    assert await ledger.evaluate(29) == AlertCounts(updated=1)
    before = await ledger.alert()
    await ledger.evaluate(30)
    alert = await ledger.alert()

    assert (before["severity"], alert["severity"]) == ("warning", "critical")
    assert alert["detail"] == "30 days overdue, 5.00 NZD outstanding"
    assert alert["occurrences"] == 1


async def test_critical_days_are_a_setting(ledger):
    await ledger.bill()
    await ledger.evaluate(5, critical_days=5)

    assert (await ledger.alert())["severity"] == "critical"


async def test_a_second_evaluation_on_the_same_day_writes_nothing(ledger):
    await ledger.bill()
    await ledger.send_service()
    await ledger.evaluate(60)
    seen = "(SELECT ctid::text, xmin::text, xmax::text FROM billing_alerts)"
    before = await ledger.rows(seen)

    assert await ledger.evaluate(60, hour=13) == NOTHING
    assert len(before) == 2
    assert await ledger.rows(seen) == before


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
async def test_an_overdue_alert_ends_with_its_condition_and_comes_back_with_it(ledger, change):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.bill(**change)
    ended = await ledger.evaluate(2)
    resolved = await ledger.alert()
    await ledger.bill()
    back = await ledger.evaluate(3)

    assert (ended, back) == (AlertCounts(resolved=1), AlertCounts(reopened=1))
    assert (resolved["status"], resolved["resolved_at"]) == ("resolved", datetime(2026, 10, 22, 12, tzinfo=UTC))
    assert await ledger.state() == ("open", 2)
    assert (await ledger.alert())["resolved_at"] is None


async def test_an_acknowledged_alert_stays_so_until_its_condition_ends(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.change(alerts.acknowledge, "ana")
    await ledger.evaluate(40)
    lasting = await ledger.state()
    by_whom = (await ledger.alert())["changed_by"]
    await ledger.bill(status="paid")
    await ledger.evaluate(41)
    ended = await ledger.state()
    await ledger.bill()
    await ledger.evaluate(42)

    assert (lasting, ended, await ledger.state()) == (("acknowledged", 1), ("resolved", 1), ("open", 2))
    assert by_whom == "ana"


async def test_an_alert_resolved_by_hand_comes_back_only_when_its_condition_recurs(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.change(alerts.resolve, "ana", NOON)
    lasting = await ledger.evaluate(40)
    by_hand = await ledger.alert()
    await ledger.bill(status="paid")
    ended = await ledger.evaluate(41)
    await ledger.bill()
    back = await ledger.evaluate(42)

    assert (lasting, ended, back) == (NOTHING, NOTHING, AlertCounts(reopened=1))
    assert (by_hand["status"], by_hand["resolved_at"], by_hand["changed_by"]) == ("resolved", NOON, "ana")
    assert await ledger.state() == ("open", 2)


async def test_a_muted_alert_stays_muted_for_its_hours(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.change(alerts.mute, 4, "ana", datetime(2026, 10, 21, 12, tzinfo=UTC))
    states = [(await ledger.evaluate(1, hour=hour), await ledger.state()) for hour in (13, 15, 16, 17)]

    assert states == [
        (NOTHING, ("muted", 1)),
        (NOTHING, ("muted", 1)),
        (AlertCounts(updated=1), ("open", 1)),
        (NOTHING, ("open", 1)),
    ]
    assert (await ledger.alert())["muted_until"] is None


async def test_a_muted_alert_that_recurs_within_its_hours_is_still_muted(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.change(alerts.mute, 72, "ana", datetime(2026, 10, 21, 12, tzinfo=UTC))
    await ledger.bill(status="paid")
    await ledger.evaluate(2)
    paid = await ledger.state()
    await ledger.bill()
    await ledger.evaluate(3)
    recurred = await ledger.state()
    await ledger.evaluate(5)

    assert (paid, recurred, await ledger.state()) == (("resolved", 1), ("muted", 2), ("open", 2))


async def test_an_alert_can_be_acknowledged_muted_and_resolved(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.change(alerts.mute, 4, "ana", NOON)
    await ledger.change(alerts.acknowledge, "ben")
    acknowledged = await ledger.alert()
    await ledger.change(alerts.resolve, "ana", NOON)
    await ledger.change(alerts.resolve, "ben", NOON)

    assert (acknowledged["status"], acknowledged["muted_until"]) == ("acknowledged", None)
    assert (await ledger.alert())["changed_by"] == "ana"
    entries = [(row["actor"], row["action"]) for row in await ledger.rows("audit_entries", order="at")]
    assert entries == [("ana", "alert_muted"), ("ben", "alert_acknowledged"), ("ana", "alert_resolved")]


async def test_a_resolved_alert_and_an_unknown_one_cannot_be_changed(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.change(alerts.resolve, "ana", NOON)
    for action, args in ((alerts.acknowledge, ("ana",)), (alerts.mute, (4, "ana", NOON))):
        with pytest.raises(AlertIsResolved):
            await ledger.change(action, *args)
        with pytest.raises(UnknownAlert):
            await ledger.change(action, *args, alert_id=uuid4())


async def test_a_change_by_hand_waits_for_an_evaluation_under_way_so_that_neither_undoes_the_other(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    alert = await ledger.alert()
    async with ledger.db.transaction() as evaluating:
        await alerts.open_and_resolve(evaluating, NOON, AlertPolicy())
        with pytest.raises(DatabaseUnavailable):
            await ledger.change(acknowledge_without_waiting, alert_id=alert["id"])

    await ledger.change(alerts.acknowledge, "ana")
    assert await ledger.state() == ("acknowledged", 1)


async def acknowledge_without_waiting(session, alert_id):
    await session.execute(text("SET LOCAL lock_timeout = '20ms'"))
    await alerts.acknowledge(session, alert_id, "ana")


async def test_a_service_without_invoice_is_reported_when_the_gap_has_passed(ledger):
    await ledger.send_service()
    await ledger.bill(status="paid", paid="115.00")

    assert await ledger.evaluate_at(datetime(2026, 11, 5, tzinfo=UTC)) == NOTHING
    assert await ledger.evaluate_at(datetime(2026, 11, 6, tzinfo=UTC)) == AlertCounts(opened=1)
    alert, service = await ledger.alert(), await ledger.row("billing_services")
    assert (alert["trigger"], alert["severity"]) == ("service_without_invoice", "warning")
    assert (alert["subject_type"], alert["subject_id"]) == ("service", service["id"])
    assert (alert["title"], alert["detail"]) == (
        "No invoice for Backup",
        "Last invoice issued on 2026-10-01; 99.50 NZD a month is contracted",
    )


async def test_the_gap_is_a_setting_and_the_day_is_that_of_the_billing_timezone(ledger):
    await ledger.send_service()
    await ledger.bill(status="paid")
    before = datetime(2026, 10, 8, 10, 59, 59, tzinfo=UTC)

    assert await ledger.evaluate_at(before, gap_days=7, timezone="Pacific/Auckland") == NOTHING
    later = await ledger.evaluate_at(before + timedelta(seconds=1), gap_days=7, timezone="Pacific/Auckland")
    assert later == AlertCounts(opened=1)


@pytest.mark.parametrize("status", ["draft", "void", "deleted"])
async def test_an_invoice_that_is_not_issued_bills_nothing(ledger, status):
    await ledger.send_service()
    await ledger.bill(status="open", due_on=None)
    await ledger.bill(status=status, due_on=None)

    assert await ledger.evaluate_at(datetime(2026, 10, 2, tzinfo=UTC)) == AlertCounts(opened=1)
    assert (await ledger.alert())["detail"].startswith("Never invoiced; active since 2026-01-01")


@pytest.mark.parametrize("source", ["xero", "quickbooks"])
async def test_an_invoice_of_any_vendor_ends_the_gap(ledger, source):
    await ledger.send_service()
    await ledger.evaluate_at(NOON)
    customer = (await ledger.row("customers"))["id"]
    await ledger.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance, issued_on) VALUES (:source, 'q', '1', :customer, 'open', 'USD', 1, 1, '2026-10-30')",
        source=source,
        customer=customer,
    )

    assert await ledger.evaluate_at(NOON) == AlertCounts(resolved=1)


async def test_an_overdue_invoice_of_another_vendor_is_reported(ledger):
    await ledger.write(contact(minute=0))
    await ledger.run(
        "INSERT INTO billing_invoices (source, source_tenant_id, external_id, customer_id, status, currency, total,"
        " balance, due_on) SELECT 'quickbooks', 'q', '1', id, 'open', 'USD', 1, 1, '2026-10-20' FROM customers"
    )

    assert await ledger.evaluate(1) == AlertCounts(opened=1)
    assert (await ledger.alert())["title"] == "An invoice is overdue"


@pytest.mark.parametrize(
    ("facts", "is_reported"),
    [
        ({"starts_on": date(2026, 9, 27)}, False),
        ({"starts_on": date(2026, 9, 26)}, True),
        ({"starts_on": date(2026, 12, 1)}, False),
        ({"ends_on": date(2026, 10, 31)}, False),
        ({"ends_on": date(2026, 11, 1)}, True),
    ],
    ids=["as old as the gap", "older than the gap", "not begun", "ended yesterday", "ends today"],
)
async def test_only_a_service_that_is_active_and_old_enough_is_reported(ledger, facts, is_reported):
    await ledger.send_service(**facts)

    assert await ledger.evaluate_at(NOON) == AlertCounts(opened=int(is_reported))


async def test_a_gap_alert_ends_when_its_service_does(ledger):
    await ledger.send_service()
    await ledger.evaluate_at(NOON)
    await ledger.send_service(ends_on=date(2026, 10, 31))

    assert await ledger.evaluate_at(NOON) == AlertCounts(resolved=1)


async def test_each_service_is_compared_with_its_own_customers_invoices(ledger):
    await ledger.send_service()
    await ledger.write(invoice("i1", of=contact("c2", "Somebody Else"), issued_on=at(0).date(), due_on=None))

    assert await ledger.evaluate_at(NOON) == AlertCounts(opened=1)


async def test_an_alert_of_an_organisation_no_longer_synced_stays_and_says_the_age_of_its_figures(ledger):
    await ledger.bill()
    await ledger.evaluate(1, sources=[SYNCED])
    left = await ledger.evaluate(1, sources=[UNSYNCED])
    noted, again = await ledger.alert(), await ledger.evaluate(1, sources=[UNSYNCED])
    back = await ledger.evaluate(1, sources=[SYNCED])

    assert (left, again, back) == (AlertCounts(updated=1), NOTHING, AlertCounts(updated=1))
    assert (noted["status"], noted["detail"]) == ("open", f"1 day overdue, 115.00 NZD outstanding{NOTE}")
    assert (await ledger.alert())["detail"] == "1 day overdue, 115.00 NZD outstanding"


async def test_no_alert_opens_or_opens_again_for_an_organisation_no_longer_synced(ledger):
    await ledger.bill()
    never = await ledger.evaluate(1, sources=[UNSYNCED])
    await ledger.evaluate(1)
    await ledger.bill(status="paid")
    await ledger.evaluate(2)
    await ledger.bill()
    not_again = await ledger.evaluate(3, sources=[UNSYNCED])
    state = await ledger.state()

    assert (never, not_again, state) == (NOTHING, NOTHING, ("resolved", 1))
    assert await ledger.evaluate(3, sources=[SYNCED]) == AlertCounts(reopened=1)


@pytest.mark.parametrize(
    "other", [("quickbooks", "t1"), ("xero", "t2")], ids=["another vendor", "another organisation"]
)
async def test_an_organisation_no_longer_synced_leaves_alerts_of_others_as_they_are(ledger, other):
    await ledger.bill()

    assert await ledger.evaluate(1, sources=[replace(UNSYNCED, source=other[0], tenant_id=other[1])]) == AlertCounts(
        opened=1
    )
    assert "figures" not in (await ledger.alert())["detail"]


async def test_an_alert_of_figures_that_were_never_complete_says_so(ledger):
    await ledger.bill()
    await ledger.evaluate(1)
    await ledger.evaluate(1, sources=[replace(UNSYNCED, data_as_of=None)])

    assert (await ledger.alert())["detail"].endswith("; figures incomplete")


async def test_a_gap_after_an_invoice_of_an_organisation_no_longer_synced_is_not_reported(ledger):
    await ledger.send_service()
    await ledger.bill(status="paid", paid="115.00", due_on=None)

    assert await ledger.evaluate_at(NOON + timedelta(days=30), sources=[UNSYNCED]) == NOTHING
    assert await ledger.evaluate_at(NOON + timedelta(days=30), sources=[SYNCED]) == AlertCounts(opened=1)
    await ledger.evaluate_at(NOON + timedelta(days=30), sources=[UNSYNCED])
    assert (await ledger.alert())["detail"].endswith(f"a month is contracted{NOTE}")


async def test_a_gap_after_a_later_invoice_of_a_synced_organisation_is_reported(ledger):
    await ledger.send_service()
    await ledger.bill(status="paid", paid="115.00", due_on=None)
    later = invoice("i2", 1, status="paid", paid="115.00", due_on=None, issued_on=date(2026, 10, 2))
    await ledger.of("t2").write(later)

    assert await ledger.evaluate_at(NOON + timedelta(days=30), sources=[UNSYNCED]) == AlertCounts(opened=1)
    assert (await ledger.alert())["detail"].startswith("Last invoice issued on 2026-10-02")


async def test_a_service_never_invoiced_is_not_reported_while_its_customer_s_organisation_is_not_synced(ledger):
    await ledger.send_service()
    for tenant_id in ("t1", "t2"):
        await ledger.of(tenant_id).write(contact(minute=0))
    both = [UNSYNCED, replace(UNSYNCED, tenant_id="t2")]

    assert await ledger.evaluate_at(NOON, sources=both) == NOTHING
    assert await ledger.evaluate_at(NOON, sources=[SYNCED]) == AlertCounts(opened=1)
    assert await ledger.evaluate_at(NOON, sources=both) == AlertCounts(updated=1)


@pytest.mark.parametrize("has_invoice", [True, False], ids=["invoiced before", "never invoiced"])
async def test_a_gap_is_reported_although_another_vendor_s_organisation_of_the_same_id_is_not_synced(
    ledger, has_invoice
):
    await ledger.send_service()
    await ledger.write(contact(minute=0))
    if has_invoice:
        await ledger.bill(status="paid", paid="115.00", due_on=None)
    other_vendor = replace(UNSYNCED, source="quickbooks")

    assert await ledger.evaluate_at(NOON + timedelta(days=30), sources=[other_vendor]) == AlertCounts(opened=1)


async def invoices_read_by(db, now):
    """Derive, and return for how many invoices that was done; None for all."""
    derived = []

    async def record(_session, _now, _policy, _sources, changed):
        derived.append(changed if changed is None else len(changed.invoice_ids))
        return NOTHING

    async with db.transaction() as session:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(alerts, "open_and_resolve", record)
            await refresh_derived(session, now, AlertPolicy())
    return derived[0]


async def test_only_invoices_that_are_open_or_were_are_read_again_and_all_of_them_on_another_day(ledger):
    await ledger.bill("open")
    await ledger.bill("paid", paid="100", total="100")
    assert await invoices_read_by(ledger.db, NOON) is None
    assert await invoices_read_by(ledger.db, NOON + timedelta(hours=1)) == 0
    await ledger.bill("open", number="INV-8")
    await ledger.bill("paid", paid="100", total="100", number="INV-9")
    await ledger.bill("new")
    assert await invoices_read_by(ledger.db, NOON + timedelta(hours=2)) == 2
    assert await invoices_read_by(ledger.db, NOON + timedelta(hours=3)) == 0
    assert await invoices_read_by(ledger.db, NOON + timedelta(days=1)) is None


async def test_what_is_noted_is_kept_when_the_derivation_fails(ledger):
    await ledger.evaluate(1)
    await ledger.bill()
    with pytest.raises(ZeroDivisionError):
        await fail_after_deriving(ledger.db)
    assert await ledger.evaluate(1) == AlertCounts(opened=1)


async def fail_after_deriving(db):
    async with db.transaction() as session:
        await refresh_derived(session, datetime(2026, 10, 21, 12, tzinfo=UTC), AlertPolicy())
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE billing_invoices SET balance = 0",
        "UPDATE billing_invoices SET status = 'paid'",
        "UPDATE billing_invoices SET due_on = '2026-12-01'",
        "UPDATE billing_invoices SET number = 'INV-0'",
        "DELETE FROM billing_invoices",
    ],
)
async def test_alerts_follow_within_the_day_whatever_another_service_does_to_an_overdue_invoice(ledger, change):
    await ledger.bill()
    assert await ledger.evaluate(1) == AlertCounts(opened=1)
    async with ledger.db.transaction() as session:
        await session.execute(text(change))
    expected = AlertCounts(updated=1) if "number" in change else AlertCounts(resolved=1)
    assert await ledger.evaluate(1, hour=13) == expected


async def test_a_mute_that_ends_within_the_day_is_noticed(ledger):
    await ledger.bill()
    await ledger.evaluate(1, hour=9)
    await ledger.change(alerts.mute, 1, "ann", datetime(2026, 10, 21, 9, tzinfo=UTC))
    assert await ledger.evaluate(1, hour=9) == NOTHING
    assert await ledger.evaluate(1, hour=11) == AlertCounts(updated=1)


async def unsafe(db, statement):
    """Do what another service may do to the tables."""
    async with db.transaction() as session:
        await session.execute(text(statement))


async def test_alerts_about_services_follow_within_the_day(ledger):
    """Each evaluation is followed by one of everything, which must find nothing to do."""
    await ledger.evaluate(40, hour=8)
    await ledger.send_service()
    assert (await ledger.evaluate(40, hour=9)).opened == 1
    await unsafe(ledger.db, "UPDATE billing_services SET name = 'Archive'")
    assert (await ledger.evaluate(40, hour=10)).updated == 1
    await unsafe(ledger.db, "UPDATE billing_services SET ends_on = '2026-01-02'")
    assert (await ledger.evaluate(40, hour=11)).resolved == 1
    await unsafe(ledger.db, "UPDATE billing_services SET ends_on = NULL")
    assert (await ledger.evaluate(40, hour=12)).reopened == 1
    await ledger.bill(issued_on=date(2026, 11, 29), due_on=date(2027, 1, 29))
    await unsafe(ledger.db, "UPDATE billing_invoices SET customer_id = (SELECT customer_id FROM billing_services)")
    assert (await ledger.evaluate(40, hour=13)).resolved == 1
    await unsafe(ledger.db, "UPDATE billing_invoices SET status = 'void', balance = 0")
    assert (await ledger.evaluate(40, hour=14)).reopened == 1
    await unsafe(ledger.db, "DELETE FROM billing_services")
    assert (await ledger.evaluate(40, hour=15)).resolved == 1
