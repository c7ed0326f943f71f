"""Alerts: overdue invoices and services without an invoice, found by comparing the tables with the day.

There is one alert row per trigger and subject. While its condition holds it is `open`, or what a person set it to:
`acknowledged`, `muted` for some hours, or `resolved`. When the condition ends, the alert is resolved automatically;
when it recurs, the same alert opens again and counts one more occurrence. An alert that a person resolved stays
resolved as long as the same condition lasts. An acknowledgement lasts as long as the condition; muting ends with its
hours, whatever happens to the condition meanwhile.

Rows of an organisation that is no longer synced stay, and so do alerts about them, which say how old the figures are.
Such rows open no alert, because what they report may have ended at the vendor.

AlertError
├── UnknownAlert      there is no such alert
└── AlertIsResolved   a resolved alert cannot be acknowledged or muted
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    ColumnElement,
    Date,
    Integer,
    Select,
    SQLColumnExpression,
    TableValuedAlias,
    Text,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import LateralFromClause

from app import audit
from app.billing.locks import lock_all_tenants, lock_shared
from app.billing.records import DocumentStatus
from app.billing.recordset import core_table, encode_rows, json_recordset
from app.billing.sources import SourceDetails
from app.billing.tables import (
    Alert,
    AlertSeverity,
    AlertStatus,
    AlertSubject,
    AlertTrigger,
    CustomerLink,
    Invoice,
    Service,
)
from app.db import Instant, Session
from app.paging import AnySelect

# What a customer was billed: the invoices that end a service's time without one.
BILLED_STATUSES = (DocumentStatus.OPEN, DocumentStatus.PAID)
KEY_COLUMNS = ("trigger", "subject_id")
# The columns of the alert that a condition determines, and those of them that may change while it lasts.
CONDITION_COLUMNS = ("trigger", "severity", "customer_id", "subject_type", "subject_id", "title", "detail")
VARYING_COLUMNS = ("severity", "customer_id", "title", "detail")


class Change(StrEnum):
    """What an evaluation does with the alert of a condition that holds; the first three are fields of `AlertCounts`."""

    OPENED = "opened"
    REOPENED = "reopened"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


class AlertError(LookupError):
    """An alert cannot be changed as asked; nothing was changed."""


class UnknownAlert(AlertError):
    pass


class AlertIsResolved(AlertError):
    pass


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When an alert is due.

    Attributes:
        timezone: an IANA name; determines when a day begins.
        grace_days: days after the due date for which no alert about an overdue invoice is opened.
        critical_days: days after the due date from which an overdue invoice is critical.
        gap_days: days that a service may go without an invoice of its customer, or from its start without one.
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


async def open_and_resolve(
    session: Session, now: datetime, policy: AlertPolicy, sources: Collection[SourceDetails] = ()
) -> AlertCounts:
    """Open, update and resolve alerts, so that they equal the conditions that hold today; others are not written.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        now: aware.
        policy: when an alert is due.
        sources: the organisations that are known, synced or not; rows of another count as synced.
    """
    await lock_all_tenants(session)
    parameters = {
        "now": now,
        "today": now.astimezone(ZoneInfo(policy.timezone)).date(),
        "grace_days": policy.grace_days,
        "critical_days": policy.critical_days,
        "gap_days": policy.gap_days,
        "unsynced": encode_rows(
            [
                {"source": one.source, "source_tenant_id": one.tenant_id, "age_note": one.age_note}
                for one in sources
                if not one.is_synced
            ]
        ),
    }
    resolved = await session.scalar(_resolve_statement(), parameters) or 0
    rows_by_change = {row.change: row.rows for row in await session.execute(_open_statement(), parameters)}
    return AlertCounts(
        opened=rows_by_change.get(Change.OPENED, 0),
        reopened=rows_by_change.get(Change.REOPENED, 0),
        updated=rows_by_change.get(Change.UPDATED, 0),
        resolved=resolved,
    )


async def acknowledge(session: Session, alert_id: UUID, actor: str) -> None:
    """Record that somebody takes care of the condition; lasts until the condition ends.

    Raises:
        UnknownAlert: there is no such alert.
        AlertIsResolved: it is resolved already.
    """
    await _change(session, alert_id, actor, {"status": AlertStatus.ACKNOWLEDGED, "muted_until": None})


async def resolve(session: Session, alert_id: UUID, actor: str, now: datetime) -> None:
    """Resolve an alert by hand; it opens again only when the condition has ended and recurs.

    Raises:
        UnknownAlert: there is no such alert.
    """
    values = {"status": AlertStatus.RESOLVED, "muted_until": None, "resolved_at": now}
    await _change(session, alert_id, actor, values)


async def mute(session: Session, alert_id: UUID, hours: int, actor: str, now: datetime) -> None:
    """Mute an alert for some hours.

    Raises:
        UnknownAlert: there is no such alert.
        AlertIsResolved: it is resolved already.
    """
    values = {"status": AlertStatus.MUTED, "muted_until": now + timedelta(hours=hours)}
    await _change(session, alert_id, actor, values)


async def _change(session: Session, alert_id: UUID, actor: str, values: Mapping[str, object]) -> None:
    """Set the values, among them `status`, and append the change to the audit trail under the new status."""
    # An evaluation under way has read the alert before this change, and would overwrite it.
    await lock_shared(session)
    alert = core_table(Alert)
    status = await session.scalar(select(alert.c.status).where(alert.c.id == alert_id).with_for_update())
    if status is None:
        raise UnknownAlert("There is no alert of this id.")
    if status == AlertStatus.RESOLVED:
        if values["status"] == AlertStatus.RESOLVED:
            return
        raise AlertIsResolved("The alert is resolved; there is nothing left to look after.")
    await session.execute(update(alert).where(alert.c.id == alert_id).values(**values, changed_by=actor))
    details = {key: str(value) for key, value in values.items()}
    await audit.append_audit_entry(session, actor, f"alert_{values['status']}", str(alert_id), details)


def _conditions_cte() -> CTE:
    """Return the conditions that hold, one row per alert that should be there: `CONDITION_COLUMNS` and `is_unsynced`.

    `is_unsynced` says that the condition follows from rows of an organisation that is no longer synced.
    """
    return union_all(_overdue_invoices_statement(), _services_without_invoice_statement()).cte("conditions")


def _unsynced() -> TableValuedAlias:
    """Return the organisations that are no longer synced, each with the note of its figures' age."""
    return json_recordset("unsynced", {"source": Text(), "source_tenant_id": Text(), "age_note": Text()})


