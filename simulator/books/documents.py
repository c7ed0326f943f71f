"""Edits of invoices and credits themselves: create, approve, void, delete, change a due date."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal

from typing_extensions import override

from simulator.books.editor import Change, Desk, Edit, EditRefused, require, to_cents, to_day
from simulator.books.model import Contact, Credit, CreditKind, Document, DocumentKind, Invoice, Line, Resource
from simulator.clock import DAY_MS

_TERMS_DAYS = 20
_TAX_DIVISOR = 11  # A tenth on top of the net is an eleventh of the gross.
SALES = {"ACCREC", "ACCRECCREDIT", "RECEIVE-OVERPAYMENT", "RECEIVE-PREPAYMENT"}
_DRAFTS = ("DRAFT", "SUBMITTED")

InvoiceStatus = Literal["DRAFT", "SUBMITTED", "AUTHORISED"]


class CreateDocument(Edit):
    """What may be said of any new document. Without a rate, a foreign one gets Xero's usual six decimals of 1.5."""

    contact_id: str
    total: Decimal = Decimal("110.00")
    currency: str | None = None
    rate: Decimal | None = None
    issued_on: date | None = None
    status: InvoiceStatus = "AUTHORISED"
    number: str | None = None
    reference: str = ""
    id: str | None = None

    def fields(self, desk: Desk, kind: DocumentKind, document_type: str) -> dict[str, Any]:
        """What a new row of this kind is made from. Raises EditRefused when its id is taken."""
        row_id = (self.id or desk.new_id()).lower()
        require(desk.organisation.shelf(kind).get(row_id) is None, f"{row_id} exists already among the {kind}.")
        total = to_cents(self.total)
        tax = round(total / _TAX_DIVISOR)
        line = make_line(desk, total - tax, tax, "Managed services", document_type)
        currency = self.currency or desk.organisation.currency
        return {
            "id": row_id,
            "updated": desk.now,
            "type": document_type,
            "contact_id": desk.contact(self.contact_id).id,
            "status": self.status,
            "issued": to_day(self.issued_on) if self.issued_on else desk.today,
            "currency": currency,
            "rate": self.rate or Decimal("1.000000" if currency == desk.organisation.currency else "1.500000"),
            "reference": self.reference,
            "lines": (line,),
            "subtotal": total - tax,
            "tax": tax,
            "total": total,
        }


class CreateInvoice(CreateDocument, tag="create_invoice"):
    """The first ACCREC invoice makes its contact a customer, the first ACCPAY a supplier, and moves no stamp."""

    type: Literal["ACCREC", "ACCPAY"] = "ACCREC"
    due_on: date | None = None

    @override
    def apply(self, desk: Desk) -> list[Change]:
        contact = desk.contact(self.contact_id)
        number = self.number or desk.organisation.next_number("INV" if self.type == "ACCREC" else "BILL")
        row = Invoice(number=number, **self.fields(desk, "Invoices", self.type))
        row.due = to_day(self.due_on) if self.due_on else row.issued + _TERMS_DAYS * DAY_MS
        return [place(desk, "Invoices", row, contact)]


class CreateCreditNote(CreateDocument, tag="create_credit_note"):
    type: Literal["ACCRECCREDIT", "ACCPAYCREDIT"] = "ACCRECCREDIT"

    @override
    def apply(self, desk: Desk) -> list[Change]:
        number = self.number or (desk.organisation.next_number("CN") if self.type == "ACCRECCREDIT" else "")
        return [_place_credit(desk, "CreditNotes", self.fields(desk, "CreditNotes", self.type), number)]


class CreateOverpayment(CreateDocument, tag="create_overpayment"):
    @override
    def apply(self, desk: Desk) -> list[Change]:
        return [_place_credit(desk, "Overpayments", self.fields(desk, "Overpayments", "RECEIVE-OVERPAYMENT"), "")]


class CreatePrepayment(CreateDocument, tag="create_prepayment"):
    @override
    def apply(self, desk: Desk) -> list[Change]:
        return [_place_credit(desk, "Prepayments", self.fields(desk, "Prepayments", "RECEIVE-PREPAYMENT"), "")]


