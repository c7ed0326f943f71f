"""Compiled SQL statements that all pools of a process share.

SQLAlchemy keeps what it compiled per engine. A process has several, one per pool, that execute the same statements, and
compiling a statement such as that of a page takes longer than executing it.
"""

from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.util import LRUCache
from typing_extensions import override

# More than the service has; a statement whose text depends on its parameters is compiled once per text.
MAX_STATEMENTS = 3000


class SharingDialect(PGDialect_asyncpg):
    """asyncpg's dialect, whose engines share compiled statements: all of them speak to the same PostgreSQL.

    A compiled statement is found by the statement and the dialect, so all dialects are equal.
    """

    supports_statement_cache = True
    _compiled: LRUCache[Any, Any] = LRUCache(MAX_STATEMENTS)

    @classmethod
    @override
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=cls._compiled)

    @override
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    @override
    def __hash__(self) -> int:
        return hash(type(self))


registry.register("postgresql.asyncpg_sharing", __name__, SharingDialect.__name__)


def sharing(address: URL) -> URL:
    """Return the address of a database, for an engine that shares its compiled statements."""
    return address.set(drivername="postgresql+asyncpg_sharing")
