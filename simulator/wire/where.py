"""Parses Xero's `where` expressions: comparisons joined by && and ||, with Guid("..."), DateTime(y,m,d) and methods."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from simulator.books.model import Resource, Row
from simulator.books.organisation import Organisation
from simulator.clock import to_ms
from simulator.wire.errors import XeroError, query_error
from simulator.wire.fields import FIELDS, ID_FIELDS

Predicate = Callable[[Organisation, Row], bool]

_TOKENS = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<guid>(?i:guid)\(\s*"(?P<guid_text>[0-9a-fA-F-]{36})"\s*\))
    |(?P<date>(?i:datetime)\(\s*(?P<date_parts>\d+(?:\s*,\s*\d+)+)\s*\))
    |(?P<number>-?\d+(?:\.\d+)?)
    |(?P<connective>&&|\|\||(?i:AND|OR)\b)
    |(?P<comparison>==|!=|>=|<=|=|>|<)
    |(?P<method>\.(?:Contains|StartsWith|EndsWith)(?=\())
    |(?P<name>[A-Za-z][A-Za-z0-9]*(?:\.(?!Contains\(|StartsWith\(|EndsWith\()[A-Za-z][A-Za-z0-9]*)*)
    |(?P<bracket>[()]))""",
    re.VERBOSE,
)
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
_METHODS: dict[str, Callable[[str, str], bool]] = {
    ".Contains": lambda text, part: part in text,
    ".StartsWith": str.startswith,
    ".EndsWith": str.endswith,
}
_LITERALS = {"true": True, "false": False, "null": None}


@dataclass(slots=True, frozen=True)
class Condition:
    """A condition on rows, and whether Xero can evaluate it from its indexes."""

    predicate: Predicate
    is_optimised: bool
    is_id_only: bool = False


def parse_where(text: str, resource: Resource) -> Condition:
    """Parse an expression. Raises XeroError with Xero's QueryParseException when it is invalid."""
    parser = _Parser(text, resource)
    condition = parser.parse_or()
    if parser.kind:
        raise _query_error(f"Unexpected '{parser.text}'")
    return condition


class _Parser:
    """A recursive-descent parser; `kind` and `text` are those of the current token, None and empty at the end."""

    def __init__(self, text: str, resource: Resource) -> None:
        self._source = text
        self._position = 0
        self._fields = FIELDS[resource]
        self._id_field = ID_FIELDS[resource]
        self.kind: str | None = None
        self.text = ""
        self._match: re.Match[str] | None = None
        self._advance()

    def parse_or(self) -> Condition:
        condition = self._parse_and()
        while self.kind == "connective" and self.text.upper() in ("||", "OR"):
            self._advance()
            other = self._parse_and()
            # Xero evaluates OR from an index only for the resource's own id.
            ids = condition.is_id_only and other.is_id_only
            condition = Condition(_any_of(condition.predicate, other.predicate), ids, ids)
        return condition

    def _parse_and(self) -> Condition:
        condition = self._parse_operand()
        while self.kind == "connective" and self.text.upper() in ("&&", "AND"):
            self._advance()
            other = self._parse_operand()
            condition = Condition(
                _all_of(condition.predicate, other.predicate), condition.is_optimised and other.is_optimised
            )
        return condition

    def _parse_operand(self) -> Condition:
        if self.text == "(" and self.kind == "bracket":
            self._advance()
            condition = self.parse_or()
            self._expect(")")
            return condition
        return self._parse_comparison()

    def _parse_comparison(self) -> Condition:
        if self.kind != "name":
            raise _query_error(f"Expected a field, not '{self.text}'")
        name = self.text.lower()
        field = self._fields.get(name)
        if field is None:
            raise _query_error(f"No property or field '{self.text}' exists")
        self._advance()
        if self.kind == "method":
            return self._parse_method(field.get)
        comparison = self._consume("comparison")
        comparison = "==" if comparison == "=" else comparison
        predicate = _compare(field.get, _COMPARISONS[comparison], self._parse_value())
        return Condition(
            predicate, comparison in field.optimised_operators, name == self._id_field and comparison == "=="
        )

    def _parse_method(self, get: Callable[[Organisation, Row], object]) -> Condition:
        matches = _METHODS[self._consume("method")]
        self._expect("(")
        part = self._consume("string")[1:-1].lower()
        self._expect(")")
        return Condition(lambda books, row: matches(str(get(books, row) or "").lower(), part), is_optimised=False)

    def _parse_value(self) -> object:
        kind, text, match = self.kind, self.text, self._match
        self._advance()
        if kind == "string":
            return text[1:-1]
        if kind == "guid" and match:
            return match["guid_text"].lower()
        if kind == "date" and match:
            return _parse_date(match["date_parts"])
        if kind == "number":
            return Decimal(text)
        if kind == "name" and text.lower() in _LITERALS:
            return _LITERALS[text.lower()]
        raise _query_error(f"Expected a value, not '{text}'")

    def _consume(self, kind: str) -> str:
        if self.kind != kind:
            raise _query_error(f"Expected a {kind}, not '{self.text}'")
        text = self.text
        self._advance()
        return text

    def _expect(self, bracket: str) -> None:
        if self.text != bracket:
            raise _query_error(f"'{bracket}' expected")
        self._advance()

    def _advance(self) -> None:
        if not self._source[self._position :].strip():
            self.kind, self.text, self._match = None, "", None
            return
        self._match = _TOKENS.match(self._source, self._position)
        if self._match is None:
            raise _query_error(f"Syntax error at '{self._source[self._position : self._position + 20]}'")
        groups = self._match.groupdict()
        self.kind = next(kind for kind in groups if groups[kind] is not None)
        self.text = groups[self.kind]
        self._position = self._match.end()


def _compare(
    get: Callable[[Organisation, Row], object], compare: Callable[[Any, Any], bool], value: object
) -> Predicate:
    wanted = value.lower() if isinstance(value, str) else value

    def predicate(books: Organisation, row: Row) -> bool:
        found = get(books, row)
        found = found.lower() if isinstance(found, str) else found
        if found is None and wanted is not None:
            return compare is operator.ne
        try:
            return compare(found, wanted)
        except TypeError as error:
            raise _query_error("Operator incompatible with operand types") from error

    return predicate


def _parse_date(parts: str) -> int:
    try:
        return to_ms(datetime(*(int(part) for part in parts.split(",")), tzinfo=UTC))  # type: ignore[arg-type,misc]  # y, m, d, ...
    except (TypeError, ValueError) as error:
        raise _query_error(f"DateTime({parts}) is not a date") from error


def _any_of(one: Predicate, other: Predicate) -> Predicate:
    return lambda books, row: one(books, row) or other(books, row)


def _all_of(one: Predicate, other: Predicate) -> Predicate:
    return lambda books, row: one(books, row) and other(books, row)


def _query_error(message: str) -> XeroError:
    return XeroError(query_error(message))
