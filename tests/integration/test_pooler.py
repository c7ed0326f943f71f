"""Behind a transaction pooler nothing stays on a server connection, and every transaction has its settings."""

import asyncio
import contextlib

import pytest
from sqlalchemy import text

from app.clock import SystemClock
from app.database_url import Pooler
from app.db import Database, DatabaseUnavailable, migrate
from app.db_connection import SESSION_SETTINGS
from app.sync.client import rate_limiter
from app.sync.client.rate_limiter import Priority, RateLimiter, RateLimits
from tests.support.clocks import manual_clock
from tests.support.pgbouncer import SERVER_CONNECTIONS, with_port

LIMITS = RateLimits(
    per_minute=30, max_concurrent=4, per_day=5000, pause_at=0.9, app_per_minute=9000, vendor_per_day=5000
)
SETTINGS = "SELECT lower(name) AS name, setting FROM pg_settings WHERE lower(name) = ANY(:names)"
LOOKS_PER_REPLICA = 12
# Less than the client's own timeout for a command, which would end the wait too.
FAR_TOO_LONG_SECONDS = 10


@contextlib.asynccontextmanager
async def open_replicas(pooled_dsn):
    """Yield the connection pools of two replicas."""
    async with contextlib.AsyncExitStack() as stack:
        both = [Database(pooled_dsn, pooler=Pooler.TRANSACTION) for _ in range(2)]
        for replica in both:
            stack.push_async_callback(replica.close)
        yield both


async def look(db, isolation_level):
    """Return the settings of a transaction, the prepared statements it finds, and the server connection it has."""
    async with db.transaction() as session:
        await session.connection(execution_options={"isolation_level": isolation_level})
        found = await session.execute(text(SETTINGS), {"names": list(SESSION_SETTINGS)})
        settings = {row.name: row.setting for row in found}
        statements = await session.scalar(text("SELECT count(*) FROM pg_prepared_statements"))
        return settings, statements, await session.scalar(text("SELECT pg_backend_pid()"))


@pytest.mark.parametrize("isolation_level", ["READ COMMITTED", "REPEATABLE READ"])
async def test_each_transaction_has_its_settings_on_any_connection_and_leaves_none_of_them(
    dsn, pooled_dsn, db, administrator, isolation_level
):
    database = dsn.partition("?")[0].rpartition("/")[2]
    administrator.execute(f"ALTER DATABASE {database} SET timezone = 'Asia/Tokyo'")
    async with open_replicas(pooled_dsn) as replicas:
        looks = [look(replica, isolation_level) for replica in replicas for _ in range(LOOKS_PER_REPLICA)]
        found = await asyncio.gather(*looks)
    pids = {pid for *_, pid in found}
    assert len(pids) <= SERVER_CONNECTIONS
    assert [(settings, statements) for settings, statements, _ in found] == [(SESSION_SETTINGS, 0)] * len(found)
    async with db.transaction() as session:
        names = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE pid = ANY(:pids)"
        assert (await session.scalars(text(names), {"pids": list(pids)})).all() == [""]


async def test_migrations_go_up_and_down(empty_dsn, pgbouncer):
    dsn = with_port(empty_dsn, pgbouncer)
    database = Database(dsn, pooler=Pooler.TRANSACTION)
    for revision, is_ready in (("head", True), ("base", False), ("head", True)):
        await asyncio.to_thread(migrate, dsn, revision, Pooler.TRANSACTION)
        assert await database.is_ready() == is_ready
    await database.close()


async def test_replicas_share_one_budget(dsn, pooled_dsn):
    async with manual_clock(dsn) as clock, open_replicas(pooled_dsn) as replicas:
        limiters = [RateLimiter(replica, clock, "xero", LIMITS) for replica in replicas]
        asked = [limiter.acquire("an organisation", Priority.INTERACTIVE) for limiter in limiters for _ in range(25)]
        # A permit's statement has no transaction, so other statements reach its server connection in between.
        looks = [look(replica, "READ COMMITTED") for replica in replicas for _ in range(25)]
        looking = asyncio.gather(*looks)
        permits = await asyncio.gather(*asked)
        await looking
    assert sum(permit.wait == 0 for permit in permits) == LIMITS.per_minute


async def test_a_permit_does_not_wait_for_a_lock_without_end(pooled_dsn, db, monkeypatch):
    monkeypatch.setattr(rate_limiter, "LOCK_TIMEOUT", "50ms")
    async with open_replicas(pooled_dsn) as [replica, _]:
        limiter = RateLimiter(replica, SystemClock(), "xero", LIMITS)
        await limiter.acquire("an organisation")
        async with db.transaction() as holder, asyncio.timeout(FAR_TOO_LONG_SECONDS):
            await holder.execute(text("SELECT FROM sync_budgets FOR UPDATE"))
            with pytest.raises(DatabaseUnavailable):
                await limiter.acquire("an organisation")
