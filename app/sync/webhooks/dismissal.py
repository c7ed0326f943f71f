"""Dismissing dead letters: a person has looked at them, so that they no longer count as failed. A replay still can."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, select, update

from app.audit import append_audit_entry
from app.db import Session
from app.sync.tables import EventStatus, WebhookEvent


class UnknownEvent(LookupError):
    """There is no webhook event of this id."""


class EventNotGivenUp(RuntimeError):
    """Only an event that was given up can be dismissed."""


async def dismiss(session: Session, vendor: str, event_id: UUID, actor: str, reason: str) -> WebhookEvent:
    """Dismiss one dead letter and return it; one that is dismissed already stays so.

    Raises:
        UnknownEvent: there is no such event.
        EventNotGivenUp: it waits, is tried again, or was processed.
    """
    known = select(WebhookEvent).where(WebhookEvent.vendor == vendor, WebhookEvent.id == event_id)
    event = await session.scalar(known.with_for_update())
    if event is None:
        raise UnknownEvent("There is no webhook event of this id.")
    if event.status not in {EventStatus.DEAD, EventStatus.DISMISSED}:
        raise EventNotGivenUp(
            f"This event is {event.status}: only an event that was given up (status dead) can be dismissed."
        )
    if event.status == EventStatus.DEAD:
        event.status = EventStatus.DISMISSED
        await append_audit_entry(session, actor, "webhook_event_dismissed", str(event_id), {"reason": reason})
    return event


async def dismiss_all(session: Session, vendor: str, before: datetime | None, actor: str, reason: str) -> int:
    """Dismiss every dead letter, or those received before an instant; return how many."""
    dead: list[ColumnElement[bool]] = [WebhookEvent.vendor == vendor, WebhookEvent.status == EventStatus.DEAD]
    if before is not None:
        dead.append(WebhookEvent.received_at < before)
    statement = update(WebhookEvent).where(*dead).values(status=EventStatus.DISMISSED).returning(WebhookEvent.id)
    dismissed: Sequence[UUID] = (await session.scalars(statement)).all()
    details = {"reason": reason, "count": len(dismissed), "before": before.isoformat() if before else None}
    await append_audit_entry(session, actor, "webhook_events_dismissed", vendor, details)
    return len(dismissed)
