"""Keyset paging: the order of a list, the page after a position, and the conditions that lists filter by.

A page begins after the last row of the page before, found by the values that the list is ordered by. Rows that are
written meanwhile can therefore neither repeat nor hide others, as they would with an offset.

KeysetOrder
├── ByDate        by a date or an instant
│   ├── NewestFirst
│   └── OldestFirst
├── HighestFirst  by a number
└── ByName        by a name, whatever its case
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, TypeAlias, TypeVarTuple

from sqlalchemy import ColumnClause, ColumnElement, Row, Select, and_, func, or_, tuple_
from sqlalchemy.orm import InstrumentedAttribute
from typing_extensions import override

AnyRow: TypeAlias = Row[*tuple[Any, ...]]
AnySelect: TypeAlias = Select[*tuple[Any, ...]]
# Where a page ended, as text: the value that the list is ordered by, and the key of the row.
PagePosition: TypeAlias = tuple[str | None, str]

Columns = TypeVarTuple("Columns")


@dataclass(frozen=True, slots=True)
class KeysetOrder(ABC):
    """The order of a list.

    Attributes:
        column: what the list is ordered by; may have equal values.
        key: a unique column, which orders rows of equal values.
    """

    column: InstrumentedAttribute[Any] | ColumnClause[Any]
    key: InstrumentedAttribute[Any] | ColumnClause[Any]

    @abstractmethod
    def position(self, row: Any) -> PagePosition:  # noqa: ANN401 - a row or an object of any list
        """Return the position of a row that has the attributes `column` and `key`."""

    @abstractmethod
    def page_after(self, statement: Select[*Columns], after: PagePosition | None, limit: int) -> Select[*Columns]:
        """Order a statement and limit it to the page after a position; None begins with the first row."""

    def _parse_key(self, key: str) -> object:
        parse: type = self.key.type.python_type
        return parse(key)


@dataclass(frozen=True, slots=True)
class ByDate(KeysetOrder):
    """By a date or an instant, which a row may lack."""

    @override
    def position(self, row: Any) -> PagePosition:
        value = getattr(row, self.column.key)
        return (None if value is None else value.isoformat(), str(getattr(row, self.key.key)))


@dataclass(frozen=True, slots=True)
class NewestFirst(ByDate):
    """Newest first; rows without a date, such as drafts, come before all others. Rows of equal value go by the key."""

    @override
    def page_after(self, statement: Select[*Columns], after: PagePosition | None, limit: int) -> Select[*Columns]:
        if after is not None:
            statement = statement.where(self._follows(*after))
        return statement.order_by(self.column.desc(), self.key).limit(limit)

    def _follows(self, value: str | None, key: str) -> ColumnElement[bool]:
        has_greater_key = self.key > self._parse_key(key)
        if value is None:
            return or_(self.column.is_not(None), has_greater_key)
        last: date = self.column.type.python_type.fromisoformat(value)
        # The first half bounds the index scan; the second excludes the rows of the page before.
        return and_(self.column <= last, or_(self.column < last, has_greater_key))


@dataclass(frozen=True, slots=True)
class OldestFirst(ByDate):
    """Oldest first; rows without a date come after all others. Rows of equal value go by the key."""

    @override
    def page_after(self, statement: Select[*Columns], after: PagePosition | None, limit: int) -> Select[*Columns]:
        if after is not None:
            statement = statement.where(self._follows(*after))
        return statement.order_by(self.column, self.key).limit(limit)

    def _follows(self, value: str | None, key: str) -> ColumnElement[bool]:
        has_greater_key = self.key > self._parse_key(key)
        if value is None:
            return and_(self.column.is_(None), has_greater_key)
        last: date = self.column.type.python_type.fromisoformat(value)
        is_later = or_(self.column > last, and_(self.column == last, has_greater_key))
        return or_(self.column.is_(None), is_later)


@dataclass(frozen=True, slots=True)
class HighestFirst(KeysetOrder):
    """By a number that every row has, highest first; rows of equal value go by the key."""

    @override
    def position(self, row: Any) -> PagePosition:
        return (str(getattr(row, self.column.key)), str(getattr(row, self.key.key)))

    @override
    def page_after(self, statement: Select[*Columns], after: PagePosition | None, limit: int) -> Select[*Columns]:
        if after is not None:
            value, key = after
            last = Decimal(value or 0)
            is_lower = or_(self.column < last, and_(self.column == last, self.key > self._parse_key(key)))
            statement = statement.where(is_lower)
        return statement.order_by(self.column.desc(), self.key).limit(limit)


@dataclass(frozen=True, slots=True)
class ByName(KeysetOrder):
    """By a name in lower case; equal names go by the key."""

    @override
    def position(self, row: Any) -> PagePosition:
        return (getattr(row, self.column.key), str(getattr(row, self.key.key)))

    @override
    def page_after(self, statement: Select[*Columns], after: PagePosition | None, limit: int) -> Select[*Columns]:
        if after is not None:
            name, key = after
            # Lowered by the database, as in the order itself: Python lowers some letters differently.
            last = tuple_(func.lower(name), self._parse_key(key))
            statement = statement.where(tuple_(self._lower_name(), self.key) > last)
        return statement.order_by(self._lower_name(), self.key).limit(limit)

    def _lower_name(self) -> ColumnElement[str]:
        return func.lower(self.column)


def contains(column: InstrumentedAttribute[Any], words: str) -> ColumnElement[bool]:
    """Return the condition that a text contains the words, in any case; `%` and `_` match only themselves."""
    return column.icontains(words, autoescape=True)


def between(column: InstrumentedAttribute[Any], first: date | None, last: date | None) -> list[ColumnElement[bool]]:
    """Return the conditions that a date is in a span, both ends included; None leaves an end open."""
    bounds = [column >= first if first else None, column <= last if last else None]
    return [bound for bound in bounds if bound is not None]
