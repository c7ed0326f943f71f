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
from enum import StrEnum
from functools import cache
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    CTE,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app import audit
from app.billing.alert_conditions import CHANGED_CUSTOMER, CHANGED_INVOICE, IS_WHOLE, conditions_cte
from app.billing.changes import Changed
from app.billing.locks import lock_all_tenants, lock_shared
from app.billing.recordset import core_table, encode_rows
from app.billing.sources import SourceDetails
from app.billing.tables import (
    Alert,
    AlertStatus,
    AlertTrigger,
)
from app.db import Instant, Session
from app.paging import AnySelect

KEY_COLUMNS = ("trigger", "subject_id")
# Of the columns that a condition determines those that may change while it lasts.
VARYING_COLUMNS = ("severity", "customer_id", "title", "detail")
ENDED_MUTES = text("""
SELECT subject_id, customer_id FROM billing_alerts WHERE status = 'muted' AND muted_until <= :now
""")


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
    session: Session,
    now: datetime,
    policy: AlertPolicy,
    sources: Collection[SourceDetails] = (),
    changed: Changed | None = None,
) -> AlertCounts:
    """Open, update and resolve alerts, so that they equal the conditions that hold today; others are not written.

    Args:
        session: a transaction that has written no billing rows before; writers of them wait until it ends.
        now: aware.
        policy: when an alert is due.
        sources: the organisations that are known, synced or not; rows of another count as synced.
        changed: what has changed since alerts were last derived for this day, policy and organisations; None derives
            all. Alerts whose muting has ended are always derived.
    """
    await lock_all_tenants(session)
    muted = [] if changed is None else (await session.execute(ENDED_MUTES, {"now": now})).all()
    changed_rows = changed or Changed()
    parameters = {
        "is_whole": changed is None,
        "changed_invoices": [*changed_rows.invoice_ids, *(row.subject_id for row in muted)],
        "changed_customers": [*changed_rows.customer_ids, *(row.customer_id for row in muted)],
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


@cache
def _resolve_statement() -> Select[int]:
    """Return the statement that resolves the alerts whose condition has ended, and returns how many were not before.

    `changed_by` is cleared, also on alerts that a person resolved: the condition may recur and open them again.
    """
    alert, conditions = core_table(Alert), conditions_cte()
    holds = select(conditions).where(
        conditions.c.trigger == alert.c.trigger, conditions.c.subject_id == alert.c.subject_id
    )
    has_state_to_clear = or_(alert.c.status != AlertStatus.RESOLVED, alert.c.changed_by.is_not(None))
    is_of_invoice = and_(alert.c.trigger == AlertTrigger.INVOICE_OVERDUE, alert.c.subject_id == CHANGED_INVOICE)
    is_of_service = and_(
        alert.c.trigger == AlertTrigger.SERVICE_WITHOUT_INVOICE, alert.c.customer_id == CHANGED_CUSTOMER
    )
    is_derived = or_(IS_WHOLE, is_of_invoice, is_of_service)
    ended = select(alert.c.id, alert.c.status).where(is_derived, has_state_to_clear, ~holds.exists()).cte("ended")
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
    alert, conditions, now = core_table(Alert).c, conditions_cte(), cast(bindparam("now"), Instant)
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
