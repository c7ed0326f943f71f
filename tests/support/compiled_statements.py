"""Compiled SQL statements that all databases of a test session share.

SQLAlchemy compiles a statement once per engine, and every test has an engine of its own. Without sharing, compiling the
same statements for each test takes a third of the tests' processor time.
"""

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.util import LRUCache
from typing_extensions import override

MAX_STATEMENTS = 3000


class SharingDialect(PGDialect_asyncpg):
    """asyncpg's dialect, whose engines share compiled statements: all of them speak to the same version of PostgreSQL.

    A compiled statement is found by the statement and the dialect, so all dialects of a session are equal.
    """

    supports_statement_cache = True
    _compiled: LRUCache[Any, Any] = LRUCache(MAX_STATEMENTS)

    @classmethod
    @override
    def engine_created(cls, engine: Engine) -> None:
        engine.update_execution_options(compiled_cache=cls._compiled)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


def share_compiled_statements() -> None:
    """Let every engine that is created from now on in this process share its compiled statements."""
    registry.register("postgresql.asyncpg", __name__, SharingDialect.__name__)
