"""One pretend organisation: its rows by resource, each kept in Xero's default order."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from simulator.books.model import Contact, Credit, Document, DocumentKind, Invoice, Payment, Resource, Row

R = TypeVar("R", bound=Row)


class Shelf(Generic[R]):
    """Rows by id, and their order by UpdatedDateUTC then id, cheap to walk from any moment on."""

    def __init__(self) -> None:
        self.rows: dict[str, R] = {}
        self._order: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[R]:
        return (self.rows[key] for _, key in self._order)

    def get(self, row_id: str) -> R | None:
        return self.rows.get(row_id.lower())

    def add(self, row: R) -> None:
        self.rows[row.id] = row
        insort(self._order, (row.updated, row.id))

    def fill(self, rows: Iterable[R]) -> None:
        """Add many rows at once, which sorting makes cheaper than adding each."""
        for row in rows:
            self.rows[row.id] = row
        self._order = sorted((row.updated, row.id) for row in self.rows.values())

    def move(self, row: R, updated: int) -> None:
        """Give a row a new stamp, and with it a new place."""
        del self._order[bisect_left(self._order, (row.updated, row.id))]
        row.updated = updated
        row.rendered.clear()
        insort(self._order, (row.updated, row.id))

    def since(self, stamp: int) -> list[R]:
        """The rows stamped at or after `stamp`, in order."""
        return [self.rows[key] for _, key in self._order[bisect_left(self._order, (stamp, "")) :]]


@dataclass(slots=True, kw_only=True)
class Organisation:
    """A tenant. Practices are tenants too, with empty books that the accounting API will not open."""

    tenant_id: str
    name: str
    tenant_type: str = "ORGANISATION"
    country: str = "AU"
    currency: str = "AUD"
    is_high_volume: bool = False
    is_offline: bool = False
    contacts: Shelf[Contact] = field(default_factory=Shelf)
    invoices: Shelf[Invoice] = field(default_factory=Shelf)
    payments: Shelf[Payment] = field(default_factory=Shelf)
    credit_notes: Shelf[Credit] = field(default_factory=Shelf)
    overpayments: Shelf[Credit] = field(default_factory=Shelf)
    prepayments: Shelf[Credit] = field(default_factory=Shelf)
    counters: dict[str, int] = field(default_factory=dict)

    def shelf(self, resource: Resource) -> Shelf[Any]:
        shelf: Shelf[Any] = getattr(self, _SHELVES[resource])
        return shelf

    def document(self, kind: DocumentKind, row_id: str) -> Document:
        row: Document = self.shelf(kind).rows[row_id]
        return row

    def forget_rendered(self) -> None:
        for resource in _SHELVES:
            for row in self.shelf(resource).rows.values():
                row.rendered.clear()

    def next_number(self, prefix: str) -> str:
        self.counters[prefix] = self.counters.get(prefix, 0) + 1
        return f"{prefix}-{self.counters[prefix]:05d}"


_SHELVES: dict[Resource, str] = {
    "Contacts": "contacts",
    "Invoices": "invoices",
    "Payments": "payments",
    "CreditNotes": "credit_notes",
    "Overpayments": "overpayments",
    "Prepayments": "prepayments",
}
RESOURCES: tuple[Resource, ...] = tuple(_SHELVES)
