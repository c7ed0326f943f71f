"""Leases: of all replicas, one at a time works on a tenant, and a former owner cannot write any more.

A lease is a row with an expiry on the database's clock, not a session lock: a transaction pooler may stand between, and
a replica whose own clock is wrong neither gains nor loses by it. Every write transaction of an owner locks its lease
row and checks the fencing token (`FencedDatabase`), so that an owner that was suspended past its expiry writes nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlalchemy import func, select, text
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
# FOR UPDATE conflicts with the lock of `lock_lease`: an owner in the middle of a page commits it first.
CLAIM = text("""
UPDATE sync_leases AS lease SET
  owner = :owner, fencing_token = lease.fencing_token + 1,
  expires_at = wall_clock() + make_interval(secs => CAST(:ttl AS double precision))
FROM (SELECT vendor, tenant_id FROM sync_leases
      WHERE vendor = :vendor AND tenant_id = ANY (CAST(:tenant_ids AS text[])) AND expires_at <= wall_clock()
      FOR UPDATE SKIP LOCKED) AS free
WHERE lease.vendor = free.vendor AND lease.tenant_id = free.tenant_id
RETURNING lease.tenant_id, lease.fencing_token
""")
IS_HELD = "vendor = :vendor AND tenant_id = :tenant_id AND owner = :owner AND fencing_token = :fencing_token"
RENEW = text(f"""
UPDATE sync_leases SET expires_at = wall_clock() + make_interval(secs => CAST(:ttl AS double precision))
WHERE {IS_HELD} RETURNING fencing_token
""")  # noqa: S608 - the condition is a constant
RELEASE = text(f"UPDATE sync_leases SET expires_at = wall_clock(), owner = NULL WHERE {IS_HELD}")  # noqa: S608 - as above
LOCK = text(f"""
SELECT set_config('application_name', :application_name, true) FROM sync_leases WHERE {IS_HELD} FOR KEY SHARE
""")  # noqa: S608 - as above


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
    if claimed := await claim_free_leases(session, vendor, [tenant_id], owner, timings):
        return claimed[0]
    ownership = {"owner": owner, "expires_at": func.wall_clock() + timedelta(seconds=timings.ttl)}
    first = insert(Lease).values(vendor=vendor, tenant_id=tenant_id, fencing_token=1, **ownership)
    token = await session.scalar(first.on_conflict_do_nothing().returning(Lease.fencing_token))
    if token is not None:
        return HeldLease(vendor, tenant_id, owner, token, timings)
    row_key = (Lease.vendor == vendor, Lease.tenant_id == tenant_id)
    if former := await session.scalar(select(Lease.owner).where(*row_key, Lease.expires_at <= func.wall_clock())):
        await terminate_stuck_transactions(session, _application_name_of(former), timings.ttl)
    return None


async def claim_free_leases(
    session: Session, vendor: str, tenant_ids: Collection[str], owner: str, timings: LeaseTimings
) -> list[HeldLease]:
    """Take those of the tenants' leases that have expired or were released and are locked by no transaction."""
    values = {"vendor": vendor, "tenant_ids": list(tenant_ids), "owner": owner, "ttl": timings.ttl}
    rows = await session.execute(CLAIM, values)
    return [HeldLease(vendor, row.tenant_id, owner, row.fencing_token, timings) for row in rows]


async def renew_lease(session: Session, lease: HeldLease) -> bool:
    """Move the expiry forward; return False when another owner has come. An expired lease nobody took is still ours."""
    return await session.scalar(RENEW, {**_key_of(lease), "ttl": lease.timings.ttl}) is not None


async def release_lease(session: Session, lease: HeldLease) -> None:
    """End the lease now, so that the next owner need not wait for its expiry."""
    await session.execute(RELEASE, _key_of(lease))


async def lock_lease(session: Session, lease: HeldLease) -> None:
    """Make sure that this replica holds the lease until the transaction ends.

    The row gets the weakest lock that a claim has to wait for; our own renewals do not wait for it, although page after
    page is being written. The transaction carries its owner's application name, by which a claim can terminate it.

    Raises:
        LeaseLost: another replica owns the tenant now.
    """
    values = {**_key_of(lease), "application_name": _application_name_of(lease.owner)}
    if await session.scalar(LOCK, values) is None:
        raise LeaseLost(f"Another replica owns the tenant {lease.tenant_id} now.")


def _key_of(lease: HeldLease) -> dict[str, object]:
    return {
        "vendor": lease.vendor,
        "tenant_id": lease.tenant_id,
        "owner": lease.owner,
        "fencing_token": lease.fencing_token,
    }


def _application_name_of(owner: str) -> str:
    return f"{APPLICATION_NAME} {owner}"


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
