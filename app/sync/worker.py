"""The worker: takes organisations that have something to do, owns each by a lease while it lasts, and hands it back."""

import asyncio
import time
from uuid import uuid4

import structlog

from app.concurrency import end_tasks
from app.db import DatabaseUnavailable
from app.sync import runs
from app.sync.leases import Terms, claim_lease
from app.sync.tenant_runner import Tools, serve

log = structlog.get_logger(__name__)

# Most of an owner's time is waiting for the vendor's limits, so many can be at work; `desk.WRITERS` bounds the rest.
AT_ONCE = 24
LOOK_SECONDS = 1.0


class Worker:
    """Works for one vendor on this replica; others do the same over the same database.

    Args:
        tools: what owners work with.
        terms: the leases'.

    Attributes:
        owner: who this replica is in the leases.
        looked_at: the monotonic time of the last look for work, a sign of life.
    """

    def __init__(self, tools: Tools, terms: Terms) -> None:
        self.owner = str(uuid4())
        self.looked_at = time.monotonic()
        self._tools = tools
        self._terms = terms
        self._nudge = asyncio.Event()
        self._serving: dict[str, asyncio.Task[None]] = {}

    def nudge(self) -> None:
        """Say that there may be something to do, so that it need not wait for the next look."""
        self._nudge.set()

    async def run(self) -> None:
        """Look for work until cancelled; then stop what is under way and hand every lease back."""
        try:
            while True:
                await self._look()
                self.looked_at = time.monotonic()
                await self._wait()
        finally:
            await self._stop()

    async def run_until_idle(self) -> None:
        """Work until nothing is left to do; for commands and tests."""
        try:
            while await self._look() or self._serving:
                await asyncio.wait(self._serving.values(), timeout=LOOK_SECONDS)
        finally:
            await self._stop()

    async def _look(self) -> int:
        """Start serving organisations that wait, as many as there is room for; return how many were started."""
        self._reap()
        room = AT_ONCE - len(self._serving)
        if room <= 0:
            return 0
        try:
            return await self._start(room)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=str(error))
            return 0

    def _reap(self) -> None:
        for tenant_id, task in list(self._serving.items()):
            if task.done():
                del self._serving[tenant_id]
                if not task.cancelled() and (defect := task.exception()):
                    log.error("serving_failed", tenant_id=tenant_id, exc_info=defect)

    async def _start(self, room: int) -> int:
        vendor = self._tools.connector.vendor
        async with self._tools.db.transaction() as session:
            waiting = await runs.tenants_with_work(session, vendor, room)
        started = 0
        for tenant_id in waiting:
            if tenant_id in self._serving:
                continue
            claimed_at = time.monotonic()
            async with self._tools.db.transaction() as session:
                held = await claim_lease(session, vendor, tenant_id, self.owner, self._terms)
            if held:
                serving = serve(self._tools, held, claimed_at)
                self._serving[tenant_id] = asyncio.create_task(serving, name=f"serve {tenant_id}")
                started += 1
        return started

    async def _wait(self) -> None:
        """Return at a nudge, when a place falls free, or after a second."""
        nudged = asyncio.create_task(self._nudge.wait())
        slept = asyncio.create_task(self._tools.clock.sleep(LOOK_SECONDS))
        try:
            await asyncio.wait({nudged, slept, *self._serving.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks((nudged, slept))
            self._nudge.clear()

    async def _stop(self) -> None:
        await end_tasks(self._serving.values())
        self._serving.clear()
