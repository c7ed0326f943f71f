"""Time that a test moves: the database's `wall_clock()` and the service's clock read one instant."""

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg

from tests.postgres import for_asyncpg

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
READ_TABLE = (
    "CREATE OR REPLACE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT at FROM driven_clock'"
)


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