def _condition_columns(
    values: Mapping[str, SQLColumnExpression[Any]], age_note: ColumnElement[str | None]
) -> list[ColumnElement[Any]]:
    """Return the columns of a condition; the note of its figures' age, where there is one, ends its detail."""
    noted = {**values, "detail": values["detail"] + func.coalesce(literal("; ") + age_note, "")}
    return [*(noted[name].label(name) for name in CONDITION_COLUMNS), age_note.is_not(None).label("is_unsynced")]


def _overdue_invoices_statement() -> AnySelect:
    unsynced, today = _unsynced(), bindparam("today", type_=Date())
    days_overdue = today - Invoice.due_on
    is_critical = days_overdue >= bindparam("critical_days", type_=Integer())
    days_text = days_overdue.cast(Text) + case((days_overdue == 1, " day overdue, "), else_=" days overdue, ")
    values = {
        "trigger": literal(AlertTrigger.INVOICE_OVERDUE, Text()),
        "severity": case((is_critical, AlertSeverity.CRITICAL.value), else_=AlertSeverity.WARNING.value),
        "customer_id": Invoice.customer_id,
        "subject_type": literal(AlertSubject.INVOICE, Text()),
        "subject_id": Invoice.id,
        "title": func.coalesce(literal("Invoice ") + Invoice.number, "An invoice") + " is overdue",
        "detail": days_text + _money_text(Invoice.balance, Invoice.currency) + " outstanding",
    }
    is_overdue = Invoice.is_overdue(today, bindparam("grace_days", type_=Integer()))
    is_of_organisation = and_(
        unsynced.c.source == Invoice.source, unsynced.c.source_tenant_id == Invoice.source_tenant_id
    )
    columns = _condition_columns(values, unsynced.c.age_note)
    return select(*columns).select_from(Invoice).outerjoin(unsynced, is_of_organisation).where(is_overdue)


