"""Sending many rows to one statement: encoded as a JSON array and read back with PostgreSQL's `json_to_recordset`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from typing import cast as cast_type

import msgspec
import sqlalchemy
from sqlalchemy import TableValuedAlias, Text, bindparam, cast, column, func
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.types import TypeEngine

from app.db import Table

ColumnTypes: TypeAlias = Mapping[str, TypeEngine[Any]]

# An odd number of backslashes before "u0000" makes it an escape of NUL, an even number leaves it plain text.
NUL_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def core_table(model: type[Table]) -> sqlalchemy.Table:
    """Return the Core table of a mapped class.

    INSERT, UPDATE and DELETE statements are built on it: built on the mapped class, the session would run them as ORM
    bulk operations and synchronise its objects.
    """
    return cast_type(sqlalchemy.Table, model.__table__)


def column_types(model: type[Table], names: Iterable[str]) -> ColumnTypes:
    """Return the types of those of the table's columns that are named, in the table's order; other names are ignored.

    The names are usually the fields of a record, so that a column is written once: in the table.
    """
    wanted = set(names)
    return {column.name: column.type for column in core_table(model).c if column.name in wanted}


def encode_rows(rows: object) -> str:
    """Encode rows as JSON: decimals as strings, so that they stay exact; without NUL, which PostgreSQL cannot store."""
    text = msgspec.json.encode(rows).decode()
    return NUL_ESCAPE.sub(r"\1", text) if "u0000" in text else text


def json_recordset(parameter: str, types: ColumnTypes) -> TableValuedAlias:
    """Return the rows that a bound parameter holds as JSON, as a FROM clause of that name; other keys are ignored."""
    text = cast(bindparam(parameter, type_=Text()), JSON)
    columns = [column(name, type_) for name, type_ in types.items()]
    return (
        func.json_to_recordset(text).table_valued(*columns, name=parameter).render_derived(parameter, with_types=True)
    )
