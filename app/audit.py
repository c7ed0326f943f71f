"""The audit trail: who did what and when; entries are appended and never changed or deleted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Text, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import NEW_ID, Instant, Session, Table
from app.paging import NewestFirst, PagePosition, between


async def append_audit_entry(
    session: Session, actor: str, action: str, target: str, details: Mapping[str, object]
) -> None:
    """Append one entry in the caller's transaction, so that it is stored exactly when the action is.

    Args:
        session: the transaction of the action itself.
        actor: the subject of the access token, or `system`.
        action: snake_case, in the past tense.
        target: the id of what the action changed.
        details: JSON values; never a secret.
    """
    session.add(AuditEntry(actor=actor, action=action, target=target, details=dict(details)))
    await session.flush()


class AuditEntry(Table):
    """An entry of the audit trail.

    A trigger of the database rejects every UPDATE, DELETE and TRUNCATE. Only the table's owner could disable it, which
    the role that the service connects as need not be (`app.db.grant_to_service`).
    """

    __tablename__ = "audit_entries"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    at: Mapped[datetime] = mapped_column(Instant, server_default=func.now(), index=True)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))


ENTRY_ORDER = NewestFirst(AuditEntry.at, AuditEntry.id)


@dataclass(frozen=True, slots=True)
class EntryFilter:
    """Which entries are listed; None leaves a condition out, and both ends of the span are included."""

    action: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None


async def list_entries(
    session: Session, wanted: EntryFilter, after: PagePosition | None, limit: int
) -> Sequence[AuditEntry]:
    """Return the entries after a position, the newest first."""
    conditions = between(AuditEntry.at, wanted.since, wanted.until)
    if wanted.action is not None:
        conditions.append(AuditEntry.action == wanted.action)
    if wanted.actor is not None:
        conditions.append(AuditEntry.actor == wanted.actor)
    return (await session.scalars(ENTRY_ORDER.page_after(select(AuditEntry).where(*conditions), after, limit))).all()
