"""Changes the rows of an organisation: the base class of all edits, and the editor they work with."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from random import Random
from typing import Literal, TypeVar
from uuid import UUID

import msgspec

from simulator.books.model import Contact, Credit, Document, Invoice, Payment, Resource, Row
from simulator.books.organisation import Organisation
from simulator.clock import DAY_MS
from simulator.options import SimulatorOptions

EventType = Literal["CREATE", "UPDATE"]
T = TypeVar("T")


class InvalidEdit(Exception):
    """An edit names a row that does not exist, or Xero would not allow it; the message says which."""


@dataclass(slots=True, frozen=True)
class Change:
    """One row that was created or changed, and the type of the webhook event that reports it."""

    resource: Resource
    row: Row
    event_type: EventType = "UPDATE"


class Edit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="edit"):
    """A change to an organisation's books, as the control API receives it; amounts are decimal strings."""

    def apply(self, editor: "BooksEditor") -> list[Change]:
        """Make the change and return the changed rows, for webhook events. Raises InvalidEdit."""
        # Only the edits themselves are ever decoded; a struct of msgspec does not enforce abstract methods.
        raise NotImplementedError


@dataclass(slots=True)
class BooksEditor:
    """Changes one organisation at the time `now` (milliseconds), which becomes the UpdatedDateUTC of changed rows.

    The methods that find rows by id raise InvalidEdit when there is none.
    """

    organisation: Organisation
    options: SimulatorOptions
    rng: Random
    now: int

    @property
    def today(self) -> int:
        return self.now // DAY_MS * DAY_MS

    def new_id(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def contact(self, row_id: str) -> Contact:
        return _found(self.organisation.contacts.get(row_id), "contact", row_id)

    def invoice(self, row_id: str) -> Invoice:
        return _found(self.organisation.invoices.get(row_id), "invoice", row_id)

    def payment(self, row_id: str) -> Payment:
        return _found(self.organisation.payments.get(row_id), "payment", row_id)

    def credit(self, row_id: str) -> Credit:
        tables = (self.organisation.credit_notes, self.organisation.overpayments, self.organisation.prepayments)
        return _found(next((row for table in tables if (row := table.get(row_id))), None), "credit", row_id)

    def add(self, resource: Resource, row: Row) -> Change:
        """Add a new row."""
        self.organisation.table(resource).add(row)
        return Change(resource, row, "CREATE")

    def mark_updated(self, resource: Resource, row: Row) -> Change:
        """Set a row's UpdatedDateUTC to now."""
        self.organisation.table(resource).update_timestamp(row, self.now)
        return Change(resource, row)

    def clear_rendered(self, documents: Iterable[Document]) -> None:
        """Drop the cached JSON of documents and of their contacts, whose balances depend on them."""
        for document in documents:
            document.rendered.clear()
            self.organisation.contacts.by_id[document.contact_id].rendered.clear()


def parse_cents(amount: Decimal) -> int:
    """Return 1250 for `12.50`. Raises InvalidEdit for fractions of a cent."""
    cents = amount.scaleb(2)
    if cents != int(cents):
        raise InvalidEdit(f"{amount} has more than two decimal places; give whole cents.")
    return int(cents)


def midnight_ms(day: date) -> int:
    """Return the midnight UTC of a calendar date, in milliseconds since 1970."""
    return (day - date(1970, 1, 1)).days * DAY_MS


def require(condition: object, message: str) -> None:
    """Raise InvalidEdit with this message unless the condition holds."""
    if not condition:
        raise InvalidEdit(message)


def _found(row: T | None, noun: str, row_id: str) -> T:
    if row is None:
        raise InvalidEdit(f"There is no {noun} {row_id} in this organisation; read its state for the ids.")
    return row
