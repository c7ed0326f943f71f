"""A deadline on the event loop's clock that is cheap to move."""

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls a function once an instant has passed, unless it was moved or cleared before.

    Moving a deadline to a later instant costs no more than an assignment, because the timer that is set already looks
    at the instant when it fires. A connection therefore has one timer, however many requests it carries.

    Args:
        loop: tells the time and sets the timer.
        expire: called when the instant has passed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Move the deadline to so many seconds from now."""
        self._at = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._at:
            self._set_timer(self._at)

    def clear(self) -> None:
        """Let nothing happen until the deadline is set again."""
        self._at = None

    def close(self) -> None:
        """Clear the deadline and its timer for good."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._at is None:
            return
        if self._loop.time() < self._at:
            self._set_timer(self._at)
            return
        self._at = None
        self._expire()
