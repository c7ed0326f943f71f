"""Connections to PostgreSQL: how they are made, directly or behind a transaction pooler, and how they are closed.

A transaction pooler such as PgBouncer gives a transaction a server connection that the next transaction may not get.
So nothing may be left on it: no prepared statement and no setting of the session. Everything a session would hold is
set within the transaction, in the message that begins it.
"""

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from typing_extensions import override

from app.compiled_statements import sharing
from app.database_url import Pooler, parse_database_url

# The application_name of our connections in pg_stat_activity. A transaction that runs under a lease appends the name
# of the lease's owner, so that it can be found and terminated when the lease is taken over.
APPLICATION_NAME = "vectis-xero"
SESSION_SETTINGS = {
    "application_name": APPLICATION_NAME,
    "timezone": "UTC",
    "statement_timeout": "15000",
    "lock_timeout": "4000",
    "idle_in_transaction_session_timeout": "30000",
    # With plan_cache_mode = auto, a prepared statement may switch to a generic plan at its sixth execution. During a
    # first sync that plan is made for nearly empty tables and is kept while they fill: measured, the sixth execution
    # of a page's statement took 30 times the fifth. Planning each execution costs about a millisecond.
    "plan_cache_mode": "force_custom_plan",
}
TRANSACTION_SETTINGS = "".join(f" SET LOCAL {name} = '{value}';" for name, value in SESSION_SETTINGS.items())
# A migration that cannot get a lock for so long fails: while it waits, everybody who needs the table queues behind it.
MIGRATION_LOCK_MILLISECONDS = 4000
CONNECT_SECONDS, POOL_SECONDS, COMMAND_SECONDS = 3, 3, 20
# A server that does not even answer to a rollback or a goodbye is not waited for: the connection is dropped.
ROLLBACK_SECONDS, CLOSE_SECONDS = 1.0, 0.3


class BoundedConnection(asyncpg.Connection):
    """A connection that is never waited for long when it is given back or closed.

    asyncpg cancels a statement over a second connection and waits for it before the next message. A server that has
    fallen silent does not answer there either, so each such wait would last as long as a whole statement may.
    """

    @override
    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        if query.startswith("ROLLBACK;"):
            async with asyncio.timeout(ROLLBACK_SECONDS):
                return await super().execute(query, *args, timeout=timeout)
        return await super().execute(query, *args, timeout=timeout)

    @override
    async def close(self, *, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await super().close(timeout=timeout)
        except TimeoutError:
            self.terminate()


class PooledConnection(BoundedConnection):
    """A connection behind a transaction pooler: each transaction begins with the settings of `SESSION_SETTINGS`."""

    @override
    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
        is_begin = query.startswith("BEGIN") and not args
        return await super().execute(query + TRANSACTION_SETTINGS if is_begin else query, *args, timeout=timeout)


def make_engine(dsn: str, pooler: Pooler, pool_size: int, pool_seconds: float = POOL_SECONDS) -> AsyncEngine:
    """Make the engine of the service, whose transactions have the settings of `SESSION_SETTINGS`.

    Args:
        dsn: as `parse_database_url` reads it.
        pooler: what stands in between.
        pool_size: the number of connections kept open; as many again may be opened under load.
        pool_seconds: how long a connection is waited for while all are in use.
    """
    arguments: dict[str, Any] = {"timeout": CONNECT_SECONDS, "command_timeout": COMMAND_SECONDS}
    if pooler is Pooler.TRANSACTION:
        arguments["connection_class"] = PooledConnection
    else:
        arguments |= {"connection_class": BoundedConnection, "server_settings": SESSION_SETTINGS}
    pool = {"pool_size": pool_size, "max_overflow": pool_size, "pool_timeout": pool_seconds, "pool_use_lifo": True}
    return _create_engine(dsn, pooler, arguments, pool)


def make_migration_engine(dsn: str, pooler: Pooler) -> AsyncEngine:
    """Make the engine of the migrations, whose statements may take long; they set their own timeouts."""
    return _create_engine(dsn, pooler, {"timeout": CONNECT_SECONDS}, {"poolclass": NullPool})


def _create_engine(dsn: str, pooler: Pooler, arguments: dict[str, Any], pool: dict[str, Any]) -> AsyncEngine:
    address = parse_database_url(dsn)
    if address.tls is not None:
        arguments["ssl"] = address.tls
    if pooler is Pooler.TRANSACTION:
        arguments |= _without_prepared_statements()
    # An error's text must not contain a statement's values, which may be tokens.
    return create_async_engine(sharing(address.url), hide_parameters=True, connect_args=arguments, **pool)


def _without_prepared_statements() -> dict[str, Any]:
    """Return what makes asyncpg and SQLAlchemy leave no prepared statement on the server.

    An unnamed statement is parsed again in the message group that executes it, so even a statement outside a
    transaction, whose two message groups may reach two servers, finds itself.
    """
    return {"statement_cache_size": 0, "prepared_statement_cache_size": 0, "prepared_statement_name_func": lambda: ""}
