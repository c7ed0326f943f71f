"""Xero's JSON as it is delivered: the fields that are used, and decoding in which a bad row affects no other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from app.xero.parsing import Unreadable

CONTROLS = re.compile(rb"[\x00-\x1f]")
# Matches escape by escape, so that an escaped backslash before a `u` is not read as the start of a character.
ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)"
)
# Nine digits: no list has more rows, and a larger number would not fit the column it is stored in.
COUNT = re.compile(r"(\d{1,9})(?:\.0+)?", re.ASCII)
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

ABSENT = Raw()

RowT = TypeVar("RowT")


class Pagination(Struct, frozen=True, gc=False):
    """What the paging block of a response says; None for each number that it does not say."""

    pageCount: int | None = None  # noqa: N815 - Xero's spelling
    itemCount: int | None = None  # noqa: N815 - Xero's spelling
    pageSize: int | None = None  # noqa: N815 - Xero's spelling


@dataclass(frozen=True, slots=True)
class Envelope:
    """The object around the rows; its members stay undecoded, so that a bad row does not affect the others."""

    members: Mapping[str, Raw]

    def rows(self, path: str) -> Raw:
        """Return the array of rows."""
        return self.members.get(path, ABSENT)

    @property
    def answered_at(self) -> str:
        """Xero's own instant of the response as it writes it; empty when it does not say."""
        try:
            return msgspec.json.decode(self.members.get("DateTimeUTC", ABSENT), type=str)
        except UNREADABLE:
            return ""

    @property
    def pagination(self) -> Pagination:
        """The paging block, which is known by what it holds.

        It was absent, had another name, lacked numbers or wrote them as strings, all at some time since July 2024
        (XeroAPI/Xero-OpenAPI issues 597 and 605, calcinai/xero-php issue 918).
        """
        for member in self.members.values():
            block = decode_loosely(bytes(member)) if memoryview(member)[:1].tobytes() == b"{" else {}
            found = Pagination(**{name: _read_count(block.get(name)) for name in Pagination.__struct_fields__})
            if found.pageCount is not None or found.itemCount is not None:
                return found
        return Pagination()


def _read_count(value: object) -> int | None:
    """Return a count that was written as a number or as a string, or None for anything else."""
    found = COUNT.fullmatch(str(value))
    return int(found[1]) if found else None


class Receivable(Struct, gc=False):
    Outstanding: Decimal | None = None


class ContactBalances(Struct, gc=False):
    AccountsReceivable: Receivable | None = None


class Contact(Struct, gc=False):
    ContactID: str
    UpdatedDateUTC: str
    Name: str | None = None
    EmailAddress: str | None = None
    ContactStatus: str | None = None
    IsCustomer: bool | None = None
    MergedToContactID: str | None = None
    Balances: ContactBalances | None = None


class Party(Struct, gc=False):
    """The contact inside a document, of which Xero delivers a few fields."""

    ContactID: str
    Name: str | None = None
    EmailAddress: str | None = None


class AppliedCreditNote(Struct, gc=False):
    AppliedAmount: Decimal | None = None


class AppliedOverpayment(Struct, gc=False):
    OverpaymentID: str
    AppliedAmount: Decimal | None = None
    Date: str | None = None
    DateString: str | None = None


class AppliedPrepayment(Struct, gc=False):
    PrepaymentID: str
    AppliedAmount: Decimal | None = None
    Date: str | None = None
    DateString: str | None = None


class Invoice(Struct, gc=False):
    InvoiceID: str
    Type: str
    Status: str
    UpdatedDateUTC: str
    Contact: Party | None = None
    InvoiceNumber: str | None = None
    Reference: str | None = None
    CurrencyCode: str | None = None
    CurrencyRate: Decimal | None = None
    SubTotal: Decimal | None = None
    TotalTax: Decimal | None = None
    Total: Decimal | None = None
    AmountDue: Decimal | None = None
    AmountPaid: Decimal | None = None
    AmountCredited: Decimal | None = None
    Date: str | None = None
    DateString: str | None = None
    DueDate: str | None = None
    DueDateString: str | None = None
    FullyPaidOnDate: str | None = None
    CreditNotes: list[AppliedCreditNote] | None = None
    Overpayments: list[AppliedOverpayment] | None = None
    Prepayments: list[AppliedPrepayment] | None = None


