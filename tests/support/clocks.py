"""Time that a test moves: the database's `wall_clock()` and the service's clock read one instant."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
from typing_extensions import override

from tests.support.postgres import for_asyncpg
from tests.support.service import QuickClock

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
READ_TABLE = (
    "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM driven_clock'"
)
ADD_SHIFT = (
    "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS"
    " 'SELECT clock_timestamp() + by FROM clock_shift'"
)
# Shorter waits are for other work; longer ones are for a limit to pass, and are skipped.
LONG_SECONDS = 10


class DrivenClock:
    """A clock that stands still until `move`; whoever sleeps on it moves it."""

    def __init__(self, connection):
        self._connection = connection
        self._now = START

    def now(self):
        return self._now

    async def sleep(self, seconds):
        await self.move(seconds)

    async def move(self, seconds):
        await self.move_to(self._now + timedelta(seconds=seconds))

    async def move_to(self, instant):
        if instant > self._now:
            self._now = instant
            await self._connection.execute("UPDATE driven_clock SET at = $1", instant)


@asynccontextmanager
async def drive(dsn, start=START):
    """Make the database of this DSN read a clock of the test's instead of its own."""
    connection = await asyncpg.connect(for_asyncpg(dsn))
    try:
        await connection.execute("CREATE UNLOGGED TABLE driven_clock (at timestamptz NOT NULL)")
        await connection.execute("INSERT INTO driven_clock VALUES ($1)", start)
        await connection.execute(READ_TABLE)
        clock = DrivenClock(connection)
        await clock.move_to(start)
        yield clock
    finally:
        await connection.close()


class ShiftedClock(QuickClock):
    """Real time and a shift that a test, or a long wait, makes greater."""

    def __init__(self, connection):
        self._connection = connection
        self._shift = timedelta(0)

    @override
    def now(self):
        return super().now() + self._shift

    @override
    async def sleep(self, seconds):
        if seconds < LONG_SECONDS:
            await super().sleep(seconds)
        else:
            await self.move_to(self.now() + timedelta(seconds=seconds))

    async def move(self, seconds):
        await self.move_to(self.now() + timedelta(seconds=seconds))

    async def move_to(self, instant):
        """Make it at least that late, so that many who wait for one instant move the clock once."""
        self._shift += max(instant - self.now(), timedelta(0))
        await self._connection.set(self._shift)


class _Shift:
    """The database's share of the shift, written by one at a time."""

    def __init__(self, connection):
        self._connection = connection
        self._lock = asyncio.Lock()

    async def set(self, shift):
        async with self._lock:
            await self._connection.execute("UPDATE clock_shift SET by = greatest(by, $1)", shift)


@asynccontextmanager
async def shift(dsn):
    """Let the database of this DSN and the service go by real time plus a shift."""
    connection = await asyncpg.connect(for_asyncpg(dsn))
    try:
        await connection.execute("CREATE UNLOGGED TABLE clock_shift (by interval NOT NULL)")
        await connection.execute("INSERT INTO clock_shift VALUES (interval '0')")
        await connection.execute(ADD_SHIFT)
        yield ShiftedClock(_Shift(connection))
    finally:
        await connection.close()
