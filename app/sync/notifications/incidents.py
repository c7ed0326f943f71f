"""Incidents: what people are notified of, derived from the banners, so that messages and the console never disagree.

A banner of one of `TOLD` opens an incident, which stays open until no such banner is left. New banners of one code and
connection are one incident, so that a hundred organisations that fail together are one message.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import func, select, update

from app.connections.snapshot import Banner
from app.connections.states import BannerCode
from app.db import Session
from app.sync.notifications.messages import Message, Texts
from app.sync.notifications.tables import UNSENT, Change, Incident, Notification, NotificationStatus

# The subject of what is about no tenant and no grant.
WHOLE_VENDOR = ""
TOLD = frozenset(
    {
        BannerCode.RECONNECT_REQUIRED,
        BannerCode.TOKEN_EXPIRING_7D,
        BannerCode.TOKEN_EXPIRING_2D,
        BannerCode.TENANT_FORBIDDEN,
        BannerCode.TENANT_REMOVED,
        BannerCode.DATA_STALE,
        BannerCode.WEBHOOK_SIGNATURE_MISMATCH,
        BannerCode.WEBHOOK_EVENTS_GIVEN_UP,
    }
)
# What is not well again although its banner is gone: something worse about the same subject has taken its place.
WORSE: Mapping[str, frozenset[BannerCode]] = {
    BannerCode.TOKEN_EXPIRING_7D: frozenset({BannerCode.TOKEN_EXPIRING_2D, BannerCode.RECONNECT_REQUIRED}),
    BannerCode.TOKEN_EXPIRING_2D: frozenset({BannerCode.RECONNECT_REQUIRED}),
    BannerCode.TENANT_FORBIDDEN: frozenset({BannerCode.TENANT_REMOVED, BannerCode.RECONNECT_REQUIRED}),
    BannerCode.DATA_STALE: frozenset(
        {
            BannerCode.TENANT_FORBIDDEN,
            BannerCode.TENANT_REMOVED,
            BannerCode.RECONNECT_REQUIRED,
        }
    ),
}


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A vendor's connection as the set-up page shows it.

    Attributes:
        banners: what is wrong.
        is_connected: whether there is a connection that nobody has ended here.
        left_out: the ids of the tenants that are not selected.
    """

    banners: Sequence[Banner]
    is_connected: bool = True
    left_out: frozenset[str] = frozenset()

    def is_watched(self, subject: str) -> bool:
        """Return whether something about this subject would still be told: what is not watched is not well either."""
        return subject == WHOLE_VENDOR or (self.is_connected and subject not in self.left_out)


@dataclass(frozen=True, slots=True)
class Present:
    """What is wrong now.

    Attributes:
        seen: the connection.
        by_subject: the banners that people are notified of, by code and subject.
        concerns: the code of each banner with everything it is about or stops.
    """

    seen: ConnectionView
    by_subject: Mapping[tuple[str, str], Banner]
    concerns: frozenset[tuple[str, str]]

    def banners_of(self, code: str, subjects: Iterable[str]) -> list[Banner]:
        """Return the banners of this code about those of the subjects that have one."""
        return [self.by_subject[code, subject] for subject in subjects if (code, subject) in self.by_subject]

    def is_worse(self, code: str, subject: str) -> bool:
        """Return whether something worse has taken the place of a banner that is gone."""
        return any((worse, subject) in self.concerns for worse in WORSE.get(code, ()))


def find_present(seen: ConnectionView) -> Present:
    told = [banner for banner in seen.banners if banner.code in TOLD]
    return Present(
        seen,
        {(banner.code, _subject_of(banner)): banner for banner in told},
        frozenset((banner.code, one) for banner in told for one in (_subject_of(banner), *banner.concerned)),
    )


async def update_incidents(
    session: Session, vendor: str, seen: ConnectionView, texts: Texts, addresses: Sequence[str]
) -> None:
    """Open and resolve incidents, and write the messages about them.

    Args:
        session: the transaction in which the connection was read, after `lock_incidents`.
        vendor: the vendor's word.
        seen: the vendor's connection.
        texts: writes the messages.
        addresses: the fingerprints of the addresses. One that is new is notified of what is open.
    """
    present = find_present(seen)
    open_now = (Incident.vendor == vendor, Incident.resolved_at.is_(None))
    known = (await session.scalars(select(Incident).where(*open_now).order_by(Incident.opened_at))).all()
    left = [incident for incident in known if await _is_left(session, incident, present, texts)]
    covered = {(incident.code, subject) for incident in left for subject in incident.subjects}
    opened = [_new_incident(vendor, group, texts) for group in _group_new(present, covered)]
    session.add_all(opened)
    await session.flush()
    await _notify_opened(session, [*left, *opened], present, texts, addresses)


