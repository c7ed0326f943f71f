"""When recurring work starts on this replica. Every replica runs the same jobs; the database picks who acts."""

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

MAX_TICK_CHECK = timedelta(seconds=2)
REFRESH_DERIVED_EVERY = timedelta(hours=1)
NOTIFY_EVERY = timedelta(seconds=15)
MAINTENANCE_EVERY = timedelta(minutes=10)
RESTART_WORKERS_EVERY = timedelta(seconds=5)
MAX_POLL_AGE_SECONDS = 90


class Scheduler:
    """Runs the worker of every engine and starts its ticks, reconciliations and maintenance.

    Args:
        engines: one per vendor.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._jobs = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})
        self._workers: dict[str, asyncio.Task[None]] = {}

    def start(self) -> None:
        """Start workers and jobs; needs a running event loop."""
        for engine in self._engines:
            self._start_worker(engine)
            self._schedule(min(MAX_TICK_CHECK, engine.interval), engine.tick, "tick")
            self._schedule(min(NOTIFY_EVERY, engine.interval), engine.notifier.run, "notify")
            self._schedule(MAINTENANCE_EVERY, engine.maintenance.run, "maintenance")
            self._schedule(MAINTENANCE_EVERY, engine.reconcile_nightly, "reconcile_nightly")
        if self._engines:
            self._schedule(REFRESH_DERIVED_EVERY, self._engines[0].maintenance.refresh_derived, "refresh_derived")
        self._jobs.add_job(self._restart_workers, "interval", seconds=RESTART_WORKERS_EVERY.total_seconds())
        self._jobs.start()

    async def stop(self) -> None:
        """Stop claiming work, cancel what is under way after its last whole page, and release every lease."""
        self._jobs.shutdown(wait=False)
        await cancel_and_wait(self._workers.values())

    def is_alive(self) -> bool:
        """Say whether every worker has polled for work lately."""
        now = time.monotonic()
        return all(now - engine.worker.last_poll_at < MAX_POLL_AGE_SECONDS for engine in self._engines)

    def _start_worker(self, engine: Engine) -> None:
        self._workers[engine.vendor] = asyncio.create_task(engine.worker.run(), name=f"{engine.vendor} worker")

    async def _restart_workers(self) -> None:
        """Start a new worker where one ended by a defect."""
        for engine in self._engines:
            worker = self._workers[engine.vendor]
            if worker.done():
                log.error(
                    "worker_ended", vendor=engine.vendor, exc_info=None if worker.cancelled() else worker.exception()
                )
                self._start_worker(engine)

    def _schedule(self, interval: timedelta, job: Callable[[], Awaitable[object]], name: str) -> None:
        async def run_job() -> None:
            try:
                await job()
            except DatabaseUnavailable as error:
                log.warning("job_deferred", job=name, error=str(error))
            except asyncio.CancelledError:
                # Only `stop` cancels a job. APScheduler would log its traceback as an error.
                log.info("job_stopped", job=name)

        self._jobs.add_job(run_job, "interval", seconds=interval.total_seconds(), name=name)
