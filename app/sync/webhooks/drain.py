"""The drain: reads again what webhook events name, many events for one row in one read, and closes the events.

Rows are read by id in batches. A batch that fails is tried again in smaller ones, down to a single row, so that one
event that cannot be processed ends alone as a dead letter with its reason, while all others are through.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, case, func, literal, select, update

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
from app.sync.tables import WAITING, EventStatus, ResourceStatus, RunResource, RunTrigger, WebhookEvent
from app.sync.webhooks.inbox import PAYABLE

log = structlog.get_logger(__name__)

MAX_EVENTS = 1000
# An event is tried again after 5 seconds, 15, 45 and so on, and becomes a dead letter after about an hour and a half;
# the tick that read the vendor's changes meanwhile has brought its row long before.
MAX_ATTEMPTS = 8
FIRST_RETRY = timedelta(seconds=5)
RETRY_GROWTH = 3
DEFERRAL = timedelta(minutes=5)
# Errors that say nothing about the events: all wait, and none counts an attempt.
DEFERRED_BY = (Paused, GrantUnusable, OrganisationForbidden, OrganisationOffline, AppRejected, AccessExpired)


@dataclass(frozen=True, slots=True)
class DueEvent:
    """One event to process."""

    id: UUID
    resource: Resource
    resource_id: str
    attempts: int
    is_replay: bool


@dataclass(slots=True)
class ResourceTotals:
    """What a drain did to one resource."""

    fetched: int = 0
    failed: int = 0
    calls: int = 0
    bytes: int = 0
    counts: Counts = Counts()  # noqa: RUF009 - frozen, so sharing it is harmless


class Drain:
    """Processes one tenant's webhook events.

    Args:
        db: the tenant's database, under its lease.
        client: reads the vendor's rows.
        connector: the vendor.
    """

    def __init__(self, db: FencedDatabase, client: TenantClient, connector: Connector) -> None:
        self._db = db
        self._client = client
        self._connector = connector

    async def run(self) -> int:
        """Process the events that are due; return how many were taken up.

        Raises:
            LeaseLost: another replica owns the tenant.
        """
        async with self._db.transaction() as session:
            events = await _find_due(session, self._db.lease)
        totals_by_resource = await self._process_batches(_batches(events, self._connector))
        worked = {name: totals for name, totals in totals_by_resource.items() if totals.fetched or totals.failed}
        if worked:
            await self._record_run(events, worked)
        return len(events)

    async def _process_batches(self, batches: Iterable[Sequence[DueEvent]]) -> dict[Resource, ResourceTotals]:
        totals_by_resource: dict[Resource, ResourceTotals] = {}
        without_permission: set[Resource] = set()
        for batch in batches:
            resource = batch[0].resource
            if resource in without_permission:
                continue
            totals = totals_by_resource.setdefault(resource, ResourceTotals())
            try:
                await self._process_batch(batch, totals)
            except PermissionMissing as error:
                without_permission.add(resource)
                await self._defer(error.detail, DEFERRAL, resource)
            except DEFERRED_BY as error:
                await self._defer(str(error), _deferral_of(error))
                break
            except (LeaseLost, DatabaseUnavailable):
                raise
            except Exception as error:
                # Whatever is wrong with it, one event must not keep the others from being processed.
                log.warning("drain_failed", tenant_id=self._db.lease.tenant_id, events=len(batch), exc_info=error)
                totals.failed += len(batch)
                await self._retry_or_give_up(batch, error)
        return totals_by_resource

    async def _process_batch(self, batch: Sequence[DueEvent], totals: ResourceTotals) -> None:
        """Read the rows a batch names, store them and close its events, in one transaction."""
        resource, lease = batch[0].resource, self._db.lease
        ids = tuple(dict.fromkeys(event.resource_id for event in batch))
        page = (await self._client.fetch(PageRequest(resource, ids=ids), Priority.WEBHOOK)).page
        async with self._db.write_transaction() as session:
            page = await quarantine.reject_incomplete(session, lease, page)
            counts = await upsert(session, lease.vendor, lease.tenant_id, page.batch, page.read_at)
            await quarantine.quarantine_rejected(session, lease, resource, page)
            await record_traffic(session, lease.vendor, lease.tenant_id, page.traffic)
            unread = await _close_batch(session, batch, page, resource)
        totals.fetched += page.row_count
        totals.failed += unread
        totals.calls += page.traffic.calls
        totals.bytes += page.traffic.bytes_raw
        totals.counts += counts.get(resource, Counts())

    async def _retry_or_give_up(self, batch: Sequence[DueEvent], error: Exception) -> None:
        reason = error.detail if isinstance(error, ConnectorError) else "An internal error; the log says what."
        ids = [event.id for event in batch]
        async with self._db.transaction() as session:
            await lock_events(session, ids)
            await _schedule_retry(session, ids, reason)

    async def _defer(self, reason: str, wait: timedelta, resource: Resource | None = None) -> None:
        """Let all waiting events, of one resource or of all, wait without counting an attempt."""
        lease = self._db.lease
        waiting: list[ColumnElement[bool]] = [
            WebhookEvent.vendor == lease.vendor,
            WebhookEvent.tenant_id == lease.tenant_id,
            WebhookEvent.status.in_(WAITING),
        ]
        if resource:
            waiting.append(WebhookEvent.resource == resource.value)
        async with self._db.transaction() as session:
            await lock_events(session, list((await session.scalars(select(WebhookEvent.id).where(*waiting))).all()))
            later = {"due_at": func.wall_clock() + wait, "error": literal(reason)}
            await session.execute(update(WebhookEvent).where(*waiting).values(later))

    async def _record_run(self, events: Sequence[DueEvent], totals_by_resource: dict[Resource, ResourceTotals]) -> None:
        lease = self._db.lease
        trigger = RunTrigger.REPLAY if any(event.is_replay for event in events) else RunTrigger.WEBHOOK
        results = [_run_resource(lease.tenant_id, resource, totals) for resource, totals in totals_by_resource.items()]
        async with self._db.transaction() as session:
            await runs.record_finished_run(session, lease.vendor, trigger, lease.tenant_id, results)
            await progress.publish(session, "inbox_drained", {"tenant_id": lease.tenant_id, "events": len(events)})


def _deferral_of(error: Exception) -> timedelta:
    return min(DEFERRAL, timedelta(seconds=error.seconds)) if isinstance(error, Paused) else DEFERRAL


async def _find_due(session: Session, lease: HeldLease) -> list[DueEvent]:
    statement = (
        select(WebhookEvent)
        .where(
            WebhookEvent.vendor == lease.vendor,
            WebhookEvent.tenant_id == lease.tenant_id,
            WebhookEvent.status.in_(WAITING),
            WebhookEvent.resource.is_not(None),
            WebhookEvent.due_at <= func.wall_clock(),
        )
        .order_by(WebhookEvent.attempts, WebhookEvent.received_at)
        .limit(MAX_EVENTS)
    )
    rows = (await session.scalars(statement)).all()
    return [
        DueEvent(row.id, Resource(row.resource or ""), row.resource_id, row.attempts, row.is_replay) for row in rows
    ]


def _batches(events: Sequence[DueEvent], connector: Connector) -> list[list[DueEvent]]:
    """Group events by resource and batch size, which shrinks with attempts; all events of one row are in one batch."""
    groups: dict[tuple[Resource, int], dict[str, list[DueEvent]]] = {}
    for event in events:
        size = max(1, connector.ids_per_read(event.resource) >> (2 * event.attempts))
        groups.setdefault((event.resource, size), {}).setdefault(event.resource_id, []).append(event)
    batches = []
    for (_, size), events_by_row in groups.items():
        ids = list(events_by_row)
        batches += [
            [event for row_id in ids[start : start + size] for event in events_by_row[row_id]]
            for start in range(0, len(ids), size)
        ]
    return batches


async def _close_batch(session: Session, batch: Sequence[DueEvent], page: Page, resource: Resource) -> int:
    """Close the events whose rows came; return how many did not come."""
    await lock_events(session, [event.id for event in batch])
    kept = {record.external_id for record in page.batch.records_of(resource)}
    delivered = {key.external_id for key in page.keys} - {row.external_id for row in page.rejected}
    stored = [event.id for event in batch if event.resource_id in kept]
    payable = [event.id for event in batch if event.resource_id in delivered - kept]
    unread = [event.id for event in batch if event.resource_id not in delivered]
    await _close(session, stored, EventStatus.PROCESSED, None)
    await _close(session, payable, EventStatus.IGNORED, PAYABLE)
    await _schedule_retry(session, unread, "The vendor did not deliver this row, or it cannot be read.")
    return len(unread)


async def lock_events(session: Session, ids: Sequence[UUID]) -> None:
    """Lock events in the order in which a delivery of the same events locks them, so that the two cannot deadlock."""
    event = WebhookEvent
    key = (event.tenant_id, event.resource_id, event.category, event.event_type, event.event_at)
    await session.execute(select(event.id).where(event.id.in_(ids)).order_by(*key).with_for_update())


async def _close(session: Session, ids: Sequence[UUID], status: EventStatus, error: str | None) -> None:
    attempts = WebhookEvent.attempts + 1
    values = {"status": status, "error": error, "processed_at": func.wall_clock(), "attempts": attempts}
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


async def _schedule_retry(session: Session, ids: Sequence[UUID], reason: str) -> None:
    """Count a failed attempt and wait longer each time; after the last attempt the event is a dead letter."""
    is_last = WebhookEvent.attempts + 1 >= MAX_ATTEMPTS
    wait = FIRST_RETRY * func.power(RETRY_GROWTH, WebhookEvent.attempts)
    values = {
        "attempts": WebhookEvent.attempts + 1,
        "status": case((is_last, EventStatus.DEAD), else_=EventStatus.FAILED),
        "processed_at": case((is_last, func.wall_clock()), else_=None),
        "due_at": func.wall_clock() + wait,
        "error": reason,
    }
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


def _run_resource(tenant_id: str, resource: Resource, totals: ResourceTotals) -> RunResource:
    return RunResource(
        tenant_id=tenant_id,
        resource=resource.value,
        status=ResourceStatus.PARTIAL if totals.failed else ResourceStatus.SUCCEEDED,
        fetched=totals.fetched,
        created=totals.counts.created,
        updated=totals.counts.updated,
        unchanged=totals.counts.unchanged,
        skipped=totals.counts.skipped,
        failed=totals.failed,
        calls=totals.calls,
        bytes=totals.bytes,
    )
