"""The database: connection pool and transactions, the base class and column types of the tables, and migrations."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, cast

import asyncpg
import sqlalchemy.exc
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import AsyncAdaptedQueuePool, DateTime, MetaData, event, func, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase

from app.database_url import Pooler
from app.db_connection import POOL_SECONDS, make_engine
from app.db_deadline import bound_by_deadline, has_deadline_passed, record_answer

log = structlog.get_logger(__name__)

# Connections kept open; as many again may be opened under load.
POOL_SIZE = 8

MIGRATIONS = Path(__file__).parents[1] / "migrations"
# SQLSTATE prefixes of a server that lets nobody in, or not us: connection exceptions (08), operator intervention (57P),
# insufficient resources (53), a user or password it refuses (28), a database it does not have (3D).
UNUSABLE_SQLSTATES = ("08", "57P", "53", "28", "3D")
LOCK_NOT_AVAILABLE = "55P03"
# Those, and lock and statement timeouts, transaction timeouts, and deadlocks: the same work may succeed later.
TRANSIENT_SQLSTATES = (*UNUSABLE_SQLSTATES, LOCK_NOT_AVAILABLE, "57014", "25P03", "25P04", "40P01")
MIGRATION_LOCKED_OUT = (
    "The migration changed nothing, because a table it changes was in use by a transaction that did not end; the "
    "service goes on as before. Migrate again, when no long transaction such as a backup is under way."
)

# What the role that the service connects as may do; it neither owns nor creates anything. Identity columns need no
# privilege on their sequences, and functions need one only where a database was hardened to give none to everybody.
SERVICE_PRIVILEGES = (
    "GRANT USAGE ON SCHEMA public",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public",
    "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public",
)

Session = AsyncSession
# The server default of a generated primary key, and the type of a column that holds an instant.
NEW_ID = func.gen_random_uuid()
Instant = DateTime(timezone=True)


class DatabaseUnavailable(RuntimeError):
    """PostgreSQL did not answer, or not in time; the same call may be tried again.

    Nothing was committed, unless the missing answer is the one to COMMIT.
    """


class UnusableRole(RuntimeError):
    """The service cannot be given this role; the message says why."""


class Table(DeclarativeBase):
    """The base class of every table model; names constraints the same way as the migrations do."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def is_one_of(column: str, values: Iterable[StrEnum]) -> str:
    """Return the SQL condition that a column holds one of these values."""
    return f"{column} IN ({', '.join(repr(value.value) for value in values)})"


class PoolConnections(NamedTuple):
    """The number of a pool's connections: those in use, all that are open, and the most there may be."""

    in_use: int
    open: int
    limit: int


class Database:
    """A pool of connections and the transactions opened on them.

    Args:
        dsn: `postgresql+asyncpg://…`, as `parse_database_url` reads it.
        pool_size: the number of connections kept open; as many again may be opened under load.
        pooler: what stands between the service and PostgreSQL.
        pool_seconds: how long a connection is waited for while all are in use.
    """

    def __init__(
        self,
        dsn: str,
        pool_size: int = POOL_SIZE,
        pooler: Pooler = Pooler.NONE,
        pool_seconds: float = POOL_SECONDS,
    ) -> None:
        self.engine = make_engine(dsn, pooler, pool_size, pool_seconds)
        self._limit = 2 * pool_size
        event.listen(self.engine.sync_engine, "handle_error", _mark_as_disconnect)
        event.listen(self.engine.sync_engine, "after_cursor_execute", _record_answer)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a transaction, commit it at the end of the block, and roll it back on any exception.

        Raises:
            DatabaseUnavailable: the server cannot be reached or is overloaded, or a timeout expired; within a request
                (`answers_within`), also because its deadline has passed.
        """
        try:
            async with bound_by_deadline(), self._sessions() as session, session.begin():
                yield session
        except (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, asyncpg.PostgresConnectionError) as error:
            if _is_transient(error):
                raise DatabaseUnavailable("PostgreSQL is not answering; the same call may be tried again.") from error
            raise
        except (OSError, asyncpg.InternalClientError) as error:
            # The connection was refused or timed out, or the host name does not resolve, as a stopped container's.
            raise DatabaseUnavailable("PostgreSQL cannot be reached; the same call may be tried again.") from error

    async def is_ready(self) -> bool:
        """Return whether the server answers and its schema is at this version's newest migration or a later one."""
        async with self.transaction() as session:
            if await session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                return False
            revision = await session.scalar(text("SELECT version_num FROM alembic_version"))
        return revision is not None and revision >= newest_revision()

    def count_connections(self) -> PoolConnections:
        """Return how many connections the pool has; one that is being opened counts as in use."""
        pool = cast("AsyncAdaptedQueuePool", self.engine.pool)
        return PoolConnections(pool.checkedout(), pool.checkedin() + pool.checkedout(), self._limit)

    def watch_connections(self, notice: Callable[[], None]) -> None:
        """Call a function whenever the number of the pool's connections may have changed."""

        def notice_soon(*_: object) -> None:
            # The pool counts a connection that is given back only after its event. One that is collected as garbage
            # may be given back when no event loop runs any more, and then nobody asks for the number either.
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(notice)

        for name in ("checkout", "checkin", "close"):
            event.listen(self.engine.sync_engine, name, notice_soon)

    async def close(self) -> None:
        await self.engine.dispose()


