"""The worker: finds tenants that have work, claims the lease of each, and runs a `TenantRunner` for it."""

import asyncio
import time
from collections.abc import Sequence
from uuid import uuid4

import structlog

from app.concurrency import cancel_and_wait
from app.db import DatabaseUnavailable
from app.sync import runs
from app.sync.leases import HeldLease, LeaseTimings, claim_free_leases, claim_lease
from app.sync.run_execution import RunnerDependencies
from app.sync.tenant_runner import TenantRunner

log = structlog.get_logger(__name__)

# Runners mostly wait for the vendor's limits, so many may run; `MAX_CONCURRENT_WRITES` bounds their use of the pool.
MAX_CONCURRENT_TENANTS = 24
POLL_SECONDS = 1.0


class Worker:
    """Works for one vendor on this replica; the workers of other replicas share the work through the database.

    Args:
        dependencies: what runners need.
        timings: of the leases.

    Attributes:
        owner: the id of this worker in the leases.
        last_poll_at: the monotonic time of the last poll, a sign of life.
    """

    def __init__(self, dependencies: RunnerDependencies, timings: LeaseTimings) -> None:
        self.owner = str(uuid4())
        self.last_poll_at = time.monotonic()
        self._dependencies = dependencies
        self._timings = timings
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Poll at once, because there may be new work."""
        self._wake.set()

    async def run(self) -> None:
        """Poll for work until cancelled; then cancel the runners, which release their leases."""
        try:
            while True:
                await self._poll()
                self.last_poll_at = time.monotonic()
                await self._wait()
        finally:
            await self._stop()

    async def run_until_idle(self) -> None:
        """Work until no work is left; for commands and tests."""
        try:
            while await self._poll() or self._running:
                await asyncio.wait(self._running.values(), timeout=POLL_SECONDS)
        finally:
            await self._stop()

    async def _poll(self) -> int:
        """Start runners for tenants that have work, up to the maximum; return how many were started."""
        self._remove_finished()
        capacity = MAX_CONCURRENT_TENANTS - len(self._running)
        if capacity <= 0:
            return 0
        try:
            return await self._start_runners(capacity)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=str(error))
            return 0

    def _remove_finished(self) -> None:
        for tenant_id, task in list(self._running.items()):
            if task.done():
                del self._running[tenant_id]
                if not task.cancelled() and (defect := task.exception()):
                    log.error("tenant_runner_failed", tenant_id=tenant_id, exc_info=defect)

    async def _start_runners(self, capacity: int) -> int:
        vendor, db = self._dependencies.connector.vendor, self._dependencies.db
        async with db.transaction() as session:
            waiting = await runs.tenants_with_work(session, vendor, capacity)
        waiting = [tenant_id for tenant_id in waiting if tenant_id not in self._running]
        return await self._claim_free(waiting) + await self._claim_others(waiting) if waiting else 0

    async def _claim_free(self, tenant_ids: Sequence[str]) -> int:
        """Claim the leases that are free by one statement, and start a runner for each; return how many."""
        vendor, db, claimed_at = self._dependencies.connector.vendor, self._dependencies.db, time.monotonic()
        async with db.transaction() as session:
            leases = await claim_free_leases(session, vendor, tenant_ids, self.owner, self._timings)
        for lease in leases:
            self._start_runner(lease, claimed_at)
        return len(leases)

    async def _claim_others(self, tenant_ids: Sequence[str]) -> int:
        """Claim the leases that are new or may be stuck one by one, and start a runner for each; return how many."""
        vendor, db = self._dependencies.connector.vendor, self._dependencies.db
        started = 0
        for tenant_id in tenant_ids:
            if tenant_id in self._running:
                continue
            claimed_at = time.monotonic()
            async with db.transaction() as session:
                lease = await claim_lease(session, vendor, tenant_id, self.owner, self._timings)
            if lease:
                self._start_runner(lease, claimed_at)
                started += 1
        return started

    def _start_runner(self, lease: HeldLease, claimed_at: float) -> None:
        runner = TenantRunner(self._dependencies, lease, claimed_at)
        self._running[lease.tenant_id] = asyncio.create_task(runner.run(), name=f"tenant {lease.tenant_id}")

    async def _wait(self) -> None:
        """Return when woken, when a runner ends, or after a second."""
        woken = asyncio.create_task(self._wake.wait())
        slept = asyncio.create_task(self._dependencies.clock.sleep(POLL_SECONDS))
        try:
            await asyncio.wait({woken, slept, *self._running.values()}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait((woken, slept))
            self._wake.clear()

    async def _stop(self) -> None:
        await cancel_and_wait(self._running.values())
        self._running.clear()
