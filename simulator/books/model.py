"""The rows of an organisation's books.

Money is in whole cents. Timestamps (`…_at`) and calendar dates (`…_on`, at midnight UTC) are in milliseconds since
1970.
"""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

CreditKind = Literal["CreditNotes", "Overpayments", "Prepayments"]
DocumentKind = Literal["Invoices", "CreditNotes", "Overpayments", "Prepayments"]
Resource = Literal["Contacts", "Invoices", "Payments", "CreditNotes", "Overpayments", "Prepayments"]


@dataclass(slots=True, kw_only=True)
class Row:
    """The fields of every row: its id, its UpdatedDateUTC and its JSON, cached by level of detail until it changes."""

    id: str
    updated_at: int
    rendered: dict[str, bytes] = field(default_factory=dict, repr=False)
    overrides: dict[str, object] | None = None
    """Fields written in place of the real ones, so that tests can send invalid rows; None sends the real ones."""


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
    """A line item of a document."""

    id: str
    description: str
    quantity: Decimal
    unit_amount: int
    tax: int
    amount: int
    account_code: str
    tax_type: str


@dataclass(slots=True, frozen=True)
class AppliedCredit:
    """A reference from an invoice to a credit that was allocated to it."""

    kind: CreditKind
    credit_id: str
    allocation_id: str


@dataclass(slots=True, kw_only=True)
class Document(Row):
    """The fields that invoices and credits share.

    `rate` is Xero's CurrencyRate: foreign units per base unit, None where Xero leaves it out.
    """

    type: str
    number: str
    contact_id: str
    status: str
    issued_on: int
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
    due_on: int | None = None
    paid: int = 0
    credited: int = 0
    is_sent: bool | None = None
    applied_credits: list[AppliedCredit] = field(default_factory=list)

    @property
    def amount_due(self) -> int:
        return 0 if self.status == "VOIDED" else self.total - self.paid - self.credited


@dataclass(slots=True, frozen=True)
class Allocation:
    """The part of a credit that was applied to one invoice."""

    id: str
    invoice_id: str
    amount: int
    applied_on: int


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
    """A batch payment: several payments that the bank shows as one line."""

    id: str
    account_id: str
    type: str
    paid_on: int
    total: int
    updated_at: int


@dataclass(slots=True, kw_only=True)
class Payment(Row):
    """A payment or refund. `document` names what was paid: an invoice, or the credit that was refunded."""

    type: str
    paid_on: int
    amount: int
    bank_amount: int
    rate: Decimal | None
    document: tuple[DocumentKind, str]
    status: str = "AUTHORISED"
    reference: str = ""
    is_reconciled: bool = False
    account: tuple[str, str] = ("", "")
    batch: Batch | None = None