def _services_without_invoice_statement() -> AnySelect:
    service, today, last_invoice = Service, bindparam("today", type_=Date()), _last_invoice()
    unsynced = _unsynced_organisation_of(last_invoice)
    unbilled_since = func.greatest(last_invoice.c.issued_on, service.starts_on)
    last_invoice_text = case(
        (last_invoice.c.issued_on.is_(None), literal("Never invoiced; active since ") + service.starts_on.cast(Text)),
        else_=literal("Last invoice issued on ") + last_invoice.c.issued_on.cast(Text),
    )
    amount_text = literal("; ") + _money_text(service.monthly_amount, service.currency) + " a month is contracted"
    values = {
        "trigger": literal(AlertTrigger.SERVICE_WITHOUT_INVOICE, Text()),
        "severity": literal(AlertSeverity.WARNING, Text()),
        "customer_id": service.customer_id,
        "subject_type": literal(AlertSubject.SERVICE, Text()),
        "subject_id": service.id,
        "title": literal("No invoice for ") + service.name,
        "detail": last_invoice_text + amount_text,
    }
    is_active = (service.starts_on <= today) & or_(service.ends_on.is_(None), service.ends_on >= today)
    return (
        select(*_condition_columns(values, unsynced.c.age_note))
        .select_from(service)
        .outerjoin(last_invoice, literal(value=True))
        .outerjoin(unsynced, literal(value=True))
        .where(is_active, today - unbilled_since > bindparam("gap_days", type_=Integer()))
    )


def _last_invoice() -> LateralFromClause:
    """Return the newest invoice of the service's customer that bills something."""
    is_of_customer = (Invoice.customer_id == Service.customer_id) & Invoice.status.in_(BILLED_STATUSES)
    columns = (Invoice.issued_on, Invoice.source, Invoice.source_tenant_id)
    newest = select(*columns).where(is_of_customer, Invoice.issued_on.is_not(None)).order_by(Invoice.issued_on.desc())
    return newest.limit(1).correlate(Service).lateral("last_invoice")


def _unsynced_organisation_of(last_invoice: LateralFromClause) -> LateralFromClause:
    """Return the organisation, if it is no longer synced, that would have billed the service.

    That is the one of the customer's last invoice, or without one any that the customer is linked to.
    """
    unsynced, link = _unsynced(), core_table(CustomerLink)
    is_of_last_invoice = and_(
        unsynced.c.source == last_invoice.c.source, unsynced.c.source_tenant_id == last_invoice.c.source_tenant_id
    )
    has_link = exists().where(
        link.c.customer_id == Service.customer_id,
        link.c.source == unsynced.c.source,
        link.c.source_tenant_id == unsynced.c.source_tenant_id,
    )
    has_link = has_link.correlate(Service, unsynced)
    is_asked_for = or_(is_of_last_invoice, and_(last_invoice.c.issued_on.is_(None), has_link))
    found = select(unsynced.c.age_note).where(is_asked_for).order_by(unsynced.c.age_note).limit(1)
    return found.correlate(Service, last_invoice).lateral("unsynced_organisation")


