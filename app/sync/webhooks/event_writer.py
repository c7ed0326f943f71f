"""Stores the events of webhook deliveries: those of deliveries that wait together in one transaction.

A commit takes as long for a hundred events as for one, because it waits for the disk. While one transaction commits,
the deliveries that arrive wait, and the next transaction stores them all. A delivery is answered when its own events
are committed, never before.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from app.concurrency import cancel_and_wait
from app.connector import Notice
from app.db import DatabaseUnavailable

log = structlog.get_logger(__name__)

# The most deliveries that one transaction stores, so that none waits long for the others of its transaction.
MAX_DELIVERIES = 100
# How often it is looked for deliveries that have waited for too long: a timer for each would take longer than all else
# that is done here for a delivery.
LOOK_SECONDS = 0.1

TOO_LATE = "The events could not be stored in time; deliver them again."

Delivery = Sequence[Notice]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A delivery that is to be stored.

    Attributes:
        until: when it must be stored, on the event loop's clock.
        stored: how many of its events are new.
    """

    notices: Delivery
    until: float
    stored: asyncio.Future[int]


class EventWriter:
    """Stores deliveries, one transaction at a time.

    Args:
        write: stores deliveries in one transaction, and returns for each how many of its events are new.
        seconds: how long a delivery waits, for those before it and for its own transaction.
    """

    def __init__(self, write: Callable[[Sequence[Delivery]], Awaitable[Sequence[int]]], seconds: float) -> None:
        self._write = write
        self._seconds = seconds
        self._waiting: list[_Waiting] = []
        self._being_stored: Sequence[_Waiting] = ()
        self._writing: asyncio.Task[None] | None = None
        self._look: asyncio.TimerHandle | None = None

    async def store(self, notices: Delivery) -> int:
        """Return how many of a delivery's events are new, once they are committed.

        Raises:
            DatabaseUnavailable: they could not be stored, or not in time.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(notices, loop.time() + self._seconds, loop.create_future())
        self._waiting.append(waiting)
        if self._look is None:
            self._look = loop.call_later(LOOK_SECONDS, self._fail_late)
        if self._writing is None or self._writing.done():
            # The task outlives the request that starts it, whose deadline and log fields are not those of the others.
            context = contextvars.Context()
            self._writing = asyncio.create_task(self._write_all(), name="store webhook events", context=context)
        return await waiting.stored

    async def close(self) -> None:
        """End the transaction under way, when the process stops; deliveries that are not committed are not answered."""
        if self._look:
            self._look.cancel()
            self._look = None
        if self._writing:
            await cancel_and_wait([self._writing])

    def _fail_late(self) -> None:
        """Tell those that have waited for too long, and look again as long as there are others."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        unanswered = [one for one in (*self._being_stored, *self._waiting) if not one.stored.done()]
        _fail([one for one in unanswered if one.until <= now], DatabaseUnavailable(TOO_LATE))
        self._look = loop.call_later(LOOK_SECONDS, self._fail_late) if unanswered else None

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_DELIVERIES], self._waiting[MAX_DELIVERIES:]
                self._being_stored = [one for one in batch if not one.stored.done()]
                await self._write_batch(self._being_stored)
        finally:
            _cancel(self._waiting)
            self._waiting = []

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        """Store deliveries together or, if that fails for a fault in one of them, each in a transaction of its own."""
        if not batch:
            return
        try:
            [outcome] = await asyncio.gather(self._write([one.notices for one in batch]), return_exceptions=True)
            if not isinstance(outcome, BaseException):
                _answer(batch, outcome)
            elif len(batch) == 1 or isinstance(outcome, DatabaseUnavailable):
                _fail(batch, outcome)
            else:
                log.warning("deliveries_stored_singly", deliveries=len(batch), error=str(outcome))
                for one in batch:
                    await self._write_batch([one])
        finally:
            _cancel(batch)


def _answer(batch: Iterable[_Waiting], counts: Iterable[int]) -> None:
    for one, count in zip(batch, counts, strict=True):
        if not one.stored.done():
            one.stored.set_result(count)


def _fail(batch: Iterable[_Waiting], error: BaseException) -> None:
    for one in batch:
        if not one.stored.done():
            one.stored.set_exception(error)


def _cancel(batch: Iterable[_Waiting]) -> None:
    """End the wait of those that were not answered."""
    for one in batch:
        one.stored.cancel()
