"""When things happen on this replica, and never what: every replica runs the same, and the database decides."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from app.concurrency import cancel_and_wait
from app.db import DatabaseUnavailable
from app.sync.engine import Engine

log = structlog.get_logger(__name__)

LONGEST_LOOK = timedelta(seconds=2)
ALERTS_EVERY = timedelta(hours=1)
MAINTENANCE_EVERY = timedelta(minutes=10)
WATCH_EVERY = timedelta(seconds=5)
SILENT_SECONDS = 90


class Scheduler:
    """Ticks, workers and upkeep of every engine.

    Args:
        engines: one per vendor.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._jobs = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        self._workers: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Begin; needs a running event loop."""
        for engine in self._engines:
            self._employ(engine)
            self._every(min(LONGEST_LOOK, engine.plan.interval), engine.tick, "tick")
            self._every(MAINTENANCE_EVERY, engine.run_maintenance, "maintenance")
            self._every(MAINTENANCE_EVERY, engine.reconcile_nightly, "reconcile_nightly")
        if self._engines:
            self._every(ALERTS_EVERY, self._engines[0].refresh_alerts, "refresh_alerts")
        self._jobs.add_job(self._watch, "interval", seconds=WATCH_EVERY.total_seconds())
        self._jobs.start()

    async def stop(self) -> None:
        """Stop claiming work, drop what is under way at its last whole page, and hand every lease back."""
        self._jobs.shutdown(wait=False)
        await cancel_and_wait(self._workers.values())

    def is_alive(self) -> bool:
        """Say whether every worker has looked for work lately."""
        now = time.monotonic()
        return all(now - engine.worker.last_poll_at < SILENT_SECONDS for engine in self._engines)

    def _employ(self, engine: Engine) -> None:
        self._workers[engine.vendor] = asyncio.create_task(engine.worker.run(), name=f"{engine.vendor} worker")

    async def _watch(self) -> None:
        """Put another worker in the place of one that ended by a defect."""
        for engine in self._engines:
            worker = self._workers[engine.vendor]
            if worker.done():
                log.error(
                    "worker_ended", vendor=engine.vendor, exc_info=None if worker.cancelled() else worker.exception()
                )
                self._employ(engine)

    def _every(self, interval: timedelta, act: Callable[[], Awaitable[object]], name: str) -> None:
        async def act_safely() -> None:
            try:
                await act()
            except DatabaseUnavailable as error:
                log.warning("job_put_off", job=name, error=str(error))

        self._jobs.add_job(act_safely, "interval", seconds=interval.total_seconds(), name=name)