class InvoiceReference(Struct, gc=False):
    InvoiceID: str


class Allocation(Struct, gc=False):
    Invoice: InvoiceReference
    Amount: Decimal
    AllocationID: str | None = None
    Date: str | None = None
    IsDeleted: bool | None = None


class CreditNote(Struct, gc=False):
    CreditNoteID: str
    Type: str
    Status: str
    UpdatedDateUTC: str
    Contact: Party | None = None
    CreditNoteNumber: str | None = None
    Reference: str | None = None
    CurrencyCode: str | None = None
    CurrencyRate: Decimal | None = None
    Total: Decimal | None = None
    RemainingCredit: Decimal | None = None
    Date: str | None = None
    DateString: str | None = None
    Allocations: list[Allocation] | None = None


class PaidDocument(Struct, gc=False):
    """The document a payment is for; Xero calls it `Invoice` even where it is a credit note."""

    InvoiceID: str
    Type: str | None = None
    Contact: Party | None = None
    CurrencyCode: str | None = None


class Payment(Struct, gc=False):
    PaymentID: str
    PaymentType: str
    Status: str
    UpdatedDateUTC: str
    Amount: Decimal | None = None
    CurrencyRate: Decimal | None = None
    Reference: str | None = None
    Date: str | None = None
    Invoice: PaidDocument | None = None


class Rows(Generic[RowT]):
    """The rows of one response, each decoded or with the reason why it cannot be.

    Args:
        raw: the JSON array.
        kind: the type of a row.
    """

    def __init__(self, raw: Raw, kind: type[RowT]) -> None:
        self._raw = raw
        self._kind = kind

    def decode(self) -> Sequence[RowT | Unreadable]:
        """Return every row in order: decoded as one list or, when a row is malformed, each by itself."""
        try:
            return msgspec.json.decode(self._raw, type=list[self._kind])  # type: ignore[name-defined]  # known at run time
        except UNREADABLE:
            return [self._decode_one(raw) for raw in self.sources()]

    def sources(self) -> list[Raw]:
        """Return each row as it was delivered.

        Raises:
            Unreadable: it is no list.
        """
        try:
            return msgspec.json.decode(self._raw, type=list[Raw])
        except UNREADABLE as error:
            raise Unreadable(str(error)) from None

    def _decode_one(self, raw: Raw) -> RowT | Unreadable:
        try:
            return msgspec.json.decode(repair(bytes(raw)), type=self._kind)
        except UNREADABLE as error:
            return Unreadable(str(error))


def decode_envelope(body: bytes) -> Envelope:
    """Decode the envelope around the rows.

    Raises:
        Unreadable: the body is no such JSON: HTML, empty, truncated or nested too deeply.
    """
    try:
        return Envelope(msgspec.json.decode(body, type=dict[str, Raw]))
    except UNREADABLE:
        pass
    try:
        return Envelope(msgspec.json.decode(repair(body), type=dict[str, Raw]))
    except UNREADABLE as error:
        raise Unreadable(str(error)) from None


def decode_loosely(raw: bytes) -> dict[str, Any]:
    """Decode a row that does not have the form of its type; an empty dict when it is no JSON object."""
    try:
        found = msgspec.json.decode(repair(raw))
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def repair(body: bytes) -> bytes:
    """Replace what JSON does not allow but some producers write, so that one character does not fail the whole page.

    These are bytes that are not UTF-8, unescaped control characters, and halves of surrogate pairs.
    """
    if body.isascii() and b"\\" not in body and not CONTROLS.search(body):
        return body
    text = body.decode("utf-8-sig", "replace").encode()
    return ESCAPE.sub(lambda found: rb"\ufffd" if found["lone"] else found[0], CONTROLS.sub(b" ", text))
