"""The outbox: messages that are stored before they are sent, so that none is lost and none is written twice.

A message is claimed in one transaction, sent without one, and closed in a third. A replica that is killed between the
first and the last leaves a claim that expires, and another one sends the message again: at least once is what can be
promised, since no address says whether it has a message already. The time in which that can happen is the one between
the address's answer and the commit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import case, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import aliased

from app.connections.snapshot import FailingAddress
from app.connections.states import Severity
from app.db import Session
from app.sync.notifications.addresses import NotifyAddress
from app.sync.notifications.messages import Message
from app.sync.notifications.tables import UNSENT, Change, Incident, Notification, NotificationStatus

# Longer than two messages to an address may take, one of which waits for the other.
CLAIM = timedelta(minutes=2)
FIRST_RETRY = timedelta(seconds=30)
MAX_RETRY = timedelta(hours=1)
GIVE_UP_AFTER = timedelta(days=3)
RETENTION = timedelta(days=90)
# Keeps the exponent of the delay small: the delay has reached its maximum long before.
MAX_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that this replica may send; `attempt` tells its claim from later ones."""

    id: UUID
    attempt: int
    message: Message


async def claim_next(session: Session, vendor: str, address: str) -> ClaimedMessage | None:
    """Claim the oldest message to an address that is due, unless another replica has; None where there is none.

    That an incident is well again is not told before its beginning.
    """
    beginning = aliased(Notification)
    is_early = (
        select(beginning.id)
        .where(
            beginning.incident_id == Notification.incident_id,
            beginning.address == Notification.address,
            beginning.change == Change.OPENED,
            beginning.status.in_(UNSENT),
            Notification.change == Change.RESOLVED,
        )
        .exists()
    )
    due = (
        select(Notification.id)
        .join(Incident, Incident.id == Notification.incident_id)
        .where(
            Incident.vendor == vendor,
            Notification.address == address,
            Notification.status.in_(UNSENT),
            Notification.due_at <= func.wall_clock(),
            ~is_early,
        )
        .order_by(Notification.created_at, Notification.change, Notification.id)
        .limit(1)
        .with_for_update(of=Notification, skip_locked=True)
    )
    row_id = await session.scalar(due)
    if row_id is None:
        return None
    claimed = {"attempts": Notification.attempts + 1, "due_at": func.wall_clock() + CLAIM}
    await session.execute(update(Notification).where(Notification.id == row_id).values(claimed))
    severity = case((Notification.change == Change.OPENED, Incident.severity))
    found = select(Notification.attempts, Notification.title, Notification.body, severity.label("severity"))
    row = (await session.execute(found.join(Incident).where(Notification.id == row_id))).one()
    message = Message(row.title, row.body, Severity(row.severity) if row.severity else None)
    return ClaimedMessage(row_id, row.attempts, message)


async def close(session: Session, claimed: ClaimedMessage, failure: str | None) -> None:
    """Store what came of a claimed message, unless another replica has claimed it since.

    Args:
        session: a transaction.
        claimed: the message.
        failure: why it was not delivered; None when it was.
    """
    own = (Notification.id == claimed.id, Notification.attempts == claimed.attempt)
    sent = {"status": NotificationStatus.SENT, "sent_at": func.wall_clock(), "error": None}
    await session.execute(update(Notification).where(*own).values(_failed(failure) if failure else sent))


def _failed(reason: str) -> dict[str, object]:
    doublings = func.least(Notification.attempts - 1, MAX_DOUBLINGS)
    wait = func.least(FIRST_RETRY * func.power(2, doublings), literal(MAX_RETRY))
    is_over = Notification.created_at < func.wall_clock() - GIVE_UP_AFTER
    return {
        "status": case((is_over, NotificationStatus.ABANDONED), else_=NotificationStatus.FAILING),
        "due_at": func.wall_clock() + wait,
        "error": reason,
    }


async def count_unsent(session: Session, vendor: str, addresses: Sequence[str]) -> dict[str, int]:
    """Return how many messages to these addresses wait, and how many failed and are tried again."""
    unsent = (Incident.vendor == vendor, Notification.address.in_(addresses), Notification.status.in_(UNSENT))
    statement = select(Notification.status, func.count()).join(Incident).where(*unsent).group_by(Notification.status)
    found = {row[0]: row[1] for row in await session.execute(statement)}
    return {str(status): found.get(status, 0) for status in UNSENT}


async def list_failing(session: Session, vendor: str, addresses: Sequence[NotifyAddress]) -> list[FailingAddress]:
    """Return the addresses to which a message failed, each with its oldest one's age and reason."""
    if not addresses:
        return []
    names = {address.fingerprint: address.name for address in addresses}
    failing = (
        Incident.vendor == vendor,
        Notification.status == NotificationStatus.FAILING,
        Notification.address.in_(names),
    )
    oldest = (
        select(Notification.address, Notification.created_at, Notification.error)
        .join(Incident)
        .where(*failing)
        .ext(distinct_on(Notification.address))
        .order_by(Notification.address, Notification.created_at)
    )
    rows = {row.address: row for row in await session.execute(oldest)}
    return [
        FailingAddress(name, rows[fingerprint].created_at, rows[fingerprint].error or "")
        for fingerprint, name in names.items()
        if fingerprint in rows
    ]


async def delete_expired(session: Session) -> None:
    """Delete incidents that have been over for 90 days, with their messages."""
    await session.execute(delete(Incident).where(Incident.resolved_at < func.wall_clock() - RETENTION))
