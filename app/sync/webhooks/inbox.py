"""The inbox: webhook events, stored before the vendor gets its answer, so that none of them can be lost."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec
from sqlalchemy import (
    ColumnElement,
    ScalarSelect,
    Text,
    bindparam,
    delete,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from app.audit import append_audit_entry
from app.connector import Notice
from app.db import Session
from app.paging import NewestFirst, PagePosition, contains
from app.sync.tables import WAITING, EventStatus, SignatureFailure, WebhookEvent
from app.sync.webhooks.refusals import RefusalCounts

MAX_UNREADABLE_BYTES = 16_384
# How long the counts of refused deliveries are kept.
REFUSALS_LIFETIME = timedelta(days=90)
MAX_DELETED_ROWS = 10_000
NO_TENANT = ""
# The reason of events that name a row which is not mirrored, such as a bill to pay.
PAYABLE = "payable"
EVENT_ORDER = NewestFirst(WebhookEvent.received_at, WebhookEvent.id)

# One event is one row however often it is delivered. It is the same event when tenant, row, category, type and instant
# are the same; a delivery's bytes differ each time. Rows are sorted, so that two deliveries cannot deadlock.
STORE_EVENTS = text("""
INSERT INTO xero_webhook_events AS e
  (vendor, tenant_id, resource_id, category, event_type, event_at, resource, payload, deliveries,
   status, error, processed_at)
SELECT :vendor, n.tenant_id, n.resource_id, n.category, n.event_type, n.event_at, n.resource, n.payload, n.deliveries,
       CASE WHEN w.reason IS NULL THEN :pending ELSE :ignored END, w.reason,
       CASE WHEN w.reason IS NULL THEN NULL ELSE wall_clock() END
FROM json_to_recordset(CAST(:notices AS json)) AS n(
  tenant_id text, resource_id text, category text, event_type text, event_at timestamptz, resource text,
  payload jsonb, deliveries int, why_ignored text)
LEFT JOIN tenants AS t ON t.vendor = :vendor AND t.tenant_id = n.tenant_id AND t.is_selected
  AND EXISTS (SELECT FROM tenant_grants AS r JOIN grants AS g ON g.id = r.grant_id AND g.state <> 'disconnected'
              WHERE (r.vendor, r.tenant_id) = (t.vendor, t.tenant_id))
CROSS JOIN LATERAL (SELECT coalesce(n.why_ignored, CASE WHEN t.id IS NULL THEN :not_selected END) AS reason) AS w
ORDER BY n.tenant_id, n.resource_id, n.category, n.event_type, n.event_at
ON CONFLICT (vendor, tenant_id, resource_id, category, event_type, event_at)
  DO UPDATE SET deliveries = e.deliveries + excluded.deliveries
RETURNING tenant_id, resource_id, category, event_type, event_at, (xmax = 0) AS is_new
""").bindparams(bindparam("notices", type_=Text))
NOT_SELECTED = "Not an organisation that is selected here."


class EventKey(NamedTuple):
    """What an event is recognised by when it is delivered again."""

    tenant_id: str
    resource_id: str
    category: str
    event_type: str
    event_at: datetime


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events: every field that is not None must hold; `since` and `until` are instants of receipt.

    Attributes:
        search: a part of the id of the row that changed.
    """

    ids: Sequence[UUID] | None = None
    status: str | None = None
    category: str | None = None
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    search: str | None = None


@dataclass(frozen=True, slots=True)
class InboxState:
    """What the integration's status shows of the inbox.

    Attributes:
        failed: events that failed, those that were given up included.
        given_up: those of them that were given up.
        first_given_up_at: when the first of these was.
        signature_failures: the deliveries refused in the last 24 hours.
        signature_mismatches: those of them whose signature is well formed but fits no key.
        last_mismatch_at: when the last of these came.
    """

    pending: int
    failed: int
    last_event_at: datetime | None
    signature_failures: int
    signature_mismatches: int
    last_mismatch_at: datetime | None
    given_up: int = 0
    first_given_up_at: datetime | None = None