class Approve(Edit, tag="approve"):
    id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        kind, document = find_document(desk, self.id)
        require(document.status in _DRAFTS, f"Only a draft can be approved; this is {document.status}.")
        return [_set_status(desk, kind, document, "AUTHORISED")]


class Void(Edit, tag="void"):
    """Due, paid and credited become zero, the total stays. Refused while payments or allocations exist."""

    id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        kind, document = find_document(desk, self.id)
        require(document.status == "AUTHORISED", f"Only AUTHORISED documents can be voided; this is {document.status}.")
        require(not _is_touched(document), "Remove the payments and allocations first; Xero voids nothing part-paid.")
        return [_set_status(desk, kind, document, "VOIDED")]


class Delete(Edit, tag="delete"):
    """Only a draft can be deleted; its amounts stay as they were."""

    id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        kind, document = find_document(desk, self.id)
        require(document.status in _DRAFTS, f"Only a draft can be deleted; this is {document.status}. Void it instead.")
        return [_set_status(desk, kind, document, "DELETED")]


class ChangeDueDate(Edit, tag="change_due_date"):
    """Moves the stamp, but not of a part-paid invoice: that edit makes no journal, and Xero does not report it."""

    invoice_id: str
    due_on: date

    @override
    def apply(self, desk: Desk) -> list[Change]:
        invoice = desk.invoice(self.invoice_id)
        invoice.due = to_day(self.due_on)
        desk.forget([invoice])
        if invoice.paid or invoice.credited:
            return []
        return [desk.move("Invoices", invoice)]


class ChangeReference(Edit, tag="change_reference"):
    id: str
    reference: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        kind, document = find_document(desk, self.id)
        document.reference = self.reference
        return [desk.move(kind, document)]


class Stamp(Edit, tag="stamp"):
    """Move a row's UpdatedDateUTC and nothing else; with a past `at`, a stamp that arrives late."""

    resource: Resource
    id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        row = desk.organisation.shelf(self.resource).get(self.id)
        if row is None:
            raise EditRefused(f"There is no {self.id} among the {self.resource}.")
        return [desk.move(self.resource, row)]


class Spoil(Edit, tag="spoil"):
    """Write these fields in place of a row's true ones, null included, until spoiled with none; moves the stamp."""

    resource: Resource
    id: str
    fields: dict[str, Any]

    @override
    def apply(self, desk: Desk) -> list[Change]:
        changes = Stamp(resource=self.resource, id=self.id).apply(desk)
        changes[0].row.spoiled = self.fields
        return changes


def find_document(desk: Desk, row_id: str) -> tuple[DocumentKind, Document]:
    invoice = desk.organisation.invoices.get(row_id)
    if invoice is not None:
        return "Invoices", invoice
    credit = desk.credit(row_id)
    return credit.kind, credit


def place(desk: Desk, kind: DocumentKind, document: Document, contact: Contact) -> Change:
    """Add a document and let its contact become a customer or supplier without moving the contact's stamp."""
    contact.documents.append((kind, document.id))
    if kind == "Invoices":
        contact.is_customer |= document.type in SALES
        contact.is_supplier |= document.type not in SALES
    contact.rendered.clear()
    return desk.add(kind, document)


def make_line(desk: Desk, net: int, tax: int, description: str, document_type: str) -> Line:
    account, tax_type = ("200", "OUTPUT") if document_type in SALES else ("400", "INPUT")
    return Line(desk.new_id(), description, Decimal("1.0000"), net, tax, net, account, tax_type)


def _place_credit(desk: Desk, kind: CreditKind, fields: dict[str, Any], number: str) -> Change:
    return place(desk, kind, Credit(kind=kind, number=number, **fields), desk.contact(fields["contact_id"]))


def _set_status(desk: Desk, kind: DocumentKind, document: Document, status: str) -> Change:
    document.status = status
    desk.forget([document])
    return desk.move(kind, document)


def _is_touched(document: Document) -> bool:
    if isinstance(document, Credit):
        return bool(document.allocations or document.refunded)
    return isinstance(document, Invoice) and bool(document.paid or document.credited)