def _money_text(amount: InstrumentedAttribute[Decimal], currency: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """Return an amount as text with its currency: at least two decimals, and as many more as it has."""
    return func.round(amount, func.greatest(2, func.min_scale(amount))).cast(Text) + " " + currency


@cache
def _resolve_statement() -> Select[int]:
    """Return the statement that resolves the alerts whose condition has ended, and returns how many were not before.

    `changed_by` is cleared, also on alerts that a person resolved: the condition may recur and open them again.
    """
    alert, conditions = core_table(Alert), _conditions_cte()
    holds = select(conditions).where(
        conditions.c.trigger == alert.c.trigger, conditions.c.subject_id == alert.c.subject_id
    )
    has_state_to_clear = or_(alert.c.status != AlertStatus.RESOLVED, alert.c.changed_by.is_not(None))
    ended = select(alert.c.id, alert.c.status).where(has_state_to_clear, ~holds.exists()).cte("ended")
    now = cast(bindparam("now"), Instant)
    resolved_at = case((alert.c.status == AlertStatus.RESOLVED, alert.c.resolved_at), else_=now)
    resolved = (
        update(alert)
        .where(alert.c.id == ended.c.id)
        .values(status=AlertStatus.RESOLVED, resolved_at=resolved_at, changed_by=None)
        .cte("resolved")
    )
    count = select(func.count()).select_from(ended).where(ended.c.status != AlertStatus.RESOLVED)
    return count.add_cte(resolved)


@cache
def _open_statement() -> AnySelect:
    """Return the statement that opens and updates the alerts of conditions that hold; it counts rows by `Change`."""
    compared = _compare_cte()
    names = [column.name for column in compared.c if column.name not in {"change", "is_unsynced"}]
    statement = insert(core_table(Alert)).from_select(
        [*names, "first_seen_at"],
        select(*(compared.c[name] for name in names), compared.c.last_seen_at).where(
            compared.c.change != Change.UNCHANGED
        ),
    )
    updates = {name: statement.excluded[name] for name in names if name not in KEY_COLUMNS}
    written = statement.on_conflict_do_update(index_elements=list(KEY_COLUMNS), set_=updates).cte("written")
    return select(compared.c.change, func.count().label("rows")).group_by(compared.c.change).add_cte(written)


def _compare_cte() -> CTE:
    """Return each condition with its `Change`, and with the values its alert has from now on."""
    alert, conditions, now = core_table(Alert).c, _conditions_cte(), cast(bindparam("now"), Instant)
    is_new, is_resolved = alert.id.is_(None), alert.status == AlertStatus.RESOLVED
    is_mute_running = alert.muted_until > now
    is_mute_over = (alert.status == AlertStatus.MUTED) & ~is_mute_running
    is_different = tuple_(*(conditions.c[name] for name in VARYING_COLUMNS)).is_distinct_from(
        tuple_(*(alert[name] for name in VARYING_COLUMNS))
    )
    change = case(
        (or_(is_new, is_resolved) & conditions.c.is_unsynced, Change.UNCHANGED.value),
        (is_new, Change.OPENED.value),
        (is_resolved & alert.changed_by.is_(None), Change.REOPENED.value),
        (is_resolved, Change.UNCHANGED.value),
        (or_(is_mute_over, is_different), Change.UPDATED.value),
        else_=Change.UNCHANGED.value,
    )
    status = case(
        (is_new, AlertStatus.OPEN.value),
        (is_resolved & is_mute_running, AlertStatus.MUTED.value),
        (or_(is_resolved, is_mute_over), AlertStatus.OPEN.value),
        else_=alert.status,
    )
    new_occurrences = case((change.in_((Change.OPENED, Change.REOPENED)), 1), else_=0)
    columns = {
        "change": change,
        "status": status,
        "muted_until": case((is_mute_running, alert.muted_until)),
        "occurrences": func.coalesce(alert.occurrences, 0) + new_occurrences,
        "last_seen_at": now,
        "resolved_at": cast(None, Instant),
        "changed_by": case((~is_mute_over, alert.changed_by)),
    }
    is_of_condition = (alert.trigger == conditions.c.trigger) & (alert.subject_id == conditions.c.subject_id)
    return (
        select(*conditions.c, *(value.label(name) for name, value in columns.items()))
        .select_from(conditions.outerjoin(core_table(Alert), is_of_condition))
        .cte("compared")
    )
