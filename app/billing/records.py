"""The records a connector translates a vendor's rows into: plain, immutable, and without a database."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum

from msgspec import Struct

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def believe_stamp(stamp: datetime, read_at: datetime) -> datetime:
    """Return a vendor's time of the last change as far as it can be true.

    None is later than the response that tells it: believed, it would hide every change until that instant. Anything
    before 1970, such as the least date of .NET, stands for no date.

    Args:
        stamp: as the vendor wrote it.
        read_at: the vendor's clock at the response.
    """
    return min(max(stamp, EPOCH), read_at)


class Resource(StrEnum):
    """A list of the vendor that is mirrored.

    The order is the order of a run: a document finds its customer, and a payment its invoice, already stored.
    """

    CONTACTS = "contacts"
    INVOICES = "invoices"
    CREDIT_MEMOS = "credit_memos"
    PAYMENTS = "payments"


class DocumentStatus(StrEnum):
    """The state of an invoice or a credit memo, the same for every vendor."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    DELETED = "deleted"


class PaymentStatus(StrEnum):
    """Whether a payment counts."""

    ACTIVE = "active"
    DELETED = "deleted"


class CreditKind(StrEnum):
    """The kind of credit that an allocation is taken from."""

    CREDIT_MEMO = "credit_memo"
    OVERPAYMENT = "overpayment"
    PREPAYMENT = "prepayment"


class UpsertOutcome(StrEnum):
    """What an upsert did with one row; `skipped` rows are older than the stored one, or not mirrored at all."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"


# Encoded without defaults, because every document holds its contact and most of it is not known there.
class ContactRecord(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A contact of the vendor.

    Attributes:
        is_customer: whether the vendor marks it as a customer; None where the response did not say.
        is_archived: hidden in the vendor's lists, still readable.
        merged_into: external id of the contact this one was merged into, when the vendor says so.
        receivable: the vendor's own outstanding amount in its base currency; None where the response had none.
        vendor_updated_at: the vendor's time of the last change; None for a contact seen inside a document only.
    """

    external_id: str
    name: str
    email: str | None = None
    is_customer: bool | None = None
    is_archived: bool = False
    merged_into: str | None = None
    receivable: Decimal | None = None
    vendor_updated_at: datetime | None = None


class AllocationRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A part of a credit applied to an invoice.

    Attributes:
        credit_external_id: external id of the credit memo, overpayment or prepayment.
        external_id: the vendor's id of the allocation, where it has one.
    """

    kind: CreditKind = CreditKind.CREDIT_MEMO
    credit_external_id: str
    invoice_external_id: str
    amount: Decimal
    applied_on: date | None
    external_id: str | None = None


class InvoiceRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A receivable. Amounts are in `currency`; `exchange_rate` is units of it per unit of the base currency.

    Attributes:
        applied_credits: the overpayments and prepayments applied to it; None where the response did not list them.
            Credit memos are not among them: their own record lists their allocations.
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


class PaymentRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A payment of one invoice; `currency` is None where the response left it out, and is then the invoice's."""

    external_id: str
    contact: ContactRecord | None
    invoice_external_id: str
    amount: Decimal
    currency: str | None
    exchange_rate: Decimal | None
    paid_on: date | None
    reference: str | None
    status: PaymentStatus
    vendor_updated_at: datetime


class CreditMemoRecord(Struct, frozen=True, kw_only=True, gc=False):
    """A credit to a customer.

    Attributes:
        allocations: all of them, so that one that is missing is no longer applied; None where the response did not
            list them.
    """

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
    allocations: tuple[AllocationRecord, ...] | None = ()


class Batch(Struct, frozen=True, kw_only=True, gc=False):
    """The records of one response of the vendor."""

    contacts: Sequence[ContactRecord] = ()
    invoices: Sequence[InvoiceRecord] = ()
    payments: Sequence[PaymentRecord] = ()
    credit_memos: Sequence[CreditMemoRecord] = ()

    def records_of(
        self, resource: Resource
    ) -> Sequence[ContactRecord] | Sequence[InvoiceRecord] | Sequence[PaymentRecord] | Sequence[CreditMemoRecord]:
        match resource:
            case Resource.CONTACTS:
                return self.contacts
            case Resource.INVOICES:
                return self.invoices
            case Resource.CREDIT_MEMOS:
                return self.credit_memos
            case Resource.PAYMENTS:
                return self.payments


class Counts(Struct, frozen=True, kw_only=True, gc=False):
    """How many rows of a batch had each `UpsertOutcome`."""

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