async def store_deliveries(session: Session, vendor: str, deliveries: Sequence[Sequence[Notice]]) -> list[int]:
    """Store the events of deliveries; return for each delivery how many of its events are new.

    An event that several deliveries carry is new with the first of them.
    """
    rows: dict[EventKey, dict[str, object]] = {}
    first_delivery: dict[EventKey, int] = {}
    times: Counter[EventKey] = Counter()
    for number, notices in enumerate(deliveries):
        for notice in notices:
            key = EventKey(*(getattr(notice, name) for name in EventKey._fields))
            rows[key] = _row(notice)
            first_delivery.setdefault(key, number)
            times[key] += 1
    counts = [0] * len(deliveries)
    if rows:
        values = {
            "vendor": vendor,
            "notices": msgspec.json.encode([{**row, "deliveries": times[key]} for key, row in rows.items()]).decode(),
            "not_selected": NOT_SELECTED,
            "pending": EventStatus.PENDING,
            "ignored": EventStatus.IGNORED,
        }
        for *key_values, is_new in await session.execute(STORE_EVENTS, values):
            counts[first_delivery[EventKey(*key_values)]] += is_new
    return counts


async def store_unreadable(session: Session, vendor: str, body: bytes, reason: str) -> None:
    """Keep a well-signed delivery that is not in the vendor's form as a dead letter, once."""
    digest = hashlib.sha256(body).hexdigest()
    same = (WebhookEvent.tenant_id == NO_TENANT, WebhookEvent.resource_id == digest)
    known = select(WebhookEvent.id).where(WebhookEvent.vendor == vendor, *same, WebhookEvent.category == "UNREADABLE")
    if await session.scalar(known.limit(1)):
        return
    readable = body[:MAX_UNREADABLE_BYTES].decode("utf-8", "replace").replace("\x00", "\ufffd")
    statement = insert(WebhookEvent).values(
        vendor=vendor,
        tenant_id=NO_TENANT,
        resource_id=digest,
        category="UNREADABLE",
        event_type="UNKNOWN",
        event_at=func.wall_clock(),
        status=EventStatus.DEAD,
        error=reason,
        payload={"body": readable},
        processed_at=func.wall_clock(),
    )
    await session.execute(statement)


# By the hour, so that a flood of refused deliveries adds one row.
COUNT_REFUSALS = text("""
INSERT INTO webhook_signature_failures AS f (vendor, hour, failures, last_at, mismatches, last_mismatch_at)
SELECT :vendor, date_trunc('hour', wall_clock()), n.refused, wall_clock(), n.mismatches,
       CASE WHEN n.mismatches > 0 THEN wall_clock() END
FROM (VALUES (CAST(:refused AS bigint), CAST(:mismatches AS bigint))) AS n(refused, mismatches)
ON CONFLICT (vendor, hour) DO UPDATE
  SET failures = f.failures + excluded.failures, last_at = excluded.last_at,
      mismatches = f.mismatches + excluded.mismatches,
      last_mismatch_at = coalesce(excluded.last_mismatch_at, f.last_mismatch_at)
""")


async def count_refusals(session: Session, vendor: str, counts: RefusalCounts) -> None:
    """Add refused deliveries to the present hour's."""
    values = {"vendor": vendor, "refused": counts.refused, "mismatches": counts.mismatches}
    await session.execute(COUNT_REFUSALS, values)


async def list_events(
    session: Session, vendor: str, wanted: EventFilter, after: PagePosition | None, limit: int
) -> Sequence[WebhookEvent]:
    """Return the events after a position, the newest receipt first."""
    statement = select(WebhookEvent).where(*_matching(vendor, wanted))
    return (await session.scalars(EVENT_ORDER.page_after(statement, after, limit))).all()


async def find_event(session: Session, vendor: str, event_id: UUID) -> WebhookEvent | None:
    """Return one event, or None when there is none of this id."""
    is_event = (WebhookEvent.vendor == vendor, WebhookEvent.id == event_id)
    return (await session.scalars(select(WebhookEvent).where(*is_event))).one_or_none()


async def replay(session: Session, vendor: str, wanted: EventFilter, actor: str, reason: str) -> int:
    """Make events due again as if they had just come, except those whose row cannot be read; return how many."""
    readable = (WebhookEvent.resource.is_not(None), WebhookEvent.error.is_distinct_from(PAYABLE))
    again = {
        "status": EventStatus.PENDING,
        "attempts": 0,
        "answers_without_row": 0,
        "error": None,
        "due_at": func.wall_clock(),
        "is_replay": True,
    }
    statement = update(WebhookEvent).where(*_matching(vendor, wanted), *readable).values(again)
    replayed = len((await session.scalars(statement.returning(WebhookEvent.id))).all())
    await append_audit_entry(session, actor, "webhook_events_replayed", vendor, {"reason": reason, "count": replayed})
    return replayed