async def lock_incidents(session: Session, vendor: str) -> bool:
    """Let one replica at a time look at a vendor's incidents; return False where another one does.

    Taken before the banners are read: whoever has it sees what the one before has written.
    """
    lock = func.pg_try_advisory_xact_lock(func.hashtext(f"incidents {vendor}"))
    return bool(await session.scalar(select(lock)))


def _subject_of(banner: Banner) -> str:
    return banner.tenant_id or (str(banner.grant_id) if banner.grant_id else WHOLE_VENDOR)


async def _is_left(session: Session, incident: Incident, present: Present, texts: Texts) -> bool:
    """Take what is well again out of an incident; resolve it, and return False, where nothing is left."""
    ended = [one for one in incident.subjects if (incident.code, one) not in present.by_subject]
    if len(ended) < len(incident.subjects):
        if ended:
            incident.subjects = [one for one in incident.subjects if one not in ended]
        return True
    incident.resolved_at = (await session.scalars(select(func.wall_clock()))).one()
    if all(present.is_worse(incident.code, subject) for subject in ended):
        await _abandon(session, incident)
    else:
        is_well = any(present.seen.is_watched(subject) for subject in ended)
        await _notify_resolved(session, incident, texts.resolved(incident.title, incident.opened_at, is_well=is_well))
    return False


def _group_new(present: Present, covered: set[tuple[str, str]]) -> list[list[Banner]]:
    """Return the banners that no open incident covers, grouped by code and connection."""
    new = [banner for key, banner in present.by_subject.items() if key not in covered]

    def key_of(banner: Banner) -> tuple[str, str]:
        return banner.code, str(banner.grant_id)

    return [list(group) for _, group in groupby(sorted(new, key=key_of), key_of)]


def _new_incident(vendor: str, banners: Sequence[Banner], texts: Texts) -> Incident:
    message = texts.opened(banners)
    return Incident(
        vendor=vendor,
        code=banners[0].code,
        severity=banners[0].severity,
        subjects=[_subject_of(banner) for banner in banners],
        title=message.title,
    )


async def _notify_opened(
    session: Session, incidents: Sequence[Incident], present: Present, texts: Texts, addresses: Sequence[str]
) -> None:
    """Write the messages that these incidents began, to every address that was not notified yet."""
    notified = select(Notification.incident_id, Notification.address).where(
        Notification.incident_id.in_([incident.id for incident in incidents]), Notification.change == Change.OPENED
    )
    known = {(row.incident_id, row.address) for row in await session.execute(notified)}
    for incident in incidents:
        message = texts.opened(present.banners_of(incident.code, incident.subjects))
        new = [address for address in addresses if (incident.id, address) not in known]
        _write_messages(session, incident, Change.OPENED, message, new)
    await session.flush()


async def _notify_resolved(session: Session, incident: Incident, message: Message) -> None:
    """Write the message that an incident is over, to every address that was notified of its beginning."""
    notified = select(Notification.address).where(
        Notification.incident_id == incident.id, Notification.change == Change.OPENED
    )
    _write_messages(session, incident, Change.RESOLVED, message, (await session.scalars(notified)).all())
    await session.flush()


def _write_messages(
    session: Session, incident: Incident, change: Change, message: Message, addresses: Iterable[str]
) -> None:
    for address in addresses:
        session.add(
            Notification(
                incident_id=incident.id, change=change, address=address, title=message.title, body=message.body
            )
        )


async def _abandon(session: Session, incident: Incident) -> None:
    """Give up the messages of an incident that were not sent, because a worse one takes its place."""
    unsent = (Notification.incident_id == incident.id, Notification.status.in_(UNSENT))
    await session.execute(update(Notification).where(*unsent).values(status=NotificationStatus.ABANDONED))
