"""The time of the running event loop under a test's control: what waits for a time waits for the test."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tests.support.waiting import TIMEOUT_SECONDS


class LoopTime:
    """The time that the running event loop's timers go by; it stands still until it is moved.

    Sockets, tasks and whatever runs in another process go on meanwhile. So nothing times out because the machine is
    slow, and everything times out at once when the test says so.
    """

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move the time; the timers that are due by then run in the next step of the event loop."""
        self._now += seconds

    async def wait_until(self, is_met: Callable[[], bool | Awaitable[bool]], what: str) -> None:
        """Let everything go on until a condition is met, which needs no time; see `tests.support.waiting`."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            answer = is_met()
            if answer if isinstance(answer, bool) else await answer:
                return
            assert time.monotonic() < deadline, f"waited {TIMEOUT_SECONDS} s until {what}"
            await asyncio.sleep(0)


@contextmanager
def stopped_loop_time() -> Iterator[LoopTime]:
    """Stop the time of the running event loop during the block; afterwards it goes on from the real one."""
    loop = asyncio.get_running_loop()
    stopped = LoopTime(loop.time())
    loop.time = stopped.now  # type: ignore[method-assign]
    try:
        yield stopped
    finally:
        del loop.time
