"""The audit trail: who did what, kept for good; the table refuses every change."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import NEW_ID, Instant, Session, Table


async def append_audit_entry(
    session: Session, actor: str, action: str, target: str, details: Mapping[str, object]
) -> None:
    """Append one entry in the caller's transaction, so that it stands exactly when the deed does.

    Args:
        session: the transaction of the deed itself.
        actor: the subject of the token, or `system`.
        action: snake_case, in the past tense.
        target: what it was done to.
        details: JSON; never a secret.
    """
    session.add(AuditEntry(actor=actor, action=action, target=target, details=dict(details)))
    await session.flush()


class AuditEntry(Table):
    """Who did what, append-only: a trigger refuses every change."""

    __tablename__ = "audit_entries"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    target: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))
