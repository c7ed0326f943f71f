"""How many requests of each kind are processed at once, so that many of one kind cannot slow down the others."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import NoReturn

from app.api.auth import is_protected
from app.api.errors import Problem
from app.concurrency import cancel_and_wait

DELIVERIES_PREFIX = "/api/webhooks/"
HEALTH_PREFIX = "/health/"
READING_METHODS = frozenset({"GET", "HEAD"})
RETRY_AFTER = {"Retry-After": "2"}


class ClientDisconnected(Exception):
    """The client of a waiting request has disconnected; nobody would read the response."""


class ConcurrencyLimit:
    """Lets so many requests be processed at once; the others wait, in the order in which they came.

    A request is refused when none before it was answered for a while, so that a database that is silent is told soon.
    While requests are answered it may wait for much longer: on a slow machine the answer comes late, but it comes.

    Args:
        requests: how many.
        stalled_seconds: how long a request waits at most while none is answered.
        longest_seconds: how long it waits at most.
        begun_at_once: how many begin at most in one step of the event loop.
    """

    def __init__(
        self, requests: int, stalled_seconds: float, longest_seconds: float, *, begun_at_once: int = 1
    ) -> None:
        self._free = requests
        self._stalled_seconds = stalled_seconds
        self._longest_seconds = longest_seconds
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._begun_at_once = begun_at_once
        self._begun_in_step = 0
        self._answered_at = float("-inf")

    async def enter(self, watch_client: Callable[[], Awaitable[NoReturn]]) -> float:
        """Return when the request may be processed; `leave` must follow.

        Args:
            watch_client: raises `ClientDisconnected` as soon as the client has; called when the request must wait.

        Returns:
            The seconds at the end of the wait in which no request was answered.

        Raises:
            ClientDisconnected: while it waited.
            Problem: `overloaded`, when it has waited for too long.
        """
        entered_at = asyncio.get_running_loop().time()
        if self._free:
            self._free -= 1
        else:
            await self._wait(entered_at, watch_client)
        try:
            await self._wait_for_step()
        except asyncio.CancelledError:
            self.leave(is_answered=False)
            raise
        return asyncio.get_running_loop().time() - max(entered_at, self._answered_at)

    def leave(self, *, is_answered: bool) -> None:
        """Let the next request in; `is_answered`: this one was answered, and not with a failure of the service."""
        if is_answered:
            self._answered_at = asyncio.get_running_loop().time()
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    async def _wait_for_step(self) -> None:
        """Return in a step of the event loop in which the request may begin.

        Many a request never waits for anything once it is let in. So few of a kind begin in each step; otherwise all of
        them would be processed before the loop turns to another kind.
        """
        while self._begun_in_step >= self._begun_at_once:  # noqa: ASYNC110 - the next step is no event
            await asyncio.sleep(0)
        if not self._begun_in_step:
            asyncio.get_running_loop().call_soon(self._begin_step)
        self._begun_in_step += 1

    def _begin_step(self) -> None:
        self._begun_in_step = 0

    async def _wait(self, since: float, watch_client: Callable[[], Awaitable[NoReturn]]) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        watching = asyncio.ensure_future(watch_client())
        try:
            while not turn.done():
                await asyncio.wait({turn, watching}, timeout=self._patience(since), return_when="FIRST_COMPLETED")
                if watching.done():
                    watching.result()
        except BaseException:
            self._give_up(turn)
            raise
        finally:
            await cancel_and_wait([watching])

    def _patience(self, since: float) -> float:
        """Return for how many more seconds a request waits that has waited since this instant."""
        ends_at = min(since + self._longest_seconds, max(since, self._answered_at) + self._stalled_seconds)
        now = asyncio.get_running_loop().time()
        if now < ends_at:
            return ends_at - now
        detail = f"The request waited for {now - since:.0f} seconds behind others and was not begun; send it again."
        raise Problem("overloaded", detail, headers=RETRY_AFTER)

    def _give_up(self, turn: "asyncio.Future[None]") -> None:
        if turn.done():
            self.leave(is_answered=False)
        else:
            self._waiting.remove(turn)


@dataclass(frozen=True)
class ConcurrencyLimits:
    """The limits of one process.

    All requests share one thread, which each of them keeps busy for milliseconds: the time a request needs grows with
    the number of those in progress beside it. More of them at once would not make any faster.

    The API's requests together need no more connections than the database's pool has. How long each kind may wait
    leaves a request that is let in enough of its time to learn that the database is silent (`DeadlineMiddleware`).

    Attributes:
        reads: requests with a valid token that change nothing.
        writes: requests with a valid token that may; some wait for a vendor, which must not keep reads waiting.
        deliveries: webhook deliveries, of which many are stored in one transaction. Their vendor waits a few seconds
            for the answer. Each is processed within a fraction of a millisecond before it waits for the database.
        other: the console's files, the documentation, metrics, and consents that come back.
    """

    reads: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(10, 3, 20))
    writes: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(6, 3, 20))
    deliveries: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(64, 1.5, 3, begun_at_once=8))
    other: ConcurrencyLimit = field(default_factory=lambda: ConcurrencyLimit(10, 3, 20))
    _refusing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def of_request(self, method: str, path: str) -> ConcurrencyLimit | None:
        """Return the limit of such requests; None for health checks, which are answered beside everything."""
        if path.startswith(HEALTH_PREFIX):
            return None
        if path.startswith(DELIVERIES_PREFIX):
            return self.deliveries
        if not is_protected(path):
            return self.other
        return self.reads if method in READING_METHODS else self.writes

    async def take_turn_to_refuse(self) -> None:
        """Return when a request without a valid token may be refused: one in each step of the event loop."""
        async with self._refusing:
            await asyncio.sleep(0)
