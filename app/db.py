"""The database's door: engine, the one way to open a transaction, the table base, and the migrations."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import sqlalchemy.exc
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import (
    DateTime,
    MetaData,
    event,
    func,
    text,
)
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase

log = structlog.get_logger(__name__)

MIGRATIONS = Path(__file__).parents[1] / "migrations"
# What our connections are called in pg_stat_activity; an owner's transactions carry its name behind it.
APPLICATION_NAME = "vectis-xero"
SESSION_SETTINGS = {
    "application_name": APPLICATION_NAME,
    "timezone": "UTC",
    "statement_timeout": "15000",
    "lock_timeout": "4000",
    "idle_in_transaction_session_timeout": "30000",
    # A page's statement run five times while the tables are small gets a plan for small tables, and keeps it while a
    # first sync fills them: measured, its sixth run took 30 times the fifth. Planning anew costs a millisecond.
    "plan_cache_mode": "force_custom_plan",
}
# SQLSTATE classes that say "the server is not there for us now": connection trouble, operator intervention,
# too many connections, lock or statement timeouts, and deadlocks. The same work may succeed a moment later.
TRANSIENT_SQLSTATES = ("08", "57P", "53", "55P03", "57014", "25P03", "25P04", "40P01")


Session = AsyncSession


class DatabaseUnavailable(RuntimeError):
    """PostgreSQL did not answer, or not in time; nothing was written and the same call may be tried again."""


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Database:
    """A pool of connections and the transactions opened on them.

    Args:
        dsn: `postgresql+asyncpg://…`.
        pool_size: connections kept; as many again may be opened under load.
    """

    def __init__(self, dsn: str, pool_size: int = 8) -> None:
        self.engine = create_async_engine(
            dsn,
            hide_parameters=True,  # what a statement carried, such as a token, has no place in an error's text
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=3,
            pool_use_lifo=True,
            connect_args={"timeout": 3, "command_timeout": 20, "server_settings": SESSION_SETTINGS},
        )
        event.listen(self.engine.sync_engine, "handle_error", _recognise_lost_connection)
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Session]:
        """Open a transaction, commit it at the end of the block, roll it back on any exception.

        Raises:
            DatabaseUnavailable: the server is away, too busy, or a timeout passed.
        """
        try:
            async with self._sessions() as session, session.begin():
                yield session
        except (sqlalchemy.exc.DBAPIError, sqlalchemy.exc.TimeoutError, asyncpg.PostgresConnectionError) as error:
            if _is_passing(error):
                raise DatabaseUnavailable("PostgreSQL is not answering; the same call may be tried again.") from error
            raise
        except (OSError, asyncpg.InternalClientError) as error:
            # Refused, timed out, or a host name that resolves to nothing, as a stopped container's does.
            raise DatabaseUnavailable("PostgreSQL cannot be reached; the same call may be tried again.") from error

    async def is_ready(self) -> bool:
        """Say whether the server answers and carries the newest migration, or one that a newer version added."""
        async with self.transaction() as session:
            if await session.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                return False
            current = await session.scalar(text("SELECT version_num FROM alembic_version"))
        return current is not None and current >= newest_revision()

    async def close(self) -> None:
        await self.engine.dispose()


async def terminate_stuck_transactions(session: Session, name: str, seconds: float) -> int:
    """End connections of this name whose transaction has been open for so long; return how many were.

    PostgreSQL lets a role end its own connections. What such a transaction wrote is undone and its locks are free.
    """
    statement = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE :name"
        " AND datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        " AND xact_start < clock_timestamp() - make_interval(secs => :seconds)"
    )
    ended = (await session.execute(statement, {"name": name, "seconds": seconds})).all()
    if ended:
        log.warning("standing_transactions_ended", name=name, count=len(ended))
    return len(ended)


def migrate(dsn: str, revision: str = "head") -> None:
    """Bring the schema to a revision; blocking, and safe when two processes start it at once.

    Args:
        dsn: `postgresql+asyncpg://…`.
        revision: an Alembic revision; `base` takes everything down.

    Raises:
        DatabaseUnavailable: the server cannot be reached, or refuses us.
    """
    config = alembic_config(dsn)
    move = command.downgrade if revision == "base" or revision.startswith("-") else command.upgrade
    try:
        move(config, revision)
    except (OSError, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        raise DatabaseUnavailable(f"PostgreSQL cannot be used; check DATABASE_URL and the server: {error}.") from error


def alembic_config(dsn: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["dsn"] = dsn
    return config


def newest_revision() -> str:
    """Return the name of the newest migration file; the files are numbered, so names sort by age."""
    return max(path.name.split("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def _is_passing(error: Exception) -> bool:
    if isinstance(error, sqlalchemy.exc.DBAPIError):
        state = getattr(error.orig, "sqlstate", None) or ""
        return error.connection_invalidated or state.startswith(TRANSIENT_SQLSTATES) or _is_lost(error.orig)
    return True


def _is_lost(error: BaseException | None) -> bool:
    lost = (asyncpg.InternalClientError, asyncpg.InterfaceError, ConnectionError, TimeoutError)
    while error is not None:
        if isinstance(error, lost):
            return True
        error = error.__cause__
    return False


def _recognise_lost_connection(context: ExceptionContext) -> None:
    # asyncpg reports a vanished server as InternalClientError, which SQLAlchemy does not take for a
    # disconnect; left alone, the dead connection would go back to the pool.
    if isinstance(context.original_exception.__cause__ or context.original_exception, asyncpg.InternalClientError):
        context.is_disconnect = True


NEW_ID = func.gen_random_uuid()


Instant = DateTime(timezone=True)
