"""What every row is measured with: the size, and the one PostgreSQL."""

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from bench.database import DatabaseServer
from bench.environment import LocalService, run_service
from bench.pretend_xero import PretendXero
from bench.seed import seed
from bench.sizes import Sizes


@dataclass(frozen=True, slots=True)
class Bench:
    """The size of this run and its PostgreSQL."""

    sizes: Sizes
    postgres: DatabaseServer
    _seeded: dict[int, str] = field(default_factory=dict)
    _resources: AsyncExitStack = field(default_factory=AsyncExitStack)

    @asynccontextmanager
    async def fresh_service(self, xero: PretendXero, **settings: object) -> AsyncIterator[tuple[LocalService, str]]:
        """Yield a service in this process on a database of its own, and that database's DSN."""
        async with self.postgres.database() as dsn, self.service_on(dsn, xero, **settings) as service:
            yield service, dsn

    def service_on(self, dsn: str, xero: PretendXero, **settings: object) -> AbstractAsyncContextManager[LocalService]:
        """Return a service in this process on this database, as a context manager."""
        return run_service(dsn, xero.url, **settings)

    async def seeded_database(self, invoices: int) -> str:
        """Return the DSN of a database with so many invoices, which is made at the first call and kept for all rows."""
        if invoices not in self._seeded:
            tell(f"seeding {invoices:,} invoices")
            dsn = await self._resources.enter_async_context(self.postgres.database())
            await seed(dsn, invoices)
            self._seeded[invoices] = dsn
        return self._seeded[invoices]

    async def aclose(self) -> None:
        """Drop the databases that were kept."""
        await self._resources.aclose()


def tell(message: str) -> None:
    """Say on standard error what is being done, so that the table alone is on standard output."""
    print(f"  {message}", file=sys.stderr, flush=True)  # noqa: T201 - people wait for it
