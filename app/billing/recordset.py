"""Rows on their way in: one JSON text per statement, which PostgreSQL reads back as a set."""

import re
from collections.abc import Mapping
from typing import Any, TypeAlias
from typing import cast as cast_type

import msgspec
import sqlalchemy
from sqlalchemy import Select, Text, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from app.db import Table

# Tables taken as arguments, sets and CTEs, and what is built of their columns: SQLAlchemy types none of it.
Relation: TypeAlias = Any
Clause: TypeAlias = Any
Query: TypeAlias = Select[*tuple[Any, ...]]
Types: TypeAlias = Mapping[str, TypeEngine[Any]]

# A run of backslashes before "u0000": an odd number makes it an escape, an even number plain text.
NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def plain(table: type[Table]) -> sqlalchemy.Table:
    """Return the table without its mapped class.

    Statements that write go to the table: given the class, the session would take them for work on objects.
    """
    return cast_type(sqlalchemy.Table, table.__table__)


def encode(rows: object) -> str:
    """Write rows as JSON; decimals become strings, so no digit is lost.

    PostgreSQL's text holds every character but NUL, so that one is dropped.
    """
    text = msgspec.json.encode(rows).decode()
    return NUL_ESCAPE.sub(r"\1", text) if "u0000" in text else text


def rowset(parameter: str, columns: Types) -> Relation:
    """Return the set that the bound JSON text holds; keys that are not named in `columns` are passed over."""
    text = cast(bindparam(parameter, type_=Text()), JSON)
    named = [column(name, type_) for name, type_ in columns.items()]
    return func.json_to_recordset(text).table_valued(*named, name=parameter).render_derived(parameter, with_types=True)
