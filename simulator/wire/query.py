"""What a list request asks for: its parameters read as Xero reads them, and the rows that answer it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from simulator.books.model import Contact, Invoice, Resource
from simulator.books.organisation import Organisation
from simulator.clock import to_ms
from simulator.http import Call
from simulator.options import SimulatorOptions
from simulator.wire.errors import XeroError, high_volume, query_error, validation_error
from simulator.wire.fields import FIELDS
from simulator.wire.rows import Detail
from simulator.wire.where import Condition, parse_where

_DEFAULT_PAGE_SIZE = 100
_MOST_PER_PAGE = 1000
_SECOND = 1000
_HAS_IDS = ("Contacts", "Invoices")
_HAS_SUMMARY = ("Contacts", "Invoices")
_PICKED = {"ids": "id", "invoicenumbers": "number", "contactids": "contact_id", "statuses": "status"}

Test = Callable[[Any], bool]


@dataclass(slots=True, frozen=True)
class Paging:
    page: int
    size: int


@dataclass(slots=True, frozen=True)
class Selection:
    """The rows of one answer, how much of them to show, and Xero's pagination object if the list is paged."""

    rows: Sequence[Any]
    detail: Detail
    pagination: dict[str, int] | None


@dataclass(slots=True, frozen=True)
class ListQuery:
    """A list request after reading. `since` is in milliseconds, already at the bound that counts."""

    resource: Resource
    paging: Paging | None
    summary: bool
    since: int | None
    condition: Condition | None
    order: str
    picks: dict[str, frozenset[str]]
    search: str
    include_archived: bool


def read_query(call: Call, resource: Resource, options: SimulatorOptions) -> ListQuery:
    """Raises XeroError for what Xero answers with 400. Parameters that a resource does not know are ignored."""
    query = call.query
    summary = resource in _HAS_SUMMARY and query.get("summaryonly", "").lower() == "true"
    picks = _read_picks(query, resource)
    return ListQuery(
        resource=resource,
        paging=_read_paging(query, enforced=summary or "statuses" in picks),
        summary=summary,
        since=_read_since(call.headers.get("if-modified-since"), options),
        condition=parse_where(query["where"], resource) if query.get("where") else None,
        order=query.get("order", ""),
        picks=picks,
        search=query.get("searchterm", "").lower() if resource in _HAS_SUMMARY else "",
        include_archived=resource != "Contacts" or query.get("includearchived", "").lower() == "true",
    )


def select(books: Organisation, query: ListQuery, options: SimulatorOptions) -> Selection:
    """Find, order and page the rows. Raises XeroError on high-volume organisations for inefficient questions."""
    _refuse_inefficient(books, query, options)
    shelf = books.shelf(query.resource)
    rows: list[Any] = shelf.since(query.since or 0)
    tests = _tests(books, query)
    found = _ordered(books, query, [row for row in rows if all(test(row) for test in tests)] if tests else rows)
    if query.paging is None:
        return Selection(found, "light", None)
    page, size = query.paging.page, query.paging.size
    pagination = {"page": page, "pageSize": size, "pageCount": -(-len(found) // size), "itemCount": len(found)}
    return Selection(found[(page - 1) * size : page * size], "summary" if query.summary else "full", pagination)


def _read_paging(query: dict[str, str], *, enforced: bool) -> Paging | None:
    if not enforced and "page" not in query and "pagesize" not in query:
        return None
    page = max(1, _read_int(query, "page", 1))
    return Paging(page, min(max(1, _read_int(query, "pagesize", _DEFAULT_PAGE_SIZE)), _MOST_PER_PAGE))


def _read_int(query: dict[str, str], name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError as error:
        raise XeroError(validation_error(f"The value '{query[name]}' is not valid for {name}")) from error


def _read_since(header: str | None, options: SimulatorOptions) -> int | None:
    """To the second: ISO with or without a zone, or the RFC 1123 form that the official SDK sends."""
    if not header:
        return None
    try:
        moment = datetime.fromisoformat(header) if header[:1].isdigit() else parsedate_to_datetime(header)
    except ValueError as error:
        raise XeroError(validation_error(f"If-Modified-Since '{header}' is not a date")) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    second = to_ms(moment) // _SECOND
    return (second if options.if_modified_since == "inclusive" else second + 1) * _SECOND


def _read_picks(query: dict[str, str], resource: Resource) -> dict[str, frozenset[str]]:
    """The list parameters of this resource: `IDs`, `InvoiceNumbers`, `ContactIDs`, `Statuses`, comma separated."""
    names = tuple(_PICKED) if resource == "Invoices" else ("ids",)
    known = names if resource in _HAS_IDS else ()
    return {
        name: frozenset(part.strip().lower() for part in query[name].split(",")) for name in known if query.get(name)
    }


def _refuse_inefficient(books: Organisation, query: ListQuery, options: SimulatorOptions) -> None:
    if not books.is_high_volume and len(books.shelf(query.resource)) <= options.high_volume_rows:
        return
    unguided = query.paging is None and query.since is None and not query.picks and query.condition is None
    if unguided or (query.condition is not None and not query.condition.optimised):
        raise XeroError(high_volume(query.resource))


def _tests(books: Organisation, query: ListQuery) -> list[Test]:
    """What a row must pass; none for a plain list, which then costs nothing per row."""
    tests = [_pick(_PICKED[name], wanted) for name, wanted in query.picks.items()]
    if not query.include_archived:
        tests.append(lambda row: row.status != "ARCHIVED")
    if query.search:
        tests.append(lambda row: _found_by(query.search, row))
    if query.condition is not None:
        holds = query.condition.test
        tests.append(lambda row: holds(books, row))
    return tests


def _pick(attribute: str, wanted: frozenset[str]) -> Test:
    return lambda row: getattr(row, attribute).lower() in wanted


def _found_by(term: str, row: Contact | Invoice) -> bool:
    texts = (row.name, row.email) if isinstance(row, Contact) else (row.number, row.reference)
    return any(term in text.lower() for text in texts)


def _ordered(books: Organisation, query: ListQuery, rows: list[Any]) -> list[Any]:
    """By UpdatedDateUTC then id unless asked otherwise, which is how the rows come from their shelf."""
    for part in reversed([part for part in query.order.split(",") if part.strip()]):
        name, _, direction = part.strip().partition(" ")
        field = FIELDS[query.resource].get(name.lower())
        if field is None or direction.strip().upper() not in ("", "ASC", "DESC"):
            raise XeroError(query_error(f"No property or field '{part.strip()}' exists"))
        get = field.get
        rows.sort(key=lambda row: _sortable(get(books, row)), reverse=direction.strip().upper() == "DESC")
    return rows


def _sortable(value: object) -> tuple[bool, Any]:
    return (value is not None, value)
