"""The drain: reads again what webhook events name, many events for one row in one read, and closes the events.

Rows are read by id in batches. A batch whose read fails is tried again in smaller ones, down to a single row, so that
one event that cannot be processed ends alone as a dead letter with its reason, while all others are through. A good
answer that leaves a row out says something about that row alone: it is looked for once more, in a whole batch again.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, func, literal, select, update

from app.billing.records import Counts, Resource
from app.billing.store import upsert
from app.connections.decrypted_grant import GrantUnusable
from app.connector import (
    AccessExpired,
    AnswerUnreadable,
    AppRejected,
    Connector,
    ConnectorError,
    NotFound,
    OrganisationForbidden,
    OrganisationOffline,
    PageRequest,
    PermissionMissing,
    Traffic,
    VendorUnavailable,
)
from app.db import DatabaseUnavailable
from app.sync import progress, runs
from app.sync.client.rate_limiter import Paused, Priority
from app.sync.client.tenant_client import TenantClient
from app.sync.client.usage import record_traffic
from app.sync.leases import FencedDatabase, LeaseLost
from app.sync.pull import quarantine
from app.sync.tables import WAITING, ResourceStatus, RunResource, RunTrigger, WebhookEvent
from app.sync.webhooks.attempts import (
    NOT_DELIVERED,
    DueEvent,
    close_batch,
    find_due,
    lock_events,
    look_again,
    schedule_retry,
)

log = structlog.get_logger(__name__)

DEFERRAL = timedelta(minutes=5)
# So many batches in a row that the vendor does not answer are an outage, which says nothing about the events: reading
# each row on its own would only cost calls.
MAX_UNANSWERED = 3
# Errors that say nothing about the events: they wait, and none counts an attempt.
DEFERRED_BY = (
    Paused,
    GrantUnusable,
    OrganisationForbidden,
    OrganisationOffline,
    AppRejected,
    AccessExpired,
    PermissionMissing,
)
OUTAGES = (VendorUnavailable, AnswerUnreadable)

Batch = Sequence[DueEvent]


@dataclass(slots=True)
class ResourceTotals:
    """What a drain did to one resource."""

    fetched: int = 0
    failed: int = 0
    calls: int = 0
    bytes: int = 0
    counts: Counts = Counts()  # noqa: RUF009 - frozen, so sharing it is harmless

    def add_traffic(self, traffic: Traffic) -> None:
        self.calls += traffic.calls
        self.bytes += traffic.bytes_raw


@dataclass(frozen=True, slots=True)
class Deferral:
    """Which waiting events are put off, why, and for how long; None stands for every resource or priority."""

    reason: str
    wait: timedelta = DEFERRAL
    resource: Resource | None = None
    priority: Priority | None = None

    def includes(self, event: DueEvent) -> bool:
        return self.resource in {None, event.resource} and self.priority in {None, event.priority}

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions of the events in the inbox that are included."""
        found: list[ColumnElement[bool]] = []
        if self.resource:
            found.append(WebhookEvent.resource == self.resource.value)
        if self.priority:
            is_retry = self.priority is Priority.WEBHOOK_RETRY
            found.append(WebhookEvent.answers_without_row > 0 if is_retry else WebhookEvent.answers_without_row == 0)
        return found


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

    async def find_due(self) -> list[DueEvent]:
        """Return the events to process now, those that were tried least often first.

        Raises:
            LeaseLost: another replica owns the tenant.
        """
        async with self._db.transaction() as session:
            return await find_due(session, self._db.lease)

    async def process(self, events: Sequence[DueEvent]) -> None:
        """Read the rows of these events and close the events whose fate is known.

        Raises:
            LeaseLost: another replica owns the tenant.
        """
        totals_by_resource = await self._process_batches(_batches(events, self._connector))
        worked = {name: totals for name, totals in totals_by_resource.items() if totals.fetched or totals.failed}
        if worked:
            await self._record_run(events, worked)

    async def _process_batches(self, batches: Iterable[Batch]) -> dict[Resource, ResourceTotals]:
        totals: dict[Resource, ResourceTotals] = defaultdict(ResourceTotals)
        deferrals: list[Deferral] = []
        unanswered: list[tuple[Batch, Exception]] = []
        for batch in batches:
            if any(deferral.includes(batch[0]) for deferral in deferrals):
                continue
            error = await self._try_batch(batch, totals[batch[0].resource])
            if error and _is_outage(error):
                unanswered.append((batch, error))
                if len(unanswered) < MAX_UNANSWERED:
                    continue
                # One is counted as an attempt, so that other batches come before it the next time.
                del unanswered[1:]
            await self._fail_batches(unanswered, totals)
            if error and (deferral := _deferral_after(error, batch[0])):
                deferrals.append(deferral)
                await self._defer(deferral)
        await self._fail_batches(unanswered, totals)
        return totals

    async def _try_batch(self, batch: Batch, totals: ResourceTotals) -> Exception | None:
        """Process a batch; return the error that kept its rows from being read or written, None when there was none."""
        try:
            await self._process_batch(batch, totals)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except DEFERRED_BY as error:
            return error
        except Exception as error:
            # Whatever is wrong with it, one event must not keep the others from being processed.
            log.warning("drain_failed", tenant_id=self._db.lease.tenant_id, events=len(batch), exc_info=error)
            if not _is_outage(error):
                await self._fail_batches([(batch, error)], {batch[0].resource: totals})
            return error
        return None

    async def _process_batch(self, batch: Batch, totals: ResourceTotals) -> None:
        """Read the rows a batch names, store them and close its events, in one transaction."""
        resource, lease = batch[0].resource, self._db.lease
        ids = tuple(dict.fromkeys(event.resource_id for event in batch))
        try:
            page = (await self._client.fetch(PageRequest(resource, ids=ids), batch[0].priority)).page
        except NotFound as error:
            # Of several rows it may mean that the request was too long; of one row, that there is none.
            if len(ids) > 1:
                raise
            await self._record_absence(batch, totals, error.traffic)
            return
        async with self._db.write_transaction() as session:
            page = await quarantine.reject_incomplete(session, lease, page)
            counts = await upsert(session, lease.vendor, lease.tenant_id, page.batch, page.read_at)
            await quarantine.quarantine_rejected(session, lease, resource, page)
            await record_traffic(session, lease.vendor, lease.tenant_id, page.traffic)
            unread = await close_batch(session, batch, page, resource)
        totals.fetched += page.row_count
        totals.failed += unread
        totals.add_traffic(page.traffic)
        totals.counts += counts.get(resource, Counts())

    async def _record_absence(self, batch: Batch, totals: ResourceTotals, traffic: Traffic) -> None:
        """Record that the vendor does not know the one row these events name; the client has recorded the call."""
        ids = [event.id for event in batch]
        async with self._db.transaction() as session:
            await lock_events(session, ids)
            await look_again(session, ids, NOT_DELIVERED)
        totals.failed += len(batch)
        totals.add_traffic(traffic)

    async def _fail_batches(
        self, failures: list[tuple[Batch, Exception]], totals: Mapping[Resource, ResourceTotals]
    ) -> None:
        """Count a failed attempt for the events of these batches, and empty the list."""
        for batch, error in failures:
            totals[batch[0].resource].failed += len(batch)
            reason = error.detail if isinstance(error, ConnectorError) else "An internal error; the log says what."
            ids = [event.id for event in batch]
            async with self._db.transaction() as session:
                await lock_events(session, ids)
                await schedule_retry(session, ids, reason)
        failures.clear()

    async def _defer(self, deferral: Deferral) -> None:
        """Let the waiting events that a deferral includes wait without counting an attempt."""
        lease = self._db.lease
        waiting: list[ColumnElement[bool]] = [
            WebhookEvent.vendor == lease.vendor,
            WebhookEvent.tenant_id == lease.tenant_id,
            WebhookEvent.status.in_(WAITING),
            *deferral.conditions(),
        ]
        async with self._db.transaction() as session:
            await lock_events(session, list((await session.scalars(select(WebhookEvent.id).where(*waiting))).all()))
            later = {"due_at": func.wall_clock() + deferral.wait, "error": literal(deferral.reason)}
            await session.execute(update(WebhookEvent).where(*waiting).values(later))

    async def _record_run(self, events: Sequence[DueEvent], totals_by_resource: dict[Resource, ResourceTotals]) -> None:
        lease = self._db.lease
        trigger = RunTrigger.REPLAY if any(event.is_replay for event in events) else RunTrigger.WEBHOOK
        results = [_run_resource(lease.tenant_id, resource, totals) for resource, totals in totals_by_resource.items()]
        async with self._db.transaction() as session:
            await runs.record_finished_run(session, lease.vendor, trigger, lease.tenant_id, results)
            await progress.publish(session, "inbox_drained", {"tenant_id": lease.tenant_id, "events": len(events)})


