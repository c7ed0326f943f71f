"""The heart of an ownership: beats while an organisation is worked on, and says when that must end."""

import asyncio
import time

import structlog

from app.clock import Clock
from app.db import Database, DatabaseUnavailable
from app.sync.ownership.leases import Held, LeaseLost, release_lease, renew_lease
from app.sync.tasks import end_tasks

log = structlog.get_logger(__name__)

LAST_BEAT_SECONDS = 2.0


class Ownership:
    """A lease kept alive. By our own monotonic clock it ends before anyone else may take it.

    Args:
        db: where the lease is.
        clock: waits between heartbeats.
        held: the lease.
        claimed_at: our monotonic time before it was claimed.
    """

    def __init__(self, db: Database, clock: Clock, held: Held, claimed_at: float) -> None:
        self._db = db
        self._clock = clock
        self._held = held
        self._good_until = claimed_at + held.terms.lasting
        self._is_over = asyncio.Event()

    def check(self) -> None:
        """Make sure that a call may still be made; a process that was stopped for long learns here that it may not.

        Raises:
            LeaseLost: the lease has run out, or another owner has come.
        """
        if time.monotonic() >= self._good_until:
            raise LeaseLost(f"The lease of {self._held.tenant_id} has run out.")

    async def beat(self) -> None:
        """Renew the lease until it is handed back, or another's."""
        while self._good_until and not await self._is_over_after(self._held.terms.heartbeat):
            began = time.monotonic()
            try:
                async with self._db.transaction() as session:
                    is_ours = await renew_lease(session, self._held)
            except DatabaseUnavailable as error:
                log.warning("heartbeat_missed", tenant_id=self._held.tenant_id, error=str(error))
                continue
            self._good_until = began + self._held.terms.lasting if is_ours else 0

    async def _is_over_after(self, seconds: float) -> bool:
        waits = [asyncio.create_task(self._is_over.wait()), asyncio.create_task(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks(waits)
        return self._is_over.is_set()

    async def hand_back(self, heart: asyncio.Task[None]) -> None:
        """End the heartbeat, between two beats if it can be, and the lease."""
        self._is_over.set()
        await asyncio.wait({heart}, timeout=LAST_BEAT_SECONDS)
        await end_tasks([heart])
        try:
            async with self._db.transaction() as session:
                await release_lease(session, self._held)
        except DatabaseUnavailable as error:
            log.warning("lease_not_handed_back", tenant_id=self._held.tenant_id, error=str(error))
