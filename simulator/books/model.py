"""The rows of a pretend organisation: money in whole cents, stamps and dates in milliseconds since 1970."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

CreditKind = Literal["CreditNotes", "Overpayments", "Prepayments"]
DocumentKind = Literal["Invoices", "CreditNotes", "Overpayments", "Prepayments"]
Resource = Literal["Contacts", "Invoices", "Payments", "CreditNotes", "Overpayments", "Prepayments"]


@dataclass(slots=True, kw_only=True)
class Row:
    """What every row has: its id, its UpdatedDateUTC, and its rendered forms, thrown away when it changes."""

    id: str
    updated: int
    rendered: dict[str, bytes] = field(default_factory=dict, repr=False)
    spoiled: dict[str, object] | None = None
    """Fields that are written in place of the true ones, to see who stumbles."""


@dataclass(slots=True, kw_only=True)
class Contact(Row):
    name: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    account_number: str | None = None
    phone: str = ""
    city: str = ""
    country: str = ""
    status: str = "ACTIVE"
    is_customer: bool = False
    is_supplier: bool = False
    default_currency: str | None = None
    merged_to: str | None = None
    documents: list[tuple[DocumentKind, str]] = field(default_factory=list, repr=False)


@dataclass(slots=True, frozen=True)
class Line:
    id: str
    description: str
    quantity: Decimal
    unit_amount: int
    tax: int
    amount: int
    account_code: str
    tax_type: str


@dataclass(slots=True, frozen=True)
class Touch:
    """A credit seen from the invoice it was applied to."""

    kind: CreditKind
    credit_id: str
    allocation_id: str


@dataclass(slots=True, kw_only=True)
class Document(Row):
    """What invoices and credits share. `rate` is foreign units per base unit, None where Xero leaves it out."""

    type: str
    number: str
    contact_id: str
    status: str
    issued: int
    currency: str
    rate: Decimal | None = None
    reference: str = ""
    lines: tuple[Line, ...] = ()
    subtotal: int = 0
    tax: int = 0
    total: int = 0
    paid_on: int | None = None
    payments: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Invoice(Document):
    due: int | None = None
    paid: int = 0
    credited: int = 0
    is_sent: bool | None = None
    touches: list[Touch] = field(default_factory=list)

    @property
    def amount_due(self) -> int:
        return 0 if self.status == "VOIDED" else self.total - self.paid - self.credited


@dataclass(slots=True, frozen=True)
class Allocation:
    id: str
    invoice_id: str
    amount: int
    on: int


@dataclass(slots=True, kw_only=True)
class Credit(Document):
    """A credit note, overpayment or prepayment."""

    kind: CreditKind
    allocations: list[Allocation] = field(default_factory=list)
    refunded: int = 0

    @property
    def remaining(self) -> int:
        if self.status == "VOIDED":
            return 0
        return self.total - self.refunded - sum(allocation.amount for allocation in self.allocations)


@dataclass(slots=True, frozen=True)
class Batch:
    id: str
    account_id: str
    type: str
    on: int
    total: int
    updated: int


@dataclass(slots=True, kw_only=True)
class Payment(Row):
    """`document` is what was paid or refunded: not always an invoice."""

    type: str
    on: int
    amount: int
    bank_amount: int
    rate: Decimal | None
    document: tuple[DocumentKind, str]
    status: str = "AUTHORISED"
    reference: str = ""
    is_reconciled: bool = False
    account: tuple[str, str] = ("", "")
    batch: Batch | None = None
