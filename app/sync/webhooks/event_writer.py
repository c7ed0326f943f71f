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

Delivery = Sequence[Notice]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A delivery that is to be stored, and the future of how many of its events are new."""

    notices: Delivery
    stored: asyncio.Future[int]


class EventWriter:
    """Stores deliveries, one transaction at a time.

    Args:
        write: stores deliveries in one transaction, and returns for each how many of its events are new.
    """

    def __init__(self, write: Callable[[Sequence[Delivery]], Awaitable[Sequence[int]]]) -> None:
        self._write = write
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def store(self, notices: Delivery) -> int:
        """Return how many of a delivery's events are new, once they are committed.

        Raises:
            DatabaseUnavailable: they could not be stored.
        """
        waiting = _Waiting(notices, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            # The task outlives the request that starts it, whose deadline and log fields are not those of the others.
            context = contextvars.Context()
            self._writing = asyncio.create_task(self._write_all(), name="store webhook events", context=context)
        return await waiting.stored

    async def close(self) -> None:
        """End the transaction under way, when the process stops; deliveries that are not committed are not answered."""
        if self._writing:
            await cancel_and_wait([self._writing])

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_DELIVERIES], self._waiting[MAX_DELIVERIES:]
                await self._write_batch([one for one in batch if not one.stored.done()])
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
