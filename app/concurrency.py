"""Helpers for asyncio tasks."""

import asyncio
from collections.abc import Awaitable, Iterable
from typing import Any

import structlog

log = structlog.get_logger(__name__)


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
