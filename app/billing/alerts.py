"""Alerts: what is overdue and what is not being billed, found by comparing the tables with the day.

An alert is one row per trigger and subject, for good. While its condition holds it is `open`, or what a person made of
it: `acknowledged`, `muted` for some hours, `resolved`. When the condition ends it is resolved by itself, and when it
comes back the alert opens again and counts one more occurrence. Resolved by hand, an alert stays so for as long as the
same condition lasts. Acknowledging lasts as long as the condition does; muting ends with its hour, whatever happens
meanwhile.

AlertError
├── UnknownAlert      no such alert
└── AlertIsResolved   there is nothing left to acknowledge or mute
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import Date, Integer, Text, bindparam, case, cast, func, literal, or_, select, tuple_, union_all, update
from sqlalchemy.dialects.postgresql import insert

from app import audit
from app.billing.locks import lock_all_tenants, lock_shared
from app.billing.recordset import Clause, Query, Relation, plain
from app.billing.tables import Alert, Invoice, Service
from app.db import Instant, Session

INVOICE_OVERDUE = "invoice_overdue"
SERVICE_WITHOUT_INVOICE = "service_without_invoice"
ISSUED = ("open", "paid")
CONDITION = ("trigger", "severity", "customer_id", "subject_type", "subject_id", "title", "detail")
# What a lasting condition may say anew from day to day.
SAID = ("severity", "customer_id", "title", "detail")


class AlertError(LookupError):
    """What was asked of an alert cannot be done; nothing was changed."""


class UnknownAlert(AlertError):
    pass


class AlertIsResolved(AlertError):
    pass


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When an alert is due.

    Attributes:
        timezone: an IANA name; says when a day begins.
        grace_days: an invoice is overdue from the day after its due date plus these.
        critical_days: days past the due date from which an overdue invoice is critical.
        gap_days: a service may go that many days without an invoice of its customer, or from its start.
    """

    timezone: str = "UTC"
    grace_days: int = 0
    critical_days: int = 30
    gap_days: int = 35


@dataclass(frozen=True, slots=True)
class AlertCounts:
    opened: int = 0
    reopened: int = 0
    updated: int = 0
    resolved: int = 0


async def evaluate(session: Session, now: datetime, policy: AlertPolicy) -> AlertCounts:
    """Compare every open invoice and active service with the day; alerts about which nothing is new cost no write.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        now: aware.
        policy: when an alert is due.
    """
    await lock_all_tenants(session)
    parameters = {
        "now": now,
        "today": now.astimezone(ZoneInfo(policy.timezone)).date(),
        "grace_days": policy.grace_days,
        "critical_days": policy.critical_days,
        "gap_days": policy.gap_days,
    }
    resolved = await session.scalar(_end(), parameters) or 0
    verdicts = {row.verdict: row.rows for row in await session.execute(_begin(), parameters)}
    counted = {verdict: verdicts.get(verdict, 0) for verdict in ("opened", "reopened", "updated")}
    return AlertCounts(**counted, resolved=resolved)


async def acknowledge(session: Session, alert_id: UUID, actor: str) -> None:
    """Say that somebody looks after it; lasts until the condition ends.

    Raises:
        UnknownAlert: no such alert.
        AlertIsResolved: it is over.
    """
    await _change(session, alert_id, actor, "acknowledged", {"status": "acknowledged", "muted_until": None})


async def resolve(session: Session, alert_id: UUID, actor: str, now: datetime) -> None:
    """Say that it is dealt with; it comes back only when the condition has ended and recurs.

    Raises:
        UnknownAlert: no such alert.
    """
    values = {"status": "resolved", "muted_until": None, "resolved_at": now}
    await _change(session, alert_id, actor, "resolved", values)


async def mute(session: Session, alert_id: UUID, hours: int, actor: str, now: datetime) -> None:
    """Silence it for some hours.

    Raises:
        UnknownAlert: no such alert.
        AlertIsResolved: it is over.
    """
    values = {"status": "muted", "muted_until": now + timedelta(hours=hours)}
    await _change(session, alert_id, actor, "muted", values)


async def _change(session: Session, alert_id: UUID, actor: str, deed: str, values: Mapping[str, object]) -> None:
    # An evaluation under way has read the alert as it was, and would write that back over ours.
    await lock_shared(session)
    alert = plain(Alert)
    status = await session.scalar(select(alert.c.status).where(alert.c.id == alert_id).with_for_update())
    if status is None:
        raise UnknownAlert("There is no alert of this id.")
    if status == "resolved":
        if deed == "resolved":
            return
        raise AlertIsResolved("The alert is resolved; there is nothing left to look after.")
    await session.execute(update(alert).where(alert.c.id == alert_id).values(**values, changed_by=actor))
    await audit.append_audit_entry(
        session, actor, f"alert_{deed}", str(alert_id), {key: str(value) for key, value in values.items()}
    )


def _conditions() -> Relation:
    return union_all(_overdue_invoices(), _services_without_invoice()).cte("conditions")


