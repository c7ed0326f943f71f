"""The clock: code that reads the time or waits is given one, so that a test can control time."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of the current time, and a way to wait."""

    def now(self) -> datetime:
        """Return the current instant, timezone-aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds have passed on this clock."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
