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

from app.billing.records import Counts, Resource
from app.billing.store import upsert
from app.connections.tokens import GrantUnusable
from app.connector import (
    AccessExpired,
    AppRejected,
    Connector,
    ConnectorError,
    OrganisationForbidden,
    OrganisationOffline,
    Page,
    PageRequest,
    PermissionMissing,
)
from app.db import DatabaseUnavailable, Session
from app.sync import progress, runs
from app.sync.client.rate_limiter import Paused, Priority
from app.sync.client.tenant_client import TenantClient
from app.sync.client.usage import record_traffic
from app.sync.leases import FencedDatabase, HeldLease, LeaseLost
from app.sync.pull import quarantine
from app.sync.tables import RunResource, WebhookEvent

log = structlog.get_logger(__name__)

MOST_AT_ONCE = 1000
# An event is tried after 5 seconds, 15, 45 and so on, and given up after about an hour and a half; the tick that read
# the vendor's changes meanwhile has brought its row long before.
MOST_ATTEMPTS = 8
FIRST_RETRY = timedelta(seconds=5)
RETRY_GROWTH = 3
PUT_OFF = timedelta(minutes=5)
# What says nothing about an event: then none of them counts an attempt.
PUT_OFF_BY = (Paused, GrantUnusable, OrganisationForbidden, OrganisationOffline, AppRejected, AccessExpired)


@dataclass(frozen=True, slots=True)
class DueEvent:
    """One event to work off."""

    id: UUID
    resource: Resource
    resource_id: str
    attempts: int
    is_replay: bool


@dataclass(slots=True)
class ResourceTotals:
    """What a pass did to one resource."""

    fetched: int = 0
    failed: int = 0
    calls: int = 0
    bytes: int = 0
    counts: Counts = Counts()  # noqa: RUF009 - frozen, so sharing it is harmless


async def drain(desk: FencedDatabase, caller: TenantClient, connector: Connector) -> int:
    """Work off what is due for the organisation; return how many events were taken up.

    Raises:
        LeaseLost: the organisation has another owner.
    """
    held = desk.held
    async with desk.transaction() as session:
        due = await _due(session, held)
    totals_by_resource: dict[Resource, ResourceTotals] = {}
    unreadable: set[Resource] = set()
    for batch in _batches(due, connector):
        resource = batch[0].resource
        if resource in unreadable:
            continue
        totals = totals_by_resource.setdefault(resource, ResourceTotals())
        try:
            await _process_batch(desk, caller, batch, totals)
        except PermissionMissing as error:
            unreadable.add(resource)
            await _defer(desk, error.detail, PUT_OFF, resource)
        except PUT_OFF_BY as error:
            await _defer(desk, str(error), _until_next_try(error))
            break
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as error:
            # Whatever is wrong with it, one event must not keep the others from being worked off.
            log.warning("drain_failed", tenant_id=held.tenant_id, events=len(batch), exc_info=error)
            totals.failed += len(batch)
            await _fail(desk, batch, error)
    if done := {resource: totals for resource, totals in totals_by_resource.items() if totals.fetched or totals.failed}:
        await _record_run(desk, due, done)
    return len(due)


def _until_next_try(error: Exception) -> timedelta:
    return min(PUT_OFF, timedelta(seconds=error.seconds)) if isinstance(error, Paused) else PUT_OFF


async def _due(session: Session, held: HeldLease) -> list[DueEvent]:
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
    return [
        DueEvent(row.id, Resource(row.resource or ""), row.resource_id, row.attempts, row.is_replay) for row in rows
    ]


def _batches(due: Sequence[DueEvent], connector: Connector) -> list[list[DueEvent]]:
    """Group events by resource and patience; a batch names each row once, with every event that told of it."""
    groups: dict[tuple[Resource, int], dict[str, list[DueEvent]]] = {}
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


async def _process_batch(
    desk: FencedDatabase, caller: TenantClient, batch: Sequence[DueEvent], totals: ResourceTotals
) -> None:
    resource, held = batch[0].resource, desk.held
    ids = tuple(dict.fromkeys(event.resource_id for event in batch))
    page = (await caller.fetch(PageRequest(resource, ids=ids), Priority.WEBHOOK)).page
    async with desk.write_transaction() as session:
        counts = await upsert(session, held.vendor, held.tenant_id, page.batch, page.read_at)
        await quarantine.quarantine_rejected(session, held, resource, page)
        await record_traffic(session, held.vendor, held.tenant_id, page.traffic)
        unread = await _close_batch(session, batch, page, resource)
    totals.fetched += page.row_count
    totals.failed += unread
    totals.calls += page.traffic.calls
    totals.bytes += page.traffic.bytes_raw
    totals.counts += counts.get(resource, Counts())


