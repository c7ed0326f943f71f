"""How lists are ordered, cut into pages that stay stable while rows are written, and searched."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, or_
from sqlalchemy.orm import InstrumentedAttribute

AnyRow = Row[*tuple[Any, ...]]
AnySelect = Select[*tuple[Any, ...]]
# Where a page ended, as text: the value the list is ordered by, and the id.
Position = tuple[str | None, str]


@dataclass(frozen=True, slots=True)
class KeysetOrder:
    """An order: newest first by one column, then by id; rows without a date come first, as drafts do.

    Attributes:
        column: a date or an instant.
        key: the id that tells equals apart.
        parse: reads the column's value back from its ISO form.
    """

    column: InstrumentedAttribute[Any]
    key: InstrumentedAttribute[UUID]
    parse: Callable[[str], date]

    def position(self, row: Any) -> Position:  # noqa: ANN401 - a row of any list
        value = getattr(row, self.column.key)
        return (None if value is None else value.isoformat(), str(row.id))

    def page_after(self, statement: AnySelect, after: Position | None, limit: int) -> AnySelect:
        """Order a statement and keep the page that follows a position."""
        if after is not None:
            statement = statement.where(self._beyond(*after))
        return statement.order_by(self.column.desc(), self.key).limit(limit)

    def _beyond(self, value: str | None, key: str) -> ColumnElement[bool]:
        if value is None:
            return or_(self.column.is_not(None), self.key > UUID(key))
        # The first half bounds the walk through the index; the second leaves out what was shown already.
        bound = self.parse(value)
        return and_(self.column <= bound, or_(self.column < bound, self.key > UUID(key)))


def contains(column: InstrumentedAttribute[Any], words: str) -> ColumnElement[bool]:
    """Return the condition that a text holds these words, whatever their case; `%` and `_` are letters like others."""
    return column.icontains(words, autoescape=True)


def between(column: InstrumentedAttribute[Any], first: date | None, last: date | None) -> list[ColumnElement[bool]]:
    """Return the conditions that a date lies in a span, both ends included; None leaves an end open."""
    bounds = [column >= first if first else None, column <= last if last else None]
    return [bound for bound in bounds if bound is not None]
