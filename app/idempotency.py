"""Mutations done once per Idempotency-Key: who may do the work, and the reply that is given again afterwards."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    delete,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Instant, Session, Table

WALL_CLOCK = text("wall_clock()")
IS_OLD = text("idempotent_requests.created_at < wall_clock() - interval '24 hours'")
# Longer than any request may take: a claim this old belongs to a replica that died.
IS_ABANDONED = text(
    "idempotent_requests.status IS NULL AND idempotent_requests.created_at < wall_clock() - interval '2 minutes'"
)


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A mutation as its caller named it; `request_hash` tells whether it is the same one."""

    key: str
    actor: str
    request_hash: str


@dataclass(frozen=True, slots=True)
class Claim:
    """Leave to do the work; `since` tells this claim from a later one."""

    request: RequestKey
    since: datetime


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a key that is taken; `status` and `reply_sealed` are None while the work goes on."""

    request_hash: str
    status: int | None
    reply_sealed: str | None


async def claim_request(session: Session, request: RequestKey) -> Claim | Kept:
    """Take the key unless it was taken within 24 hours; an abandoned claim may be taken over."""
    values = {"key": request.key, "actor": request.actor, "request_hash": request.request_hash}
    fresh = {"request_hash": request.request_hash, "status": None, "reply_sealed": None, "created_at": WALL_CLOCK}
    since = await session.scalar(
        insert(IdempotentRequest)
        .values(values)
        .on_conflict_do_update(index_elements=["key", "actor"], set_=fresh, where=or_(IS_OLD, IS_ABANDONED))
        .returning(IdempotentRequest.created_at)
    )
    if since is not None:
        return Claim(request, since)
    row = IdempotentRequest
    found = await session.execute(
        select(row.request_hash, row.status, row.reply_sealed).where(row.key == request.key, row.actor == request.actor)
    )
    kept = found.one_or_none()
    # Between the two statements the one who held it may have let it go: as good as at work still.
    return Kept(*kept) if kept else Kept(request.request_hash, None, None)


async def keep_reply(session: Session, claim: Claim, status: int, reply_sealed: str) -> None:
    """Keep the reply for whoever asks again; nothing is written when the claim was taken over meanwhile."""
    await session.execute(
        update(IdempotentRequest).where(_is_held(claim)).values(status=status, reply_sealed=reply_sealed)
    )


async def release_request(session: Session, claim: Claim) -> None:
    """Give the key back: nothing was done, so the same key may try again."""
    await session.execute(delete(IdempotentRequest).where(_is_held(claim)))


async def delete_expired(session: Session) -> None:
    """Drop what is older than 24 hours."""
    await session.execute(delete(IdempotentRequest).where(IS_OLD))


def _is_held(claim: Claim) -> ColumnElement[bool]:
    row = IdempotentRequest
    return and_(row.key == claim.request.key, row.actor == claim.request.actor, row.created_at == claim.since)


class IdempotentRequest(Table):
    """A mutation that carried an Idempotency-Key, and its answer, headers and body, once there is one."""

    __tablename__ = "idempotent_requests"

    key: Mapped[str] = mapped_column(Text, primary_key=True)
    actor: Mapped[str] = mapped_column(Text, primary_key=True)
    request_hash: Mapped[str] = mapped_column(Text)
    status: Mapped[int | None]
    reply_sealed: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=text("wall_clock()"), index=True)
