"""The drain: many events for one row folded into one read, rows read by name in batches, and no event that can block.

A batch that fails is tried again in smaller ones, down to a single row, so that the one event that cannot be worked off
ends alone, dead, with its reason, while all others are through.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import case, func, literal, select, update

from app.billing.records import Counts
from app.billing.store import upsert
from app.connections.tokens import GrantUnusable
from app.connector import (
    Connector,
    ConnectorError,
    OrganisationForbidden,
    Page,
    PageRequest,
    PermissionMissing,
    Resource,
)
from app.db import Database, Session
from app.sync import progress, quarantine, runs
from app.sync.budget import Paused, record_traffic
from app.sync.calls import Caller
from app.sync.leases import Held, guard
from app.sync.tables import RunResource, WebhookEvent

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 1000
MOST_ATTEMPTS = 6
PUT_OFF = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Due:
    """One event to work off."""

    id: UUID
    resource: Resource
    resource_id: str
    attempts: int
    is_replay: bool


@dataclass(slots=True)
class Tally:
    """What a pass did to one resource."""

    fetched: int = 0
    failed: int = 0
    calls: int = 0
    bytes: int = 0
    counts: Counts = Counts()  # noqa: RUF009 - frozen, so sharing it is harmless


async def drain(db: Database, caller: Caller, connector: Connector, held: Held) -> int:
    """Work off what is due for the organisation; return how many events were taken up.

    Raises:
        LeaseLost: the organisation has another owner.
    """
    async with db.transaction() as session:
        await guard(session, held)
        due = await _due(session, held)
    tallies: dict[Resource, Tally] = {}
    for batch in _batches(due, connector):
        tally = tallies.setdefault(batch[0].resource, Tally())
        try:
            await _work_off(db, caller, held, batch, tally)
        except (Paused, GrantUnusable, OrganisationForbidden, PermissionMissing) as error:
            await _put_off(db, held, str(error))
            break
        except ConnectorError as error:
            log.warning("drain_failed", tenant_id=held.tenant_id, error=error.detail, events=len(batch))
            tally.failed += len(batch)
            await _fail(db, held, [event.id for event in batch], error.detail)
    if tallies:
        await _write_down(db, held, due, tallies)
    return len(due)


async def _due(session: Session, held: Held) -> list[Due]:
    statement = (
        select(WebhookEvent)
        .where(
            WebhookEvent.vendor == held.vendor,
            WebhookEvent.tenant_id == held.tenant_id,
            WebhookEvent.status.in_(("pending", "failed")),
            WebhookEvent.resource.is_not(None),
            WebhookEvent.due_at <= func.wall_clock(),
        )
        .order_by(WebhookEvent.attempts, WebhookEvent.received_at)
        .limit(MOST_AT_ONCE)
    )
    rows = (await session.scalars(statement)).all()
    return [Due(row.id, Resource(row.resource or ""), row.resource_id, row.attempts, row.is_replay) for row in rows]


def _batches(due: Sequence[Due], connector: Connector) -> list[list[Due]]:
    """Group events by resource and patience; a batch names each row once, with every event that told of it."""
    groups: dict[tuple[Resource, int], dict[str, list[Due]]] = {}
    for event in due:
        size = max(1, connector.ids_per_read(event.resource) >> (2 * event.attempts))
        groups.setdefault((event.resource, size), {}).setdefault(event.resource_id, []).append(event)
    batches = []
    for (_, size), rows in groups.items():
        ids = list(rows)
        batches += [
            [event for row_id in ids[start : start + size] for event in rows[row_id]]
            for start in range(0, len(ids), size)
        ]
    return batches


async def _work_off(db: Database, caller: Caller, held: Held, batch: Sequence[Due], tally: Tally) -> None:
    resource = batch[0].resource
    ids = tuple(dict.fromkeys(event.resource_id for event in batch))
    page = (await caller.fetch(PageRequest(resource, ids=ids), is_urgent=True)).page
    async with db.transaction() as session:
        await guard(session, held)
        counts = await upsert(session, held.vendor, held.tenant_id, page.batch, page.read_at)
        await quarantine.set_aside(session, held, resource, page)
        await record_traffic(session, held.vendor, held.tenant_id, page.traffic)
        unread = await _settle(session, batch, page, resource)
    tally.fetched += page.row_count
    tally.failed += unread
    tally.calls += page.traffic.calls
    tally.bytes += page.traffic.bytes_raw
    tally.counts += counts.get(resource.value, Counts())


async def _settle(session: Session, batch: Sequence[Due], page: Page, resource: Resource) -> int:
    """Close the events whose rows came; return how many did not."""
    kept = {record.external_id for record in getattr(page.batch, resource.value)}
    delivered = {key.external_id for key in page.keys}
    done = [event.id for event in batch if event.resource_id in kept]
    payable = [event.id for event in batch if event.resource_id in delivered - kept]
    unread = [event.id for event in batch if event.resource_id not in delivered]
    await _close(session, done, "processed", None)
    await _close(session, payable, "ignored", "payable")
    await _postpone(session, unread, "The vendor did not deliver this row, or it cannot be read.")
    return len(unread)


async def _close(session: Session, ids: Sequence[UUID], status: str, error: str | None) -> None:
    attempts = WebhookEvent.attempts + 1
    values = {"status": status, "error": error, "processed_at": func.wall_clock(), "attempts": attempts}
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


async def _postpone(session: Session, ids: Sequence[UUID], reason: str) -> None:
    """Count a failed attempt: wait twice as long each time, from 5 seconds on, and give up after the last."""
    is_last = WebhookEvent.attempts + 1 >= MOST_ATTEMPTS
    wait = timedelta(seconds=5) * func.power(2, WebhookEvent.attempts)
    values = {
        "attempts": WebhookEvent.attempts + 1,
        "status": case((is_last, "dead"), else_="failed"),
        "processed_at": case((is_last, func.wall_clock()), else_=None),
        "due_at": func.wall_clock() + wait,
        "error": reason,
    }
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


async def _fail(db: Database, held: Held, ids: Sequence[UUID], reason: str) -> None:
    async with db.transaction() as session:
        await guard(session, held)
        await _postpone(session, ids, reason)


async def _put_off(db: Database, held: Held, reason: str) -> None:
    """Leave everything due for later without counting an attempt: the events are not to blame."""
    async with db.transaction() as session:
        await guard(session, held)
        waiting = (
            WebhookEvent.vendor == held.vendor,
            WebhookEvent.tenant_id == held.tenant_id,
            WebhookEvent.status.in_(("pending", "failed")),
        )
        later = {"due_at": func.wall_clock() + PUT_OFF, "error": literal(reason)}
        await session.execute(update(WebhookEvent).where(*waiting).values(later))


async def _write_down(db: Database, held: Held, due: Sequence[Due], tallies: dict[Resource, Tally]) -> None:
    trigger = "replay" if any(event.is_replay for event in due) else "webhook"
    results = [_result(held.tenant_id, resource, tally) for resource, tally in tallies.items()]
    async with db.transaction() as session:
        await guard(session, held)
        await runs.record_pass(session, held.vendor, trigger, held.tenant_id, results)
        await progress.tell(session, "inbox_drained", {"tenant_id": held.tenant_id, "events": len(due)})


def _result(tenant_id: str, resource: Resource, tally: Tally) -> RunResource:
    return RunResource(
        tenant_id=tenant_id,
        resource=resource.value,
        status="partial" if tally.failed else "succeeded",
        fetched=tally.fetched,
        created=tally.counts.created,
        updated=tally.counts.updated,
        unchanged=tally.counts.unchanged,
        skipped=tally.counts.skipped,
        failed=tally.failed,
        calls=tally.calls,
        bytes=tally.bytes,
    )
