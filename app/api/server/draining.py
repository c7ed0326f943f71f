"""How a process stops serving: readiness fails first, requests are still answered, and only then the server stops."""

import asyncio
import contextlib
import signal
import threading
from types import FrameType

import structlog

log = structlog.get_logger(__name__)

# Between readiness failing and the server taking no new connection, in seconds: a load balancer needs a moment to send
# its requests elsewhere.
DRAIN_SECONDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Tells whether this process has been asked to stop."""

    def __init__(self) -> None:
        self._begun = asyncio.Event()

    @property
    def has_begun(self) -> bool:
        """Whether the process is about to stop: it is not ready, and what would go on for long should end."""
        return self._begun.is_set()

    def begin(self) -> None:
        self._begun.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Return True as soon as the drain has begun, or False after so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._begun.wait()
        return self.has_begun


class DrainingSignals:
    """Within its block, SIGTERM and SIGINT begin the drain, after which the server's own handlers get them.

    To be entered in the running event loop, after the server has set its handlers. A second SIGINT ends the drain at
    once, as a person who presses Ctrl-C again wants; a second SIGTERM does not, because the parent of several worker
    processes sends one too.

    Args:
        drain: what is begun.
        seconds: how long the drain lasts.
    """

    def __init__(self, drain: Drain, seconds: float = DRAIN_SECONDS) -> None:
        self._drain = drain
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._former = {number: signal.getsignal(number) for number in SIGNALS}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def __exit__(self, *_error: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._former.items():
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # The event loop may be waiting: this wakes it.
        self._loop.call_soon_threadsafe(self._begin, signal.Signals(number))

    def _begin(self, number: signal.Signals) -> None:
        if not self._drain.has_begun:
            log.info("drain_began", signal=number.name, seconds=self._seconds)
            self._drain.begin()
            self._loop.call_later(self._seconds, self._stop_server, number)
        elif number == signal.SIGINT:
            self._stop_server(number)

    def _stop_server(self, number: signal.Signals) -> None:
        if callable(handler := self._former[number]):
            handler(number, None)
