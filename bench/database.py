"""One PostgreSQL for all benchmarks, as durable as in production, with a freshly migrated database for each of them."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from app.db import migrate
from app.embedded_postgres import EmbeddedPostgres
from bench.processes import parent_of

TEMPLATE = "bench_template"
END_SECONDS, POLL_SECONDS = 30.0, 0.01
COUNT_OTHER_CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
SUM_WRITTEN_ROWS = """
    SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables WHERE relname ~ $1
"""


@dataclass
class DatabaseServer:
    """A running PostgreSQL.

    Attributes:
        dsn: of a superuser, as the service takes it.
        postmaster: the id of its first process; None where the system does not tell.
        template: the name of a database with every migration.
    """

    dsn: str
    postmaster: int | None
    template: str = TEMPLATE
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Yield the DSN of a new database with every migration, and drop it afterwards."""
        name = f"bench_{next(self._numbers)}"
        await self._execute(f"CREATE DATABASE {name} TEMPLATE {self.template}")
        try:
            yield with_database(self.dsn, name)
        finally:
            await self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def make_template(self) -> None:
        """Make the database that all others are copies of."""
        await self._execute(f"CREATE DATABASE {self.template}")
        await asyncio.to_thread(migrate, with_database(self.dsn, self.template))

    async def _execute(self, statement: str) -> None:
        async with connect(self.dsn) as connection:
            await connection.execute(statement)


@asynccontextmanager
async def run_postgres() -> AsyncIterator[DatabaseServer]:
    """Run a PostgreSQL with the settings of the embedded one until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        with EmbeddedPostgres(Path(folder)) as embedded:
            dsn = embedded.start()
            async with connect(dsn) as connection:
                postmaster = parent_of(await connection.fetchval("SELECT pg_backend_pid()"))
            server = DatabaseServer(dsn, postmaster)
            await server.make_template()
            yield server


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """Connect with asyncpg alone, as a baseline does."""
    connection = await asyncpg.connect(plain_dsn(dsn), ssl=False)
    try:
        yield connection
    finally:
        await connection.close()


def plain_dsn(dsn: str) -> str:
    """Return a DSN of the service's form as libpq, asyncpg and psycopg take it."""
    parts = urlsplit(dsn)
    return urlunsplit(("postgresql", parts.netloc, parts.path, "", ""))


def with_database(dsn: str, name: str) -> str:
    """Return the DSN of another database of the same server."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


async def count_written_rows(dsn: str, name_pattern: str) -> int:
    """Return how many rows were inserted, updated or deleted in the tables whose names match a regular expression.

    PostgreSQL counts what a connection did when that has ended; close the service's connections before.

    Raises:
        TimeoutError: other connections did not end.
    """
    async with connect(dsn) as connection, asyncio.timeout(END_SECONDS):
        while await connection.fetchval(COUNT_OTHER_CONNECTIONS):  # noqa: ASYNC110 - a database has no event to wait for
            await asyncio.sleep(POLL_SECONDS)
        return int(await connection.fetchval(SUM_WRITTEN_ROWS, name_pattern))
