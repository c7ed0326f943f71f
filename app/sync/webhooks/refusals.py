"""Counts refused webhook deliveries in memory, and writes the counts once a second: a flood of them costs no rows."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from app.concurrency import cancel_and_wait
from app.db import DatabaseUnavailable

log = structlog.get_logger(__name__)

WRITE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RefusalCounts:
    """Refused deliveries; `mismatches` are those whose signature is well formed but fits no key."""

    refused: int = 0
    mismatches: int = 0

    def plus(self, other: "RefusalCounts") -> "RefusalCounts":
        return RefusalCounts(self.refused + other.refused, self.mismatches + other.mismatches)


class RefusalCounter:
    """The refused deliveries of one vendor on this replica.

    The first one is written before it is answered, so that it is shown at once; those of the next second are written
    together. What cannot be written is kept and written with the next.

    Args:
        write: writes counts; raises `DatabaseUnavailable` or TimeoutError.
        now: returns a monotonic time in seconds.
    """

    def __init__(
        self, write: Callable[[RefusalCounts], Awaitable[None]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._now = now
        self._unwritten = RefusalCounts()
        self._written_at = -math.inf
        # The wait until the next write, and the write that it ended with.
        self._waiting: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    async def add(self, *, is_mismatch: bool) -> None:
        """Count one delivery."""
        self._unwritten = self._unwritten.plus(RefusalCounts(1, int(is_mismatch)))
        if self._waiting and not self._waiting.done():
            # Also when it is late: a write of its own would be a second one within the second.
            return
        remaining = self._written_at + WRITE_SECONDS - self._now()
        if remaining <= 0:
            await self.flush()
        else:
            self._waiting = asyncio.create_task(self._flush_after(remaining), name="wait with refused deliveries")

    async def flush(self) -> None:
        """Write what has been counted since the last time."""
        self._written_at = self._now()
        counts, self._unwritten = self._unwritten, RefusalCounts()
        if not counts.refused:
            return
        log.info("deliveries_refused", refused=counts.refused, mismatches=counts.mismatches)
        try:
            await self._write(counts)
        except (DatabaseUnavailable, TimeoutError) as error:
            self._unwritten = self._unwritten.plus(counts)
            log.warning("refusals_not_written", error=str(error))

    async def close(self) -> None:
        """Write what is left, when the process stops; a write under way is waited for, so that no count is lost."""
        if self._waiting:
            await cancel_and_wait([self._waiting])
        if self._writing:
            await self._writing
        await self.flush()

    async def _flush_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        # In a task of its own, because `close` ends only the wait.
        self._writing = asyncio.create_task(self.flush(), name="write refused deliveries")
