"""Leases: of all replicas, one at a time works on a tenant, and a former owner cannot write any more.

A lease is a row with an expiry on the database's clock, not a session lock: a transaction pooler may stand between, and
a replica whose own clock is wrong neither gains nor loses by it. Every write transaction of an owner locks its lease
row and checks the fencing token (`FencedDatabase`), so that an owner that was suspended past its expiry writes nothing.
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
from app.db import Database, DatabaseUnavailable, Session, terminate_stuck_transactions
from app.db_connection import APPLICATION_NAME
from app.sync.tables import Lease

log = structlog.get_logger(__name__)

LAST_RENEWAL_SECONDS = 2.0
# Pages written at the same time by one replica. The pool has connections left for requests, heartbeats and permits.
MAX_CONCURRENT_WRITES = 4


class LeaseLost(RuntimeError):
    """Another replica owns the tenant now; nothing of this transaction may be committed."""


@dataclass(frozen=True, slots=True)
class LeaseTimings:
    """How long a lease lasts without a renewal (`ttl`) and how often it is renewed (`heartbeat`), in seconds."""

    ttl: float = 15
    heartbeat: float = 4


DEFAULT_TIMINGS = LeaseTimings()


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease this replica holds. `fencing_token` is higher than that of every owner before."""

    vendor: str
    tenant_id: str
    owner: str
    fencing_token: int
    timings: LeaseTimings


async def claim_lease(
    session: Session, vendor: str, tenant_id: str, owner: str, timings: LeaseTimings
) -> HeldLease | None:
    """Take the tenant's lease; return None while another owner's is valid or one of its transactions is open.

    A process that is suspended within a transaction keeps its locks: stopped in the middle of a protocol message it
    does not even count as idle, and no timeout of every supported PostgreSQL ends it. So a replica that finds the lease
    expired but its row still locked terminates the former owner's transactions that are older than a lease lasts; the
    next poll finds the lease free.
    """
    row_key = (Lease.vendor == vendor, Lease.tenant_id == tenant_id)
    ownership = {"owner": owner, "expires_at": func.wall_clock() + timedelta(seconds=timings.ttl)}
    expired = select(Lease.fencing_token).where(*row_key, Lease.expires_at <= func.wall_clock())
    # FOR UPDATE conflicts with the lock of `lock_lease`: an owner in the middle of a page commits it first.
    if await session.scalar(expired.with_for_update(skip_locked=True)) is not None:
        takeover = update(Lease).where(*row_key).values(**ownership, fencing_token=Lease.fencing_token + 1)
        token = await session.scalar(takeover.returning(Lease.fencing_token))
    else:
        first = insert(Lease).values(vendor=vendor, tenant_id=tenant_id, fencing_token=1, **ownership)
        token = await session.scalar(first.on_conflict_do_nothing().returning(Lease.fencing_token))
    if token is not None:
        return HeldLease(vendor, tenant_id, owner, token, timings)
    if former := await session.scalar(select(Lease.owner).where(*row_key, Lease.expires_at <= func.wall_clock())):
        await terminate_stuck_transactions(session, _application_name_of(former), timings.ttl)
    return None


async def renew_lease(session: Session, lease: HeldLease) -> bool:
    """Move the expiry forward; return False when another owner has come. An expired lease nobody took is still ours."""
    expires_at = func.wall_clock() + timedelta(seconds=lease.timings.ttl)
    statement = update(Lease).where(*_is_held(lease)).values(expires_at=expires_at).returning(Lease.fencing_token)
    return await session.scalar(statement) is not None


async def release_lease(session: Session, lease: HeldLease) -> None:
    """End the lease now, so that the next owner need not wait for its expiry."""
    await session.execute(update(Lease).where(*_is_held(lease)).values(expires_at=func.wall_clock(), owner=None))


