"""Idempotency keys: a request claims its key, and its reply is kept for 24 hours for requests that repeat it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ColumnElement, Text, and_, delete, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Instant, Session, Table

WALL_CLOCK = text("wall_clock()")
KEPT_SINCE = "wall_clock() - interval '24 hours'"
IS_KEPT = text(f"idempotent_requests.created_at >= {KEPT_SINCE}")
IS_EXPIRED = text(f"idempotent_requests.created_at < {KEPT_SINCE}")
# No request may take that long, so the replica that made an open claim of this age has died.
IS_ABANDONED = text(
    "idempotent_requests.status IS NULL AND idempotent_requests.created_at < wall_clock() - interval '2 minutes'"
)


class IdempotentRequest(Table):
    """A request that carried an idempotency key: its claim and, once it has succeeded, its sealed reply."""

    __tablename__ = "idempotent_requests"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    actor: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    reply_sealed: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"), index=True)


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an idempotency key.

    Attributes:
        key: the idempotency key; every actor has keys of its own.
        actor: role and subject of the token, `{role}:{subject}`.
        request_hash: a hash of method, URL and body, to recognise a key that is reused for another request.
    """

    key: str
    actor: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to process a request; `claimed_at` distinguishes it from a later claim of the same key."""

    request: KeyedRequest
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class KeptReply:
    """The reply of an earlier request with the same key and hash."""

    reply_sealed: str


class ClaimRefusal(StrEnum):
    """Why a request may not be processed although no reply is kept for it; the values are problem codes of the API."""

    IN_PROGRESS = "idempotency_in_progress"
    KEY_REUSED = "idempotency_key_reused"


async def claim_key(session: Session, request: KeyedRequest) -> Claim | KeptReply | ClaimRefusal:
    """Claim a request's key unless it has been claimed within 24 hours; an abandoned claim is replaced."""
    values = {"key": request.key, "actor": request.actor, "request_hash": request.request_hash}
    renewed = {"request_hash": request.request_hash, "status": None, "reply_sealed": None, "created_at": WALL_CLOCK}
    claimed_at = await session.scalar(
        insert(IdempotentRequest)
        .values(values)
        .on_conflict_do_update(index_elements=["key", "actor"], set_=renewed, where=or_(IS_EXPIRED, IS_ABANDONED))
        .returning(IdempotentRequest.created_at)
    )
    if claimed_at is not None:
        return Claim(request, claimed_at)
    return await _find_reply(session, request)


async def keep_reply(session: Session, claim: Claim, status: int, reply_sealed: str) -> None:
    """Keep the reply for repeated requests; writes nothing when the claim has been replaced by a later one."""
    await session.execute(
        update(IdempotentRequest).where(_is_row_of(claim)).values(status=status, reply_sealed=reply_sealed)
    )


async def release_claim(session: Session, claim: Claim) -> None:
    """Delete the claim of a request that changed nothing, so that its key can be used again."""
    await session.execute(delete(IdempotentRequest).where(_is_row_of(claim)))


async def delete_expired(session: Session) -> None:
    """Delete claims and replies that are older than 24 hours."""
    await session.execute(delete(IdempotentRequest).where(IS_EXPIRED))


async def _find_reply(session: Session, request: KeyedRequest) -> KeptReply | ClaimRefusal:
    row = IdempotentRequest
    query = select(row.request_hash, row.reply_sealed).where(row.key == request.key, row.actor == request.actor)
    found = (await session.execute(query)).one_or_none()
    if found is None:
        # The claim was released after our own attempt to claim the key: the caller may try again.
        return ClaimRefusal.IN_PROGRESS
    if found.request_hash != request.request_hash:
        return ClaimRefusal.KEY_REUSED
    return ClaimRefusal.IN_PROGRESS if found.reply_sealed is None else KeptReply(found.reply_sealed)


def _is_row_of(claim: Claim) -> ColumnElement[bool]:
    row = IdempotentRequest
    return and_(row.key == claim.request.key, row.actor == claim.request.actor, row.created_at == claim.claimed_at)


def reply_associated_data(actor: str, key: str) -> str:
    """Return what a kept reply is bound to."""
    return f"idempotent_requests/{actor}/{key}/reply"
