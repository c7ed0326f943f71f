"""Where an organisation's rows are changed: the moment, the chance, and what follows from every change."""

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


class EditRefused(Exception):
    """What was asked for does not exist, or Xero would not allow it."""


@dataclass(slots=True, frozen=True)
class Change:
    """One row that changed, as a webhook would tell it."""

    resource: Resource
    row: Row
    event_type: EventType = "UPDATE"


class Edit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="edit"):
    """Something done to an organisation's books, as the control API takes it; money as decimal text."""

    def apply(self, desk: "Desk") -> list[Change]:
        """Do it, and say what changed so that a webhook could tell. Raises EditRefused."""
        raise NotImplementedError


@dataclass(slots=True)
class Desk:
    """An organisation being edited at the instant `now` (milliseconds), which becomes the stamp of what changes."""

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
        shelves = (self.organisation.credit_notes, self.organisation.overpayments, self.organisation.prepayments)
        return _found(next((row for shelf in shelves if (row := shelf.get(row_id))), None), "credit", row_id)

    def add(self, resource: Resource, row: Row) -> Change:
        self.organisation.shelf(resource).add(row)
        return Change(resource, row, "CREATE")

    def move(self, resource: Resource, row: Row) -> Change:
        """Stamp a row as changed now."""
        self.organisation.shelf(resource).move(row, self.now)
        return Change(resource, row)

    def forget(self, documents: Iterable[Document]) -> None:
        """Throw away the rendered forms of documents, and of the contacts whose balances they make."""
        for document in documents:
            document.rendered.clear()
            self.organisation.contacts.rows[document.contact_id].rendered.clear()


def to_cents(amount: Decimal) -> int:
    """`12.50` as 1250. Raises EditRefused for fractions of a cent."""
    cents = amount.scaleb(2)
    if cents != int(cents):
        raise EditRefused(f"{amount} has more than two decimal places; give whole cents.")
    return int(cents)


def to_day(day: date) -> int:
    """A calendar date as its midnight UTC in milliseconds."""
    return (day - date(1970, 1, 1)).days * DAY_MS


def require(condition: object, sentence: str) -> None:
    if not condition:
        raise EditRefused(sentence)


def _found(row: T | None, noun: str, row_id: str) -> T:
    if row is None:
        raise EditRefused(f"There is no {noun} {row_id} in this organisation; read its state for the ids.")
    return row
