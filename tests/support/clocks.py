"""Clocks that a test moves; the service's clock and the database's `wall_clock()` tell the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
from typing_extensions import override

from tests.support.postgres import for_asyncpg
from tests.support.service import ShortWaitClock

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
# What `wall_clock()` is replaced with: the instant in a table, or real time plus the interval in a table.
READ_MANUAL_CLOCK = (
    "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM manual_clock'"
)
READ_SHIFTED_CLOCK = (
    "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
    " 'SELECT clock_timestamp() + by FROM clock_shift'"
)
# A shorter sleep waits for other work of the process; a longer one waits for a limit to pass and is skipped.
SKIPPED_SLEEP_SECONDS = 10


class ManualClock:
    """A clock that moves only by `advance`, `advance_to` and `sleep`, which returns at once.

    Args:
        statements: writes the instant to the database.
        start: the first instant.
    """

    def __init__(self, statements: "_Statements", start: datetime) -> None:
        self._statements = statements
        self._now = start

    def now(self) -> datetime:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.advance(seconds)

    async def advance(self, seconds: float) -> None:
        await self.advance_to(self._now + timedelta(seconds=seconds))

    async def advance_to(self, instant: datetime) -> None:
        """Move to an instant, unless it has passed."""
        if instant > self._now:
            self._now = instant
            await self._statements.execute("UPDATE manual_clock SET at = greatest(at, $1)", instant)


class FrozenClock(ShortWaitClock):
    """A clock that always tells the same instant, whose sleeps take a moment of real time.

    What waits for an instant to come goes on waiting, so that a test can show what need not wait.
    """

    def __init__(self, instant: datetime) -> None:
        self._instant = instant

    @override
    def now(self) -> datetime:
        return self._instant


class ShiftedClock(ShortWaitClock):
    """Tells real time plus a shift, which `advance` and every long sleep increase."""

    def __init__(self, statements: "_Statements") -> None:
        self._statements = statements
        self._shift = timedelta(0)

    @override
    def now(self) -> datetime:
        return super().now() + self._shift

    @override
    async def sleep(self, seconds: float) -> None:
        if seconds < SKIPPED_SLEEP_SECONDS:
            await super().sleep(seconds)
        else:
            await self.advance(seconds)

    async def advance(self, seconds: float) -> None:
        await self.advance_to(self.now() + timedelta(seconds=seconds))

    async def advance_to(self, instant: datetime) -> None:
        """Move to an instant, unless it has passed: many that sleep until the same one move the clock once."""
        self._shift += max(instant - self.now(), timedelta(0))
        await self._statements.execute("UPDATE clock_shift SET by = greatest(by, $1)", self._shift)


class _Statements:
    """Executes statements on one connection, one after the other although several tasks sleep at once."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._lock = asyncio.Lock()

    async def execute(self, statement: str, *values: object) -> None:
        async with self._lock:
            await self._connection.execute(statement, *values)


@asynccontextmanager
async def manual_clock(dsn: str, start: datetime = START) -> AsyncIterator[ManualClock]:
    """Replace the `wall_clock()` of this database by a clock that the test moves."""
    async with _replaced_wall_clock(dsn, start) as statements:
        yield ManualClock(statements, start)


@asynccontextmanager
async def frozen_clock(dsn: str) -> AsyncIterator[FrozenClock]:
    """Stop the `wall_clock()` of this database now."""
    instant = datetime.now(UTC)
    async with _replaced_wall_clock(dsn, instant):
        yield FrozenClock(instant)


@asynccontextmanager
async def shifted_clock(dsn: str) -> AsyncIterator[ShiftedClock]:
    """Let the `wall_clock()` of this database tell real time plus a shift."""
    async with _connected(dsn) as statements:
        await statements.execute("CREATE UNLOGGED TABLE clock_shift (by interval NOT NULL)")
        await statements.execute("INSERT INTO clock_shift VALUES (interval '0')")
        await statements.execute(READ_SHIFTED_CLOCK)
        yield ShiftedClock(statements)


@asynccontextmanager
async def _replaced_wall_clock(dsn: str, start: datetime) -> AsyncIterator[_Statements]:
    async with _connected(dsn) as statements:
        await statements.execute("CREATE UNLOGGED TABLE manual_clock (at timestamptz NOT NULL)")
        await statements.execute("INSERT INTO manual_clock VALUES ($1)", start)
        await statements.execute(READ_MANUAL_CLOCK)
        yield statements


@asynccontextmanager
async def _connected(dsn: str) -> AsyncIterator[_Statements]:
    connection = await asyncpg.connect(for_asyncpg(dsn))
    try:
        yield _Statements(connection)
    finally:
        await connection.close()
