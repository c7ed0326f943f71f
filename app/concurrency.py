"""Helpers for asyncio tasks."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks that are still running and wait until all have ended; results and exceptions are dropped."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def within(seconds: float, stopping: Awaitable[object], name: str) -> None:
    """Await the stopping of something; when it takes longer, cancel it and log its name."""
    try:
        async with asyncio.timeout(seconds):
            await stopping
    except TimeoutError:
        log.warning("not_stopped_in_time", name=name, seconds=seconds)


@dataclass(slots=True)
class _Round(Generic[Result]):
    """Those who wait for one call, and the task that makes it."""

    waiting: list[asyncio.Future[Result]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None


class Coalescer(Generic[Key, Result]):
    """Makes one call for everybody who asks the same in the same moment, that is before the call has begun.

    Nobody gets an answer that is older than the question, as from a cache.

    Args:
        call: called with what is asked and by how many; returns one result for each.
    """

    def __init__(self, call: Callable[[Key, int], Awaitable[Sequence[Result]]]) -> None:
        self._call = call
        self._open: dict[Key, _Round[Result]] = {}

    async def ask(self, key: Key) -> Result:
        """Return one result of the call; raise what it raises."""
        current = self._open.get(key)
        if current is None:
            current = self._open[key] = _Round()
            current.task = asyncio.create_task(self._answer(key, current))
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        current.waiting.append(answer)
        try:
            return await answer
        except asyncio.CancelledError:
            if current.task and not _still_waiting(current.waiting):
                self._forget(key, current)
                await cancel_and_wait([current.task])
            raise

    async def _answer(self, key: Key, current: _Round[Result]) -> None:
        # Whoever runs before this task goes on may still join.
        await asyncio.sleep(0)
        self._forget(key, current)
        try:
            results = await self._call(key, len(current.waiting))
        except Exception as error:  # noqa: BLE001 - it is raised by everybody who asked
            for answer in _still_waiting(current.waiting):
                answer.set_exception(error)
            return
        for answer, result in zip(current.waiting, results, strict=True):
            if not answer.done():
                answer.set_result(result)

    def _forget(self, key: Key, current: _Round[Result]) -> None:
        """Let whoever asks from now on begin another call."""
        if self._open.get(key) is current:
            del self._open[key]


def _still_waiting(answers: Iterable[asyncio.Future[Result]]) -> list[asyncio.Future[Result]]:
    return [answer for answer in answers if not answer.done()]