async def lock_lease(session: Session, lease: HeldLease) -> None:
    """Make sure that this replica holds the lease until the transaction ends.

    The row gets the weakest lock that a claim has to wait for; our own renewals do not wait for it, although page after
    page is being written. The transaction carries its owner's application name, by which a claim can terminate it.

    Raises:
        LeaseLost: another replica owns the tenant now.
    """
    set_name = func.set_config("application_name", _application_name_of(lease.owner), true())
    statement = select(set_name).where(*_is_held(lease)).with_for_update(read=True, key_share=True, of=Lease)
    if await session.scalar(statement) is None:
        raise LeaseLost(f"Another replica owns the tenant {lease.tenant_id} now.")


def _application_name_of(owner: str) -> str:
    return f"{APPLICATION_NAME} {owner}"


def _is_held(lease: HeldLease) -> tuple[ColumnElement[bool], ...]:
    row_key = (Lease.vendor == lease.vendor, Lease.tenant_id == lease.tenant_id)
    return (*row_key, Lease.owner == lease.owner, Lease.fencing_token == lease.fencing_token)


class LeaseKeeper:
    """Renews a lease while its tenant is being synced. By our monotonic clock it expires before anyone may claim it.

    Args:
        db: the database the lease is in.
        clock: waits between renewals.
        lease: the lease to renew.
        claimed_at: our monotonic time in seconds, read before the lease was claimed.
    """

    def __init__(self, db: Database, clock: Clock, lease: HeldLease, claimed_at: float) -> None:
        self._db = db
        self._clock = clock
        self._lease = lease
        self._valid_until = claimed_at + lease.timings.ttl
        self._is_ending = asyncio.Event()

    def ensure_held(self) -> None:
        """Check, before a call to the vendor, that the lease is still valid by our own clock.

        Raises:
            LeaseLost: the lease has expired, or another owner has come.
        """
        if time.monotonic() >= self._valid_until:
            raise LeaseLost(f"The lease of the tenant {self._lease.tenant_id} has expired.")

    async def run_heartbeat(self) -> None:
        """Renew the lease until `release` is called or another replica owns it."""
        while self._valid_until and not await self._is_ending_within(self._lease.timings.heartbeat):
            started_at = time.monotonic()
            try:
                async with self._db.transaction() as session:
                    is_renewed = await renew_lease(session, self._lease)
            except DatabaseUnavailable as error:
                log.warning("lease_renewal_failed", tenant_id=self._lease.tenant_id, error=str(error))
                continue
            self._valid_until = started_at + self._lease.timings.ttl if is_renewed else 0

    async def _is_ending_within(self, seconds: float) -> bool:
        waits = [asyncio.create_task(self._is_ending.wait()), asyncio.create_task(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(waits)
        return self._is_ending.is_set()

    async def release(self, heartbeat: asyncio.Task[None]) -> None:
        """End the heartbeat, letting a renewal under way finish, and then the lease.

        Args:
            heartbeat: the task that runs `run_heartbeat`.
        """
        self._is_ending.set()
        await asyncio.wait({heartbeat}, timeout=LAST_RENEWAL_SECONDS)
        await cancel_and_wait([heartbeat])
        try:
            async with self._db.transaction() as session:
                await release_lease(session, self._lease)
        except DatabaseUnavailable as error:
            log.warning("lease_not_released", tenant_id=self._lease.tenant_id, error=str(error))


class FencedDatabase:
    """Opens transactions that fail unless the lease is still held.

    Args:
        db: the connection pool.
        lease: the lease every transaction checks.
        write_slots: limits how many pages this replica writes at the same time; shared by all its tenants.
    """

    def __init__(self, db: Database, lease: HeldLease, write_slots: asyncio.Semaphore) -> None:
        self.lease = lease
        self._db = db
        self._write_slots = write_slots
        self._write_lock = asyncio.Lock()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a short transaction under the fencing token.

        Raises:
            LeaseLost: another replica owns the tenant now.
            DatabaseUnavailable: the server is away or too busy, or a timeout passed.
        """
        async with self._db.transaction() as session:
            await lock_lease(session, self.lease)
            yield session

    @asynccontextmanager
    async def write_transaction(self) -> AsyncIterator[Session]:
        """Open a transaction that writes billing rows, one at a time per tenant.

        Pages of one tenant lock the same rows. Waiting here rather than in the database keeps pool connections free.
        """
        async with self._write_lock, self._write_slots, self.transaction() as session:
            yield session
