"""The time of the running event loop under a test's control: what waits for a time waits for the test."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class LoopTime:
    """The time that the running event loop's timers go by; it stands still until it is moved.

    Sockets, tasks and whatever runs in another process go on meanwhile. So nothing times out because the machine is
    slow, and everything times out at once when the test says so.
    """

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    async def advance(self, seconds: float) -> None:
        """Move the time, and return after the timers that are due by then."""
        self._now += seconds
        # The first step of the loop runs the timers, the second what they woke.
        for _ in range(2):
            await asyncio.sleep(0)


@contextmanager
def stopped_loop_time() -> Iterator[LoopTime]:
    """Stop the time of the running event loop during the block; afterwards it goes on from the real one."""
    loop = asyncio.get_running_loop()
    time = LoopTime(loop.time())
    loop.time = time.now  # type: ignore[method-assign]
    try:
        yield time
    finally:
        del loop.time
