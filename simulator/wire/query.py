"""Parses the parameters of list requests as Xero does, and selects the rows they ask for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from simulator.books.model import Contact, Invoice, Resource
from simulator.books.organisation import Organisation
from simulator.clock import to_ms
from simulator.http import Request
from simulator.options import SimulatorOptions
from simulator.wire.errors import XeroError, high_volume, query_error, validation_error
from simulator.wire.fields import FIELDS
from simulator.wire.rows import Detail
from simulator.wire.where import Condition, parse_where

_DEFAULT_PAGE_SIZE = 100
_MAX_PAGE_SIZE = 1000
_SECOND = 1000
_HAS_IDS = ("Contacts", "Invoices")
_HAS_SUMMARY = ("Contacts", "Invoices")
_LIST_FILTERS = {"ids": "id", "invoicenumbers": "number", "contactids": "contact_id", "statuses": "status"}

Predicate = Callable[[Any], bool]


@dataclass(slots=True, frozen=True)
class Paging:
    page: int
    size: int


@dataclass(slots=True, frozen=True)
class Selection:
    """The rows of one response, their level of detail, and Xero's pagination object if the list is paged."""

    rows: Sequence[Any]
    detail: Detail
    pagination: dict[str, int] | None


@dataclass(slots=True, frozen=True)
class ListQuery:
    """The parsed parameters of a list request. `since` is the earliest UpdatedDateUTC, in milliseconds since 1970."""

    resource: Resource
    paging: Paging | None
    summary: bool
    since: int | None
    condition: Condition | None
    order: str
    filters: dict[str, frozenset[str]]
    search: str
    include_archived: bool


def read_query(request: Request, resource: Resource, options: SimulatorOptions) -> ListQuery:
    """Parse a list request; parameters unknown to the resource are ignored.

    Raises XeroError for what Xero refuses with 400.
    """
    query = request.query
    summary = resource in _HAS_SUMMARY and query.get("summaryonly", "").lower() == "true"
    filters = _read_filters(query, resource)
    return ListQuery(
        resource=resource,
        paging=_read_paging(query, options, enforced=summary or "statuses" in filters),
        summary=summary,
        since=_read_since(request.headers.get("if-modified-since"), options),
        condition=parse_where(query["where"], resource) if query.get("where") else None,
        order=query.get("order", ""),
        filters=filters,
        search=query.get("searchterm", "").lower() if resource in _HAS_SUMMARY else "",
        include_archived=resource != "Contacts" or query.get("includearchived", "").lower() == "true",
    )


def select(books: Organisation, query: ListQuery, options: SimulatorOptions) -> Selection:
    """Filter, sort and page the rows. Raises XeroError for inefficient requests to high-volume organisations."""
    _reject_inefficient(books, query, options)
    rows: list[Any] = books.table(query.resource).modified_since(query.since or 0)
    predicates = _predicates_of(books, query)
    if predicates:
        rows = [row for row in rows if all(predicate(row) for predicate in predicates)]
    found = _sort_rows(books, query, rows)
    if query.paging is None:
        return Selection(found, "light", None)
    page, size = query.paging.page, query.paging.size
    pagination = {"page": page, "pageSize": size, "pageCount": -(-len(found) // size), "itemCount": len(found)}
    return Selection(found[(page - 1) * size : page * size], "summary" if query.summary else "full", pagination)


def _read_paging(query: dict[str, str], options: SimulatorOptions, *, enforced: bool) -> Paging | None:
    if not enforced and "page" not in query and "pagesize" not in query:
        return None
    page = max(1, _read_int(query, "page", 1))
    size = _read_int(query, "pagesize", _DEFAULT_PAGE_SIZE) if options.page_size_has_effect else _DEFAULT_PAGE_SIZE
    return Paging(page, min(max(1, size), _MAX_PAGE_SIZE))


def _read_int(query: dict[str, str], name: str, default: int) -> int:
    try:
        return int(query.get(name, default))
    except ValueError as error:
        raise XeroError(validation_error(f"The value '{query[name]}' is not valid for {name}")) from error


def _read_since(header: str | None, options: SimulatorOptions) -> int | None:
    """Parse If-Modified-Since to whole seconds: ISO 8601, with or without a zone, or RFC 1123, as Xero's SDK sends."""
    if not header:
        return None
    try:
        instant = datetime.fromisoformat(header) if header[:1].isdigit() else parsedate_to_datetime(header)
    except ValueError as error:
        raise XeroError(validation_error(f"If-Modified-Since '{header}' is not a date")) from error
    instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    second = to_ms(instant) // _SECOND
    return (second if options.if_modified_since == "inclusive" else second + 1) * _SECOND


def _read_filters(query: dict[str, str], resource: Resource) -> dict[str, frozenset[str]]:
    """Parse the comma-separated parameters of this resource: `IDs`, `InvoiceNumbers`, `ContactIDs`, `Statuses`."""
    names = tuple(_LIST_FILTERS) if resource == "Invoices" else ("ids",)
    known = names if resource in _HAS_IDS else ()
    return {
        name: frozenset(part.strip().lower() for part in query[name].split(",")) for name in known if query.get(name)
    }


def _reject_inefficient(books: Organisation, query: ListQuery, options: SimulatorOptions) -> None:
    if not books.is_high_volume and len(books.table(query.resource)) <= options.high_volume_rows:
        return
    is_unfiltered = query.paging is None and query.since is None and not query.filters and query.condition is None
    if is_unfiltered or (query.condition is not None and not query.condition.is_optimised):
        raise XeroError(high_volume(query.resource))


def _predicates_of(books: Organisation, query: ListQuery) -> list[Predicate]:
    """Return the conditions a row must meet; a list without filters has none, and so costs nothing per row."""
    predicates = [_is_in(_LIST_FILTERS[name], wanted) for name, wanted in query.filters.items()]
    if not query.include_archived:
        predicates.append(lambda row: row.status != "ARCHIVED")
    if query.search:
        predicates.append(lambda row: _matches_search(query.search, row))
    if query.condition is not None:
        holds = query.condition.predicate
        predicates.append(lambda row: holds(books, row))
    return predicates


def _is_in(attribute: str, wanted: frozenset[str]) -> Predicate:
    return lambda row: getattr(row, attribute).lower() in wanted


def _matches_search(term: str, row: Contact | Invoice) -> bool:
    texts = (row.name, row.email) if isinstance(row, Contact) else (row.number, row.reference)
    return any(term in text.lower() for text in texts)


def _sort_rows(books: Organisation, query: ListQuery, rows: list[Any]) -> list[Any]:
    """Sort by the fields of `order`; without it, keep the order of the table: UpdatedDateUTC, then id."""
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
