"""How long a request waits for the database's next answer, so that a server that falls silent stops no caller."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token

# What is left for the rest of a request after an answer did not come, such as giving up its idempotency key.
SECONDS_AFTER_SILENCE = 0.2


class AnswerDeadline:
    """The longest silence of the database that a request waits through, over all of its transactions.

    Every answer begins the time anew: a request of many statements may take longer than one of them. It holds for the
    transactions that its task opens in its block.

    Args:
        seconds: from one answer to the next; getting a connection counts too.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._silent_seconds = 0.0
        self._is_silent = False
        self._token: Token[AnswerDeadline | None] | None = None

    def __enter__(self) -> None:
        self._token = _deadline.set(self)

    def __exit__(self, *_error: object) -> None:
        if self._token:
            _deadline.reset(self._token)

    @asynccontextmanager
    async def bound(self) -> AsyncIterator[None]:
        """Cancel the block when the time is over.

        Raises:
            TimeoutError: no answer came in time.
        """
        try:
            async with asyncio.timeout(self._seconds_left()) as timeout:
                token = _timeout.set((self, timeout))
                try:
                    yield
                finally:
                    _timeout.reset(token)
        except (TimeoutError, asyncio.CancelledError):
            self._is_silent = True
            raise

    def count_silence(self, seconds: float) -> None:
        """Take so many seconds, in which the database answered nobody, from the time until its first answer."""
        self._silent_seconds = seconds

    def extend(self, timeout: asyncio.Timeout) -> None:
        """Begin the time anew, because the database has answered."""
        self._is_silent, self._silent_seconds = False, 0.0
        if not timeout.expired():
            timeout.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def _seconds_left(self) -> float:
        return SECONDS_AFTER_SILENCE if self._is_silent else self._seconds - self._silent_seconds


_deadline: ContextVar[AnswerDeadline | None] = ContextVar("deadline", default=None)
_timeout: ContextVar[tuple[AnswerDeadline, asyncio.Timeout] | None] = ContextVar("timeout", default=None)


def answers_within(seconds: float) -> AnswerDeadline:
    """Let every transaction that this task opens in the block wait at most so long for an answer."""
    return AnswerDeadline(seconds)


def count_silence(seconds: float) -> None:
    """Count so many seconds, in which this task waited and the database answered nobody, towards its deadline."""
    if deadline := _deadline.get():
        deadline.count_silence(seconds)


@asynccontextmanager
async def bound_by_deadline() -> AsyncIterator[None]:
    """Bound the block by the present deadline, if there is one; work in the background has none.

    Raises:
        TimeoutError: no answer came in time.
    """
    deadline = _deadline.get()
    if deadline is None:
        yield
    else:
        async with deadline.bound():
            yield


def record_answer() -> None:
    """Begin the time of the present transaction anew, because the database has answered."""
    if found := _timeout.get():
        deadline, timeout = found
        deadline.extend(timeout)


def has_deadline_passed() -> bool:
    """Return whether the present transaction was cancelled because the database did not answer in time."""
    found = _timeout.get()
    return found is not None and found[1].expired()
