"""Waits for a condition instead of for a time, so that a slow machine makes a test slow and not wrong."""

import asyncio
import time
from collections.abc import Awaitable, Callable

# No test expects a wait to last so long: it only ends one whose condition never comes true.
TIMEOUT_SECONDS = 90
POLL_SECONDS = 0.05


async def wait_until(is_met: Callable[[], Awaitable[object]], what: str) -> None:
    """Ask again and again until the answer is true.

    Args:
        is_met: the condition.
        what: the condition in words, for the message of the failure.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not await is_met():
        assert time.monotonic() < deadline, f"waited {TIMEOUT_SECONDS} s until {what}"
        await asyncio.sleep(POLL_SECONDS)