def _overdue_invoices() -> Query:
    row, today = Invoice, bindparam("today", type_=Date())
    days = today - row.due_on
    is_critical = days >= bindparam("critical_days", type_=Integer())
    overdue = days.cast(Text) + case((days == 1, " day overdue, "), else_=" days overdue, ")
    values = {
        "trigger": literal(INVOICE_OVERDUE, Text()),
        "severity": case((is_critical, "critical"), else_="warning"),
        "customer_id": row.customer_id,
        "subject_type": literal("invoice", Text()),
        "subject_id": row.id,
        "title": func.coalesce(literal("Invoice ") + row.number, "An invoice") + " is overdue",
        "detail": overdue + _money(row.balance, row.currency) + " outstanding",
    }
    return select(*(values[name].label(name) for name in CONDITION)).where(
        row.status == "open", row.balance > 0, days > bindparam("grace_days", type_=Integer())
    )


def _services_without_invoice() -> Query:
    row, invoice, today = Service, Invoice, bindparam("today", type_=Date())
    its_invoices = (invoice.customer_id == row.customer_id) & invoice.status.in_(ISSUED)
    last = select(func.max(invoice.issued_on).label("issued_on")).where(its_invoices).correlate(row).lateral("last")
    since = func.greatest(last.c.issued_on, row.starts_on)
    spoken = case(
        (last.c.issued_on.is_(None), literal("Never invoiced; active since ") + row.starts_on.cast(Text)),
        else_=literal("Last invoice issued on ") + last.c.issued_on.cast(Text),
    )
    amount = literal("; ") + _money(row.monthly_amount, row.currency) + " a month is contracted"
    values = {
        "trigger": literal(SERVICE_WITHOUT_INVOICE, Text()),
        "severity": literal("warning", Text()),
        "customer_id": row.customer_id,
        "subject_type": literal("service", Text()),
        "subject_id": row.id,
        "title": literal("No invoice for ") + row.name,
        "detail": spoken + amount,
    }
    is_active = (row.starts_on <= today) & or_(row.ends_on.is_(None), row.ends_on >= today)
    return (
        select(*(values[name].label(name) for name in CONDITION))
        .select_from(row)
        .join(last, literal(value=True))
        .where(is_active, today - since > bindparam("gap_days", type_=Integer()))
    )


def _money(amount: Clause, currency: Clause) -> Clause:
    """Write an amount with at least two decimals and no digit lost."""
    return func.round(amount, func.greatest(2, func.min_scale(amount))).cast(Text) + " " + currency


@cache
def _end() -> Query:
    """Resolve what no longer holds. Who resolved it by hand is forgotten with the condition: it may come back."""
    alert, conditions = plain(Alert), _conditions()
    holds = select(conditions).where(
        conditions.c.trigger == alert.c.trigger, conditions.c.subject_id == alert.c.subject_id
    )
    over = (
        select(alert.c.id, alert.c.status)
        .where(or_(alert.c.status != "resolved", alert.c.changed_by.is_not(None)), ~holds.exists())
        .cte("over")
    )
    now = cast(bindparam("now"), Instant)
    resolved_at = case((alert.c.status == "resolved", alert.c.resolved_at), else_=now)
    ended = (
        update(alert)
        .where(alert.c.id == over.c.id)
        .values(status="resolved", resolved_at=resolved_at, changed_by=None)
        .cte("ended")
    )
    return select(func.count()).select_from(over).where(over.c.status != "resolved").add_cte(ended)


@cache
def _begin() -> Query:
    """Open what holds and is not open, and say anew what has changed about the rest."""
    judged = _judge()
    says_something = judged.c.verdict != "unchanged"
    names = [*CONDITION, "status", "muted_until", "occurrences", "last_seen_at", "resolved_at", "changed_by"]
    writing = insert(plain(Alert)).from_select(
        [*names, "first_seen_at"],
        select(*(judged.c[name] for name in names), judged.c.last_seen_at).where(says_something),
    )
    changes = {name: writing.excluded[name] for name in names if name not in {"trigger", "subject_id"}}
    written = writing.on_conflict_do_update(index_elements=["trigger", "subject_id"], set_=changes).cte("written")
    return select(judged.c.verdict, func.count().label("rows")).group_by(judged.c.verdict).add_cte(written)


def _judge() -> Relation:
    alert, conditions, now = Alert, _conditions(), cast(bindparam("now"), Instant)
    is_muted, is_over = alert.muted_until > now, alert.status == "resolved"
    is_new = tuple_(*(conditions.c[name] for name in SAID)).is_distinct_from(
        tuple_(*(getattr(alert, name) for name in SAID))
    )
    is_mute_over = (alert.status == "muted") & ~is_muted
    verdict = case(
        (alert.id.is_(None), "opened"),
        (is_over & alert.changed_by.is_(None), "reopened"),
        (is_over, "unchanged"),
        (or_(is_mute_over, is_new), "updated"),
        else_="unchanged",
    )
    status = case(
        (alert.id.is_(None), "open"),
        (is_over & is_muted, "muted"),
        (or_(is_over, is_mute_over), "open"),
        else_=alert.status,
    )
    adds_one = case((verdict.in_(("opened", "reopened")), 1), else_=0)
    columns = {
        "verdict": verdict,
        "status": status,
        "muted_until": case((is_muted, alert.muted_until)),
        "occurrences": func.coalesce(alert.occurrences, 0) + adds_one,
        "last_seen_at": now,
        "resolved_at": cast(None, Instant),
        "changed_by": case((~is_mute_over, alert.changed_by)),
    }
    is_its = (alert.trigger == conditions.c.trigger) & (alert.subject_id == conditions.c.subject_id)
    return (
        select(*conditions.c, *(value.label(name) for name, value in columns.items()))
        .select_from(conditions.outerjoin(alert, is_its))
        .cte("judged")
    )