async def _close_batch(session: Session, batch: Sequence[DueEvent], page: Page, resource: Resource) -> int:
    """Close the events whose rows came; return how many did not."""
    await _lock(session, [event.id for event in batch])
    kept = {record.external_id for record in page.batch.records_of(resource)}
    delivered = {key.external_id for key in page.keys} - {row.external_id for row in page.rejected}
    done = [event.id for event in batch if event.resource_id in kept]
    payable = [event.id for event in batch if event.resource_id in delivered - kept]
    unread = [event.id for event in batch if event.resource_id not in delivered]
    await _close(session, done, "processed", None)
    await _close(session, payable, "ignored", "payable")
    await _schedule_retry(session, unread, "The vendor did not deliver this row, or it cannot be read.")
    return len(unread)


async def _lock(session: Session, ids: Sequence[UUID]) -> None:
    """Lock events in the order in which a delivery of the same events would, so that the two cannot deadlock."""
    event = WebhookEvent
    key = (event.tenant_id, event.resource_id, event.category, event.event_type, event.event_at)
    await session.execute(select(event.id).where(event.id.in_(ids)).order_by(*key).with_for_update())


async def _close(session: Session, ids: Sequence[UUID], status: str, error: str | None) -> None:
    attempts = WebhookEvent.attempts + 1
    values = {"status": status, "error": error, "processed_at": func.wall_clock(), "attempts": attempts}
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


async def _schedule_retry(session: Session, ids: Sequence[UUID], reason: str) -> None:
    """Count a failed attempt, wait longer each time, and give up after the last."""
    is_last = WebhookEvent.attempts + 1 >= MOST_ATTEMPTS
    wait = FIRST_RETRY * func.power(RETRY_GROWTH, WebhookEvent.attempts)
    values = {
        "attempts": WebhookEvent.attempts + 1,
        "status": case((is_last, "dead"), else_="failed"),
        "processed_at": case((is_last, func.wall_clock()), else_=None),
        "due_at": func.wall_clock() + wait,
        "error": reason,
    }
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


async def _fail(desk: FencedDatabase, batch: Sequence[DueEvent], error: Exception) -> None:
    reason = error.detail if isinstance(error, ConnectorError) else "An internal error; the log says what."
    ids = [event.id for event in batch]
    async with desk.transaction() as session:
        await _lock(session, ids)
        await _schedule_retry(session, ids, reason)


async def _defer(desk: FencedDatabase, reason: str, wait: timedelta, resource: Resource | None = None) -> None:
    """Leave what is due, of one resource or all, for later without counting an attempt: the events are not to blame."""
    async with desk.transaction() as session:
        waiting = [
            WebhookEvent.vendor == desk.held.vendor,
            WebhookEvent.tenant_id == desk.held.tenant_id,
            WebhookEvent.status.in_(("pending", "failed")),
        ]
        if resource:
            waiting.append(WebhookEvent.resource == resource.value)
        await _lock(session, list((await session.scalars(select(WebhookEvent.id).where(*waiting))).all()))
        later = {"due_at": func.wall_clock() + wait, "error": literal(reason)}
        await session.execute(update(WebhookEvent).where(*waiting).values(later))


async def _record_run(
    desk: FencedDatabase, due: Sequence[DueEvent], totals_by_resource: dict[Resource, ResourceTotals]
) -> None:
    held = desk.held
    trigger = "replay" if any(event.is_replay for event in due) else "webhook"
    results = [_result(held.tenant_id, resource, totals) for resource, totals in totals_by_resource.items()]
    async with desk.transaction() as session:
        await runs.record_finished_run(session, held.vendor, trigger, held.tenant_id, results)
        await progress.publish(session, "inbox_drained", {"tenant_id": held.tenant_id, "events": len(due)})


def _result(tenant_id: str, resource: Resource, totals: ResourceTotals) -> RunResource:
    return RunResource(
        tenant_id=tenant_id,
        resource=resource.value,
        status="partial" if totals.failed else "succeeded",
        fetched=totals.fetched,
        created=totals.counts.created,
        updated=totals.counts.updated,
        unchanged=totals.counts.unchanged,
        skipped=totals.counts.skipped,
        failed=totals.failed,
        calls=totals.calls,
        bytes=totals.bytes,
    )
