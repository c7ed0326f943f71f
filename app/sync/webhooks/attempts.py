"""The attempts at webhook events: which events are due, and what an answer or a failed read makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import case, func, select, update

from app.billing.records import Resource
from app.connector import Page
from app.db import Session
from app.sync.client.rate_limiter import Priority
from app.sync.leases import HeldLease
from app.sync.tables import WAITING, EventStatus, WebhookEvent
from app.sync.webhooks.inbox import PAYABLE

MAX_EVENTS = 1000
# An event is tried again after 5 seconds, 15, 45 and so on, and becomes a dead letter after about an hour and a half;
# the tick that read the vendor's changes meanwhile has brought its row long before.
MAX_ATTEMPTS = 8
FIRST_RETRY = timedelta(seconds=5)
RETRY_GROWTH = 3
# A vendor may send an event a moment before its row can be read. A row that is still left out after that is not there
# for us, and the tick reads by time of change whatever appears later.
MAX_ANSWERS_WITHOUT_ROW = 2
LOOK_AGAIN_AFTER = timedelta(seconds=30)
NOT_DELIVERED = "The vendor answered twice without this row: it does not exist there, or may not be read."
LOOKED_FOR_AGAIN = "The vendor's answer did not hold this row in a form that can be read; it is asked for once more."
NOT_READABLE = "The row cannot be read; it is kept in quarantine with the reason."


@dataclass(frozen=True, slots=True)
class DueEvent:
    """One event to process.

    Attributes:
        failed_reads: attempts that ended in an error.
        answers_without_row: attempts that were answered well, but without a row that can be read.
    """

    id: UUID
    resource: Resource
    resource_id: str
    failed_reads: int
    answers_without_row: int
    is_replay: bool

    @property
    def priority(self) -> Priority:
        return Priority.WEBHOOK_RETRY if self.answers_without_row else Priority.WEBHOOK


async def find_due(session: Session, lease: HeldLease) -> list[DueEvent]:
    """Return the events of the tenant that are due, at most MAX_EVENTS, those that were tried least often first."""
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
        DueEvent(
            id=row.id,
            resource=Resource(row.resource or ""),
            resource_id=row.resource_id,
            failed_reads=row.attempts - row.answers_without_row,
            answers_without_row=row.answers_without_row,
            is_replay=row.is_replay,
        )
        for row in rows
    ]


async def close_batch(session: Session, batch: Sequence[DueEvent], page: Page, resource: Resource) -> int:
    """Close the events whose rows came, and have the others looked for once more; return how many those are."""
    await lock_events(session, [event.id for event in batch])
    kept = {record.external_id for record in page.batch.records_of(resource)}
    rejected = {row.external_id for row in page.rejected}
    delivered = {key.external_id for key in page.keys} | kept
    stored = [event.id for event in batch if event.resource_id in kept - rejected]
    unreadable = [event.id for event in batch if event.resource_id in rejected]
    payable = [event.id for event in batch if event.resource_id in delivered - kept - rejected]
    left_out = [event.id for event in batch if event.resource_id not in delivered | rejected]
    await _close(session, stored, EventStatus.PROCESSED, None)
    await _close(session, payable, EventStatus.IGNORED, PAYABLE)
    await look_again(session, unreadable, NOT_READABLE)
    await look_again(session, left_out, NOT_DELIVERED)
    return len(unreadable) + len(left_out)


async def lock_events(session: Session, ids: Sequence[UUID]) -> None:
    """Lock events in the order in which a delivery of the same events locks them, so that the two cannot deadlock."""
    event = WebhookEvent
    key = (event.tenant_id, event.resource_id, event.category, event.event_type, event.event_at)
    await session.execute(select(event.id).where(event.id.in_(ids)).order_by(*key).with_for_update())


async def _close(session: Session, ids: Sequence[UUID], status: EventStatus, error: str | None) -> None:
    attempts = WebhookEvent.attempts + 1
    values = {"status": status, "error": error, "processed_at": func.wall_clock(), "attempts": attempts}
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))


async def schedule_retry(session: Session, ids: Sequence[UUID], reason: str) -> None:
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


async def look_again(session: Session, ids: Sequence[UUID], reason: str) -> None:
    """Count a good answer without the row; after the second one the event is a dead letter with this reason."""
    answers = WebhookEvent.answers_without_row + 1
    is_last = answers >= MAX_ANSWERS_WITHOUT_ROW
    values = {
        "attempts": WebhookEvent.attempts + 1,
        "answers_without_row": answers,
        "status": case((is_last, EventStatus.DEAD), else_=EventStatus.FAILED),
        "processed_at": case((is_last, func.wall_clock()), else_=None),
        "due_at": func.wall_clock() + LOOK_AGAIN_AFTER,
        "error": case((is_last, reason), else_=LOOKED_FOR_AGAIN),
    }
    await session.execute(update(WebhookEvent).where(WebhookEvent.id.in_(ids)).values(values))
