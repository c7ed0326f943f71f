"""Time as a collaborator: whoever waits or asks for the hour is handed a clock."""

import asyncio
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """Return the instant, aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return once that many seconds have passed on this clock."""


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
