"""What any vendor must be translated into: plain, frozen, exact."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from msgspec import Struct

DocumentStatus = Literal["draft", "open", "paid", "void", "deleted"]
PaymentStatus = Literal["active", "deleted"]


class ContactRecord(Struct, frozen=True, kw_only=True):
    """A party in the vendor's books.

    Attributes:
        is_customer: whether the vendor says it buys; None where the answer did not carry the fact.
        is_archived: hidden in the vendor's lists, still readable.
        merged_into: the contact this one was merged into, when the vendor says so.
        receivable: what the vendor itself says is outstanding, in its base currency; None where nothing is said.
        vendor_updated_at: the vendor's stamp; None when only seen inside a document.
    """

    external_id: str
    name: str
    email: str | None = None
    is_customer: bool | None = None
    is_archived: bool = False
    merged_into: str | None = None
    receivable: Decimal | None = None
    vendor_updated_at: datetime | None = None


class AllocationRecord(Struct, frozen=True, kw_only=True):
    """A part of a credit applied to an invoice.

    Attributes:
        credit_external_id: the credit memo, overpayment or prepayment it is taken from.
        external_id: the vendor's own id of the allocation, where it gives one.
    """

    kind: Literal["credit_memo", "overpayment", "prepayment"] = "credit_memo"
    credit_external_id: str
    invoice_external_id: str
    amount: Decimal
    applied_on: date | None
    external_id: str | None = None


class InvoiceRecord(Struct, frozen=True, kw_only=True):
    """A receivable. Money in `currency`; `exchange_rate` is foreign units per base unit, as it comes.

    Attributes:
        applied_credits: overpayments and prepayments applied to it, as seen from the invoice; None where the answer
            did not carry them. Credit memos are left out: their own record lists their allocations.
    """

    external_id: str
    contact: ContactRecord
    number: str | None
    reference: str | None
    status: DocumentStatus
    vendor_status: str
    currency: str
    exchange_rate: Decimal | None
    subtotal: Decimal | None
    tax: Decimal | None
    total: Decimal
    paid: Decimal
    credited: Decimal
    balance: Decimal
    issued_on: date | None
    due_on: date | None
    paid_on: date | None
    vendor_url: str | None
    vendor_updated_at: datetime
    applied_credits: tuple[AllocationRecord, ...] | None = None


class PaymentRecord(Struct, frozen=True, kw_only=True):
    """One payment-invoice settlement touch."""

    external_id: str
    contact: ContactRecord | None
    invoice_external_id: str
    amount: Decimal
    currency: str
    exchange_rate: Decimal | None
    paid_on: date | None
    reference: str | None
    status: PaymentStatus
    vendor_updated_at: datetime


class CreditMemoRecord(Struct, frozen=True, kw_only=True):
    """A credit to a customer. `allocations` is the whole set: what is not in it is no longer applied."""

    external_id: str
    contact: ContactRecord
    number: str | None
    reference: str | None
    status: DocumentStatus
    vendor_status: str
    currency: str
    exchange_rate: Decimal | None
    total: Decimal
    remaining: Decimal
    issued_on: date | None
    vendor_url: str | None
    vendor_updated_at: datetime
    allocations: tuple[AllocationRecord, ...] = ()


class Batch(Struct, frozen=True, kw_only=True):
    """The rows of one answer, each id once."""

    contacts: Sequence[ContactRecord] = ()
    invoices: Sequence[InvoiceRecord] = ()
    payments: Sequence[PaymentRecord] = ()
    credit_memos: Sequence[CreditMemoRecord] = ()


class Counts(Struct, frozen=True, kw_only=True):
    """What a write did to the rows of a batch; `skipped` are older than what was there, or no customer's."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            created=self.created + other.created,
            updated=self.updated + other.updated,
            unchanged=self.unchanged + other.unchanged,
            skipped=self.skipped + other.skipped,
        )


class Resource(StrEnum):
    """What is pulled, in the order that joins best: documents find their customers, payments their invoices."""

    CONTACTS = "contacts"
    INVOICES = "invoices"
    CREDIT_MEMOS = "credit_memos"
    PAYMENTS = "payments"
