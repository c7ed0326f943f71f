"""Reads Xero's `where` expressions: comparisons joined by && and ||, with Guid("..."), DateTime(y,m,d) and methods."""

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

Test = Callable[[Organisation, Row], bool]

_TOKENS = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<guid>(?i:guid)\(\s*"(?P<guid_text>[0-9a-fA-F-]{36})"\s*\))
    |(?P<date>(?i:datetime)\(\s*(?P<date_parts>\d+(?:\s*,\s*\d+)+)\s*\))
    |(?P<number>-?\d+(?:\.\d+)?)
    |(?P<joint>&&|\|\||(?i:AND|OR)\b)
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
_WORDS = {"true": True, "false": False, "null": None}


@dataclass(slots=True, frozen=True)
class Condition:
    """A test for rows, and whether Xero could answer it from its indexes."""

    test: Test
    optimised: bool
    is_id_only: bool = False


def parse_where(text: str, resource: Resource) -> Condition:
    """Raises XeroError with Xero's QueryParseException for what cannot be read."""
    parser = _Parser(text, resource)
    condition = parser.either()
    if parser.kind:
        raise _refusal(f"Unexpected '{parser.text}'")
    return condition


class _Parser:
    def __init__(self, text: str, resource: Resource) -> None:
        self._source = text
        self._position = 0
        self._fields = FIELDS[resource]
        self._id_field = ID_FIELDS[resource]
        self.kind: str | None = None
        self.text = ""
        self._match: re.Match[str] | None = None
        self._advance()

    def either(self) -> Condition:
        condition = self._both()
        while self.kind == "joint" and self.text.upper() in ("||", "OR"):
            self._advance()
            other = self._both()
            # Xero can serve OR from an index only over the resource's own id.
            ids = condition.is_id_only and other.is_id_only
            condition = Condition(_any_of(condition.test, other.test), ids, ids)
        return condition

    def _both(self) -> Condition:
        condition = self._one()
        while self.kind == "joint" and self.text.upper() in ("&&", "AND"):
            self._advance()
            other = self._one()
            condition = Condition(_all_of(condition.test, other.test), condition.optimised and other.optimised)
        return condition

    def _one(self) -> Condition:
        if self.text == "(" and self.kind == "bracket":
            self._advance()
            condition = self.either()
            self._expect(")")
            return condition
        return self._comparison()

    def _comparison(self) -> Condition:
        if self.kind != "name":
            raise _refusal(f"Expected a field, not '{self.text}'")
        name = self.text.lower()
        field = self._fields.get(name)
        if field is None:
            raise _refusal(f"No property or field '{self.text}' exists")
        self._advance()
        if self.kind == "method":
            return self._method(field.get)
        sign = self._take("comparison")
        sign = "==" if sign == "=" else sign
        test = _compare(field.get, _COMPARISONS[sign], self._value())
        return Condition(test, sign in field.optimised, name == self._id_field and sign == "==")

    def _method(self, get: Callable[[Organisation, Row], object]) -> Condition:
        matches = _METHODS[self._take("method")]
        self._expect("(")
        part = self._take("string")[1:-1].lower()
        self._expect(")")
        return Condition(lambda books, row: matches(str(get(books, row) or "").lower(), part), optimised=False)

    def _value(self) -> object:
        kind, text, match = self.kind, self.text, self._match
        self._advance()
        if kind == "string":
            return text[1:-1]
        if kind == "guid" and match:
            return match["guid_text"].lower()
        if kind == "date" and match:
            return _moment(match["date_parts"])
        if kind == "number":
            return Decimal(text)
        if kind == "name" and text.lower() in _WORDS:
            return _WORDS[text.lower()]
        raise _refusal(f"Expected a value, not '{text}'")

    def _take(self, kind: str) -> str:
        if self.kind != kind:
            raise _refusal(f"Expected a {kind}, not '{self.text}'")
        text = self.text
        self._advance()
        return text

    def _expect(self, bracket: str) -> None:
        if self.text != bracket:
            raise _refusal(f"'{bracket}' expected")
        self._advance()

    def _advance(self) -> None:
        if not self._source[self._position :].strip():
            self.kind, self.text, self._match = None, "", None
            return
        self._match = _TOKENS.match(self._source, self._position)
        if self._match is None:
            raise _refusal(f"Syntax error at '{self._source[self._position : self._position + 20]}'")
        groups = self._match.groupdict()
        self.kind = next(kind for kind in groups if groups[kind] is not None)
        self.text = groups[self.kind]
        self._position = self._match.end()


def _compare(get: Callable[[Organisation, Row], object], holds: Callable[[Any, Any], bool], value: object) -> Test:
    wanted = value.lower() if isinstance(value, str) else value

    def test(books: Organisation, row: Row) -> bool:
        found = get(books, row)
        found = found.lower() if isinstance(found, str) else found
        if found is None and wanted is not None:
            return holds is operator.ne
        try:
            return holds(found, wanted)
        except TypeError as error:
            raise _refusal("Operator incompatible with operand types") from error

    return test


def _moment(parts: str) -> int:
    try:
        return to_ms(datetime(*(int(part) for part in parts.split(",")), tzinfo=UTC))  # type: ignore[arg-type,misc]  # y, m, d, ...
    except (TypeError, ValueError) as error:
        raise _refusal(f"DateTime({parts}) is not a date") from error


def _any_of(one: Test, other: Test) -> Test:
    return lambda books, row: one(books, row) or other(books, row)


def _all_of(one: Test, other: Test) -> Test:
    return lambda books, row: one(books, row) and other(books, row)


def _refusal(message: str) -> XeroError:
    return XeroError(query_error(message))
