"""Leases: of all replicas, one works on an organisation; whoever lost it is told in the transaction it writes in.

Rows and the database's clock, no session locks: a transaction pooler may stand between, and a replica whose own clock
is wrong owns neither more nor less.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import ColumnElement, func, select, true, update
from sqlalchemy.dialects.postgresql import insert

from app.clock import Clock
from app.concurrency import cancel_and_wait
from app.db import APPLICATION_NAME, Database, DatabaseUnavailable, Session, terminate_stuck_transactions
from app.sync.tables import Lease

log = structlog.get_logger(__name__)


class LeaseLost(RuntimeError):
    """Another replica owns the organisation now; nothing of this transaction may be kept."""


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """How long a lease lasts without a heartbeat, and how often one is given; seconds."""

    ttl: float = 15
    heartbeat: float = 4


DEFAULT_TIMINGS = LeaseTimings()


@dataclass(frozen=True, slots=True)
class HeldLease:
    """An organisation this replica owns. `fencing_token` is higher than every owner's before."""

    vendor: str
    tenant_id: str
    owner: str
    fencing_token: int
    timings: LeaseTimings


async def claim_lease(
    session: Session, vendor: str, tenant_id: str, owner: str, timings: LeaseTimings
) -> HeldLease | None:
    """Become the owner, or return None while another's heartbeat is fresh or a transaction of another's is open.

    A process that stands still within a transaction holds its locks for as long as it does: stopped in the middle of a
    message it is not even idle, and no timeout of every supported PostgreSQL reaches it. So whoever finds the lease run
    out and still held ends what its owner has left open for as long as a lease lasts; the next look finds it free.
    """
    here = (Lease.vendor == vendor, Lease.tenant_id == tenant_id)
    fresh = {"owner": owner, "expires_at": func.wall_clock() + timedelta(seconds=timings.ttl)}
    expired = select(Lease.fencing_token).where(*here, Lease.expires_at <= func.wall_clock())
    # FOR UPDATE is what `guard` conflicts with: an owner in the middle of a page commits it first.
    if await session.scalar(expired.with_for_update(skip_locked=True)) is not None:
        taken = update(Lease).where(*here).values(**fresh, fencing_token=Lease.fencing_token + 1)
        token = await session.scalar(taken.returning(Lease.fencing_token))
    else:
        first = insert(Lease).values(vendor=vendor, tenant_id=tenant_id, fencing_token=1, **fresh)
        token = await session.scalar(first.on_conflict_do_nothing().returning(Lease.fencing_token))
    if token is not None:
        return HeldLease(vendor, tenant_id, owner, token, timings)
    if former := await session.scalar(select(Lease.owner).where(*here, Lease.expires_at <= func.wall_clock())):
        await terminate_stuck_transactions(session, _label(former), timings.ttl)
    return None


async def renew_lease(session: Session, held: HeldLease) -> bool:
    """Push the expiry on; False when another owner has come. An expired lease nobody took is still ours."""
    expires_at = func.wall_clock() + timedelta(seconds=held.timings.ttl)
    statement = update(Lease).where(*_ours(held)).values(expires_at=expires_at).returning(Lease.fencing_token)
    return await session.scalar(statement) is not None


async def release_lease(session: Session, held: HeldLease) -> None:
    """Hand it back, so that the next owner need not wait for it to expire."""
    await session.execute(update(Lease).where(*_ours(held)).values(expires_at=func.wall_clock(), owner=None))


async def lock_lease(session: Session, held: HeldLease) -> None:
    """Make sure, until this transaction ends, that the organisation is ours.

    The row is locked, by the weakest lock that whoever takes the lease over has to wait for: our own heartbeat does
    not, although page after page is being written. The transaction carries its owner's name, by which it can be ended.

    Raises:
        LeaseLost: another replica owns it now.
    """
    named = func.set_config("application_name", _label(held.owner), true())
    statement = select(named).where(*_ours(held)).with_for_update(read=True, key_share=True, of=Lease)
    if await session.scalar(statement) is None:
        raise LeaseLost(f"The organisation {held.tenant_id} has another owner now.")


def _label(owner: str) -> str:
    return f"{APPLICATION_NAME} {owner}"


def _ours(held: HeldLease) -> tuple[ColumnElement[bool], ...]:
    mine = (Lease.vendor == held.vendor, Lease.tenant_id == held.tenant_id)
    return (*mine, Lease.owner == held.owner, Lease.fencing_token == held.fencing_token)


LAST_RENEWAL_SECONDS = 2.0


class LeaseKeeper:
    """A lease kept alive. By our own monotonic clock it ends before anyone else may take it.

    Args:
        db: where the lease is.
        clock: waits between heartbeats.
        held: the lease.
        claimed_at: our monotonic time before it was claimed.
    """

    def __init__(self, db: Database, clock: Clock, held: HeldLease, claimed_at: float) -> None:
        self._db = db
        self._clock = clock
        self._held = held
        self._good_until = claimed_at + held.timings.ttl
        self._is_over = asyncio.Event()

    def ensure_held(self) -> None:
        """Make sure that a call may still be made; a process that was stopped for long learns here that it may not.

        Raises:
            LeaseLost: the lease has run out, or another owner has come.
        """
        if time.monotonic() >= self._good_until:
            raise LeaseLost(f"The lease of {self._held.tenant_id} has run out.")

    async def run_heartbeat(self) -> None:
        """Renew the lease until it is handed back, or another's."""
        while self._good_until and not await self._is_over_after(self._held.timings.heartbeat):
            began = time.monotonic()
            try:
                async with self._db.transaction() as session:
                    is_ours = await renew_lease(session, self._held)
            except DatabaseUnavailable as error:
                log.warning("heartbeat_missed", tenant_id=self._held.tenant_id, error=str(error))
                continue
            self._good_until = began + self._held.timings.ttl if is_ours else 0

    async def _is_over_after(self, seconds: float) -> bool:
        waits = [asyncio.create_task(self._is_over.wait()), asyncio.create_task(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(waits)
        return self._is_over.is_set()

    async def release(self, heart: asyncio.Task[None]) -> None:
        """End the heartbeat, between two beats if it can be, and the lease."""
        self._is_over.set()
        await asyncio.wait({heart}, timeout=LAST_RENEWAL_SECONDS)
        await cancel_and_wait([heart])
        try:
            async with self._db.transaction() as session:
                await release_lease(session, self._held)
        except DatabaseUnavailable as error:
            log.warning("lease_not_handed_back", tenant_id=self._held.tenant_id, error=str(error))


# Pages written at once by one replica; the pool has connections left for requests, heartbeats and the budget.
WRITERS = 4


class FencedDatabase:
    """One owner's way to the database.

    Args:
        db: the pool.
        held: the lease every transaction is made under.
        writers: shared by all owners of this replica.
    """

    def __init__(self, db: Database, held: HeldLease, writers: asyncio.Semaphore) -> None:
        self.db = db
        self.held = held
        self._writers = writers
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a short transaction that fails unless the organisation is still ours.

        Raises:
            LeaseLost: another replica owns it now.
            DatabaseUnavailable: the server is away, too busy, or a timeout passed.
        """
        async with self.db.transaction() as session:
            await lock_lease(session, self.held)
            yield session

    @asynccontextmanager
    async def write_transaction(self) -> AsyncIterator[Session]:
        """Open a transaction that writes billing rows; the organisation's other pages wait for it outside the pool.

        They would wait for each other within the database too, each then keeping a connection from everyone else.
        """
        async with self._turn, self._writers, self.transaction() as session:
            yield session
