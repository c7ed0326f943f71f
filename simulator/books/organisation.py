"""One simulated organisation (a Xero tenant) and its rows, one table per resource in Xero's default order."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from simulator.books.model import Contact, Credit, Document, DocumentKind, Invoice, Payment, Resource, Row

R = TypeVar("R", bound=Row)


class RowTable(Generic[R]):
    """The rows of one resource, indexed by id and sorted by UpdatedDateUTC, then id.

    Iteration follows that order, which is the default order of Xero's lists. Times are milliseconds since 1970.
    """

    def __init__(self) -> None:
        self.by_id: dict[str, R] = {}
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.by_id)

    def __iter__(self) -> Iterator[R]:
        return (self.by_id[key] for _, key in self._order)

    def get(self, row_id: str) -> R | None:
        """Return the row with this id, in any letter case, or None."""
        return self.by_id.get(row_id.lower())

    def add(self, row: R) -> None:
        self.by_id[row.id] = row
        insort(self._order, (row.updated_at, row.id))

    def add_many(self, rows: Iterable[R]) -> None:
        """Add many rows and sort once, which is cheaper than inserting each at its position."""
        for row in rows:
            self.by_id[row.id] = row
        self._order = sorted((row.updated_at, row.id) for row in self.by_id.values())

    def update_timestamp(self, row: R, updated_at: int) -> None:
        """Set a row's UpdatedDateUTC, re-sort it, and drop its cached JSON."""
        del self._order[bisect_left(self._order, (row.updated_at, row.id))]
        row.updated_at = updated_at
        row.rendered.clear()
        insort(self._order, (row.updated_at, row.id))

    def modified_since(self, timestamp_ms: int) -> list[R]:
        """Return, in order, the rows whose UpdatedDateUTC is at or after the given time."""
        return [self.by_id[key] for _, key in self._order[bisect_left(self._order, (timestamp_ms, "")) :]]


@dataclass(slots=True, kw_only=True)
class Organisation:
    """A Xero tenant and its books.

    A practice is a tenant too (`tenant_type` PRACTICE or PRACTICEMANAGER); its books are empty, and the accounting
    API answers 403 for it.
    """

    tenant_id: str
    name: str
    tenant_type: str = "ORGANISATION"
    country: str = "AU"
    currency: str = "AUD"
    is_high_volume: bool = False
    is_offline: bool = False
    contacts: RowTable[Contact] = field(default_factory=RowTable)
    invoices: RowTable[Invoice] = field(default_factory=RowTable)
    payments: RowTable[Payment] = field(default_factory=RowTable)
    credit_notes: RowTable[Credit] = field(default_factory=RowTable)
    overpayments: RowTable[Credit] = field(default_factory=RowTable)
    prepayments: RowTable[Credit] = field(default_factory=RowTable)
    counters: dict[str, int] = field(default_factory=dict)

    def table(self, resource: Resource) -> RowTable[Any]:
        """Return the table of a resource."""
        table: RowTable[Any] = getattr(self, _TABLE_NAMES[resource])
        return table

    def document(self, kind: DocumentKind, row_id: str) -> Document:
        """Return an invoice or credit by its id. Raises KeyError."""
        row: Document = self.table(kind).by_id[row_id]
        return row

    def clear_rendered(self) -> None:
        """Drop the cached JSON of every row."""
        for resource in _TABLE_NAMES:
            for row in self.table(resource).by_id.values():
                row.rendered.clear()

    def next_number(self, prefix: str) -> str:
        """Return the next document number with this prefix, such as `INV-00042`."""
        self.counters[prefix] = self.counters.get(prefix, 0) + 1
        return f"{prefix}-{self.counters[prefix]:05d}"


_TABLE_NAMES: dict[Resource, str] = {
    "Contacts": "contacts",
    "Invoices": "invoices",
    "Payments": "payments",
    "CreditNotes": "credit_notes",
    "Overpayments": "overpayments",
    "Prepayments": "prepayments",
}
RESOURCES: tuple[Resource, ...] = tuple(_TABLE_NAMES)