def _is_outage(error: Exception) -> bool:
    """Say whether the vendor did not answer, for a reason that may lie in the batch or not."""
    return isinstance(error, OUTAGES) and not isinstance(error, DEFERRED_BY)


def _deferral_after(error: Exception, event: DueEvent) -> Deferral | None:
    """Return which events wait after an error that says nothing about them; None where it is about the batch."""
    if isinstance(error, PermissionMissing):
        return Deferral(error.detail, resource=event.resource)
    if isinstance(error, Paused):
        # The limits keep a share for events whose row may still come; those without one must not hold these up.
        is_retry = event.priority is Priority.WEBHOOK_RETRY
        wait = min(DEFERRAL, timedelta(seconds=error.seconds))
        return Deferral(str(error), wait, priority=event.priority if is_retry else None)
    return Deferral(str(error)) if isinstance(error, (*DEFERRED_BY, *OUTAGES)) else None


def _batches(events: Sequence[DueEvent], connector: Connector) -> list[list[DueEvent]]:
    """Group events by resource, priority and batch size, which shrinks with every failed read.

    All events of one row and group are in one batch.
    """
    groups: dict[tuple[Resource, Priority, int], dict[str, list[DueEvent]]] = {}
    for event in events:
        size = max(1, connector.ids_per_read(event.resource) >> (2 * event.failed_reads))
        groups.setdefault((event.resource, event.priority, size), {}).setdefault(event.resource_id, []).append(event)
    batches = []
    for (_, _, size), events_by_row in groups.items():
        ids = list(events_by_row)
        batches += [
            [event for row_id in ids[start : start + size] for event in events_by_row[row_id]]
            for start in range(0, len(ids), size)
        ]
    return batches


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
