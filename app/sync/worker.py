"""The worker: takes organisations that have something to do, owns each by a lease while it lasts, and hands it back."""

import asyncio
import time
from uuid import uuid4

import structlog

from app.concurrency import cancel_and_wait
from app.db import DatabaseUnavailable
from app.sync import runs
from app.sync.leases import LeaseTimings, claim_lease
from app.sync.tenant_runner import RunnerDependencies, run_tenant

log = structlog.get_logger(__name__)

# Most of an owner's time is waiting for the vendor's limits, so many can be at work; `desk.WRITERS` bounds the rest.
MAX_CONCURRENT_TENANTS = 24
POLL_SECONDS = 1.0


class Worker:
    """Works for one vendor on this replica; others do the same over the same database.

    Args:
        tools: what owners work with.
        terms: the leases'.

    Attributes:
        owner: who this replica is in the leases.
        looked_at: the monotonic time of the last look for work, a sign of life.
    """

    def __init__(self, tools: RunnerDependencies, timings: LeaseTimings) -> None:
        self.owner = str(uuid4())
        self.last_poll_at = time.monotonic()
        self._tools = tools
        self._terms = timings
        self._nudge = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Say that there may be something to do, so that it need not wait for the next look."""
        self._nudge.set()

    async def run(self) -> None:
        """Look for work until cancelled; then stop what is under way and hand every lease back."""
        try:
            while True:
                await self._poll()
                self.last_poll_at = time.monotonic()
                await self._wait()
        finally:
            await self._stop()

    async def run_until_idle(self) -> None:
        """Work until nothing is left to do; for commands and tests."""
        try:
            while await self._poll() or self._running:
                await asyncio.wait(self._running.values(), timeout=POLL_SECONDS)
        finally:
            await self._stop()

    async def _poll(self) -> int:
        """Start serving organisations that wait, as many as there is room for; return how many were started."""
        self._reap()
        room = MAX_CONCURRENT_TENANTS - len(self._running)
        if room <= 0:
            return 0
        try:
            return await self._start(room)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=str(error))
            return 0

    def _reap(self) -> None:
        for tenant_id, task in list(self._running.items()):
            if task.done():
                del self._running[tenant_id]
                if not task.cancelled() and (defect := task.exception()):
                    log.error("serving_failed", tenant_id=tenant_id, exc_info=defect)

    async def _start(self, room: int) -> int:
        vendor = self._tools.connector.vendor
        async with self._tools.db.transaction() as session:
            waiting = await runs.tenants_with_work(session, vendor, room)
        started = 0
        for tenant_id in waiting:
            if tenant_id in self._running:
                continue
            claimed_at = time.monotonic()
            async with self._tools.db.transaction() as session:
                held = await claim_lease(session, vendor, tenant_id, self.owner, self._terms)
            if held:
                serving = run_tenant(self._tools, held, claimed_at)
                self._running[tenant_id] = asyncio.create_task(serving, name=f"serve {tenant_id}")
                started += 1
        return started

    async def _wait(self) -> None:
        """Return at a nudge, when a place falls free, or after a second."""
        nudged = asyncio.create_task(self._nudge.wait())
        slept = asyncio.create_task(self._tools.clock.sleep(POLL_SECONDS))
        try:
            await asyncio.wait({nudged, slept, *self._running.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait((nudged, slept))
            self._nudge.clear()

    async def _stop(self) -> None:
        await cancel_and_wait(self._running.values())
        self._running.clear()
