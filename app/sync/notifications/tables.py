"""Tables of notifications, and the enums of their states: incidents, and the messages about them."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db import NEW_ID, Instant, Table, is_one_of


class NotificationStatus(StrEnum):
    """How a message to one address stands. `failing` is tried again; `abandoned` is not."""

    WAITING = "waiting"
    FAILING = "failing"
    SENT = "sent"
    ABANDONED = "abandoned"


class Change(StrEnum):
    """What a message tells of its incident."""

    OPENED = "opened"
    RESOLVED = "resolved"


UNSENT = (NotificationStatus.WAITING, NotificationStatus.FAILING)


class Incident(Table):
    """Something wrong that people are notified of, once when it begins and once when it is well again.

    Attributes:
        code: the code of its banners.
        severity: the highest severity of its banners when it began.
        subjects: what it is still about: ids of tenants, the id of a grant, or the empty text for the vendor as a
            whole. One that is well again is taken out, so that it is told anew when it fails again.
        title: what happened, as the first message told it.
        resolved_at: since when it is about nothing any more.
    """

    __tablename__ = "incidents"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    vendor: Mapped[str] = mapped_column(Text)
    code: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    subjects: Mapped[list[str]] = mapped_column(ARRAY(Text))
    title: Mapped[str] = mapped_column(Text)
    opened_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    resolved_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (Index("ix_incidents_open", "vendor", postgresql_where=text("resolved_at IS NULL")),)


class Notification(Table):
    """One message about an incident to one address; the unique constraint keeps it from being written twice.

    Attributes:
        address: the fingerprint of the address (`NotifyAddress`); the address itself is a secret and is not stored.
        attempts: how often the message was claimed; only the owner of the newest claim writes what came of it.
        due_at: when it may be claimed; a claim moves it forward, so that the message of a replica that was killed is
            sent by another one.
        error: why the last attempt failed; never a part of the address.
    """

    __tablename__ = "notifications"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    incident_id: Mapped[UUID] = mapped_column(ForeignKey("incidents.id", ondelete="CASCADE"))
    change: Mapped[str] = mapped_column(Text)
    address: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=NotificationStatus.WAITING)
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"))
    sent_at: Mapped[datetime | None] = mapped_column(Instant)

    __table_args__ = (
        CheckConstraint(is_one_of("status", NotificationStatus), name="status"),
        CheckConstraint(is_one_of("change", Change), name="change"),
        UniqueConstraint("incident_id", "change", "address"),
        Index("ix_notifications_unsent", "due_at", postgresql_where=text(is_one_of("status", UNSENT))),
    )