async def terminate_stuck_transactions(session: Session, name_pattern: str, seconds: float) -> int:
    """Terminate connections whose transaction has been open for longer than `seconds`.

    PostgreSQL lets a role terminate its own connections. The terminated transactions are rolled back and release their
    locks.

    Args:
        session: an open transaction; its own connection is never terminated.
        name_pattern: a LIKE pattern of the `application_name` of the connections to look at.
        seconds: how long a transaction may be open.

    Returns:
        The number of connections that were terminated.
    """
    statement = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE :name_pattern"
        " AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        " AND xact_start < clock_timestamp() - make_interval(secs => :seconds)"
    )
    terminated = (await session.execute(statement, {"name_pattern": name_pattern, "seconds": seconds})).all()
    if terminated:
        log.warning("stuck_transactions_terminated", name_pattern=name_pattern, count=len(terminated))
    return len(terminated)


async def grant_to_service(db: Database, role: str, append_only: Sequence[str]) -> None:
    """Let the role that the service connects as read and write every table, and alter none.

    To be repeated after each migration, which may have created tables.

    Args:
        db: connected as the role that migrates and owns the tables.
        role: the service's role.
        append_only: the tables in which the role may not change or delete rows.

    Raises:
        UnusableRole: there is no such role, or it is the one that migrates, which may alter everything.
    """
    name = db.engine.dialect.identifier_preparer.quote_identifier(role)
    async with db.transaction() as session:
        is_other = await session.scalar(
            text("SELECT rolname <> current_user FROM pg_roles WHERE rolname = :r"), {"r": role}
        )
        if not is_other:
            reason = (
                "does not exist; create it first" if is_other is None else "owns the tables; give the service another"
            )
            raise UnusableRole(f"the role {role} {reason}.")
        for statement in SERVICE_PRIVILEGES:
            await session.execute(text(f"{statement} TO {name}"))
        for table in append_only:
            await session.execute(text(f"REVOKE UPDATE, DELETE, TRUNCATE, TRIGGER ON {table} FROM {name}"))
        await session.execute(text(f"REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {name}"))


def migrate(dsn: str, revision: str = "head", pooler: Pooler = Pooler.NONE) -> None:
    """Migrate the schema to a revision. Blocks; an advisory lock makes concurrent calls of two processes safe.

    Args:
        dsn: `postgresql+asyncpg://…`, as `parse_database_url` reads it.
        revision: an Alembic revision; `base` removes every table.
        pooler: what stands between the service and PostgreSQL.

    Raises:
        DatabaseUnavailable: the server cannot be reached, or refuses the user or the database; or a table was in use
            for too long. Nothing was changed then.
    """
    config = alembic_config(dsn, pooler)
    change_schema = command.downgrade if revision == "base" or revision.startswith("-") else command.upgrade
    try:
        change_schema(config, revision)
    except (OSError, sqlalchemy.exc.DBAPIError) as error:
        cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        if _sqlstate(cause) == LOCK_NOT_AVAILABLE:
            raise DatabaseUnavailable(MIGRATION_LOCKED_OUT) from error
        if not isinstance(cause, OSError) and not _sqlstate(cause).startswith(UNUSABLE_SQLSTATES):
            raise
        raise DatabaseUnavailable(f"PostgreSQL cannot be used; check DATABASE_URL and the server: {cause}.") from error


def alembic_config(dsn: str, pooler: Pooler = Pooler.NONE) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes |= {"dsn": dsn, "pooler": pooler}
    return config


def newest_revision() -> str:
    """Return the revision of the newest migration file. The file names begin with their number, so they sort by age."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _is_transient(error: Exception) -> bool:
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        is_transient = _sqlstate(error.orig).startswith(TRANSIENT_SQLSTATES)
        return error.connection_invalidated or is_transient or _is_connection_loss(error.orig)
    return True


def _sqlstate(error: BaseException | None) -> str:
    return getattr(error, "sqlstate", None) or ""


def _is_connection_loss(error: BaseException | None) -> bool:
    """Return whether the error, or one of its causes, says that the connection to the server was lost."""
    losses = (asyncpg.InternalClientError, asyncpg.InterfaceError, ConnectionError, TimeoutError)
    while error is not None:
        if isinstance(error, losses):
            return True
        error = error.__cause__
    return False


def _record_answer(*_: object) -> None:
    record_answer()


def _mark_as_disconnect(context: ExceptionContext) -> None:
    # asyncpg reports a server that vanished as InternalClientError, which SQLAlchemy does not recognise as a
    # disconnect: without this listener the dead connection would be returned to the pool.
    if isinstance(context.original_exception.__cause__ or context.original_exception, asyncpg.InternalClientError):
        context.is_disconnect = True
    # Where one connection has fallen silent, so have the others. Replacing them all costs less than finding out one
    # by one, a deadline each.
    if has_deadline_passed():
        context.is_disconnect = context.invalidate_pool_on_disconnect = True