async def ignore_waiting(session: Session, vendor: str, tenant_id: str) -> None:
    """Close the events of a tenant that is no longer synced; selected again, its next run reads all of their rows."""
    waiting = (WebhookEvent.vendor == vendor, WebhookEvent.tenant_id == tenant_id)
    statement = update(WebhookEvent).where(*waiting, WebhookEvent.status.in_(WAITING))
    await session.execute(
        statement.values(status=EventStatus.IGNORED, error=NOT_SELECTED, processed_at=func.wall_clock())
    )


async def delete_expired(session: Session, lifetime: timedelta) -> None:
    """Delete closed events older than their lifetime, and old counts of refused deliveries."""
    old = (WebhookEvent.received_at < func.wall_clock() - lifetime, WebhookEvent.status.not_in(WAITING))
    some = select(WebhookEvent.id).where(*old).limit(MAX_DELETED_ROWS)
    await session.execute(delete(WebhookEvent).where(WebhookEvent.id.in_(some)))
    await session.execute(delete(SignatureFailure).where(SignatureFailure.hour < func.wall_clock() - REFUSALS_LIFETIME))


async def inbox_state(session: Session, vendor: str) -> InboxState:
    """Return how many events wait or failed, and the last 24 hours' refused deliveries."""
    # Each count uses an index of its own: closed events are kept for months, and the status is read often.
    pending, failed, dead = (
        _count(vendor, status) for status in (EventStatus.PENDING, EventStatus.FAILED, EventStatus.DEAD)
    )
    newest = select(WebhookEvent.received_at).where(WebhookEvent.vendor == vendor)
    last = newest.order_by(WebhookEvent.received_at.desc()).limit(1).scalar_subquery()
    given_up = (WebhookEvent.vendor == vendor, WebhookEvent.status == EventStatus.DEAD)
    first = select(func.min(WebhookEvent.processed_at)).where(*given_up).scalar_subquery()
    found = (await session.execute(select(pending, failed, dead, last, first))).one()
    waiting, failing, dead_count, last_event_at, first_given_up_at = found
    since = func.wall_clock() - timedelta(hours=24)
    failures = select(
        func.coalesce(func.sum(SignatureFailure.failures), 0),
        func.coalesce(func.sum(SignatureFailure.mismatches), 0),
        func.max(SignatureFailure.last_mismatch_at),
    )
    recent = failures.where(SignatureFailure.vendor == vendor, SignatureFailure.last_at > since)
    refused, mismatches, last_mismatch_at = (await session.execute(recent)).one()
    return InboxState(
        waiting,
        failing + dead_count,
        last_event_at,
        int(refused),
        int(mismatches),
        last_mismatch_at,
        dead_count,
        first_given_up_at,
    )


def _count(vendor: str, status: EventStatus) -> ScalarSelect[int]:
    counted = (WebhookEvent.vendor == vendor, WebhookEvent.status == status)
    return select(func.count()).where(*counted).scalar_subquery()


def _row(notice: Notice) -> dict[str, object]:
    return {
        "tenant_id": notice.tenant_id,
        "resource_id": notice.resource_id,
        "category": notice.category,
        "event_type": notice.event_type,
        "event_at": notice.event_at,
        "resource": notice.resource.value if notice.resource else None,
        "why_ignored": notice.why_ignored,
        "payload": notice.payload,
    }


def _matching(vendor: str, wanted: EventFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [WebhookEvent.vendor == vendor]
    if wanted.ids is not None:
        conditions.append(WebhookEvent.id.in_(wanted.ids))
    if wanted.status is not None:
        conditions.append(WebhookEvent.status == wanted.status)
    if wanted.category is not None:
        conditions.append(WebhookEvent.category == wanted.category.upper())
    if wanted.tenant_id is not None:
        conditions.append(WebhookEvent.tenant_id == wanted.tenant_id)
    if wanted.since is not None:
        conditions.append(WebhookEvent.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(WebhookEvent.received_at < wanted.until)
    if wanted.search:
        conditions.append(contains(WebhookEvent.resource_id, wanted.search))
    return conditions
