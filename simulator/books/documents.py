"""Edits of invoices and credits: create, approve, void, delete, change the due date or reference.

Also two edits of any row: `stamp` sets its UpdatedDateUTC, `spoil` overrides its fields.
"""

from datetime import date
from decimal import Decimal
from typing import Any, Literal

from typing_extensions import override

from simulator.books.editor import BooksEditor, Change, Edit, InvalidEdit, midnight_ms, parse_cents, require
from simulator.books.model import Contact, Credit, CreditKind, Document, DocumentKind, Invoice, Line, Resource
from simulator.clock import DAY_MS

_PAYMENT_TERMS_DAYS = 20
_TAX_DIVISOR = 11  # A tenth on top of the net is an eleventh of the gross.
SALES_TYPES = {"ACCREC", "ACCRECCREDIT", "RECEIVE-OVERPAYMENT", "RECEIVE-PREPAYMENT"}
_DRAFT_STATUSES = ("DRAFT", "SUBMITTED")

InvoiceStatus = Literal["DRAFT", "SUBMITTED", "AUTHORISED"]


class CreateDocument(Edit):
    """The fields of every new document. Without a rate, a document in a foreign currency gets 1.500000."""

    contact_id: str
    total: Decimal = Decimal("110.00")
    currency: str | None = None
    rate: Decimal | None = None
    issued_on: date | None = None
    status: InvoiceStatus = "AUTHORISED"
    number: str | None = None
    reference: str = ""
    id: str | None = None

    def fields(self, editor: BooksEditor, kind: DocumentKind, document_type: str) -> dict[str, Any]:
        """Return the fields of a new row of this kind. Raises InvalidEdit when its id is taken."""
        row_id = (self.id or editor.new_id()).lower()
        require(editor.organisation.table(kind).get(row_id) is None, f"{row_id} exists already among the {kind}.")
        total = parse_cents(self.total)
        tax = round(total / _TAX_DIVISOR)
        line = make_line(editor, total - tax, tax, "Managed services", document_type)
        currency = self.currency or editor.organisation.currency
        return {
            "id": row_id,
            "updated_at": editor.now,
            "type": document_type,
            "contact_id": editor.contact(self.contact_id).id,
            "status": self.status,
            "issued_on": midnight_ms(self.issued_on) if self.issued_on else editor.today,
            "currency": currency,
            "rate": self.rate or Decimal("1.000000" if currency == editor.organisation.currency else "1.500000"),
            "reference": self.reference,
            "lines": (line,),
            "subtotal": total - tax,
            "tax": tax,
            "total": total,
        }


class CreateInvoice(CreateDocument, tag="create_invoice"):
    """Create an invoice.

    The first ACCREC invoice makes its contact a customer, the first ACCPAY invoice a supplier; neither changes the
    contact's UpdatedDateUTC.
    """

    type: Literal["ACCREC", "ACCPAY"] = "ACCREC"
    due_on: date | None = None

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        contact = editor.contact(self.contact_id)
        number = self.number or editor.organisation.next_number("INV" if self.type == "ACCREC" else "BILL")
        row = Invoice(number=number, **self.fields(editor, "Invoices", self.type))
        row.due_on = midnight_ms(self.due_on) if self.due_on else row.issued_on + _PAYMENT_TERMS_DAYS * DAY_MS
        return [add_document(editor, "Invoices", row, contact)]


class CreateCreditNote(CreateDocument, tag="create_credit_note"):
    """Create a credit note."""

    type: Literal["ACCRECCREDIT", "ACCPAYCREDIT"] = "ACCRECCREDIT"

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        number = self.number or (editor.organisation.next_number("CN") if self.type == "ACCRECCREDIT" else "")
        return [_add_credit(editor, "CreditNotes", self.fields(editor, "CreditNotes", self.type), number)]


class CreateOverpayment(CreateDocument, tag="create_overpayment"):
    """Create an overpayment received from a customer."""

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        return [_add_credit(editor, "Overpayments", self.fields(editor, "Overpayments", "RECEIVE-OVERPAYMENT"), "")]


class CreatePrepayment(CreateDocument, tag="create_prepayment"):
    """Create a prepayment received from a customer."""

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        return [_add_credit(editor, "Prepayments", self.fields(editor, "Prepayments", "RECEIVE-PREPAYMENT"), "")]


class Approve(Edit, tag="approve"):
    """Set a draft to AUTHORISED."""

    id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        kind, document = find_document(editor, self.id)
        require(document.status in _DRAFT_STATUSES, f"Only a draft can be approved; this is {document.status}.")
        return [_set_status(editor, kind, document, "AUTHORISED")]


class Void(Edit, tag="void"):
    """Void a document: due, paid and credited become zero, the total stays. Refused if part-paid or credited."""

    id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        kind, document = find_document(editor, self.id)
        require(document.status == "AUTHORISED", f"Only AUTHORISED documents can be voided; this is {document.status}.")
        require(
            not _has_payments_or_allocations(document),
            "Remove the payments and allocations first; Xero voids nothing part-paid.",
        )
        return [_set_status(editor, kind, document, "VOIDED")]


class Delete(Edit, tag="delete"):
    """Set a draft to DELETED; its amounts stay as they were."""

    id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        kind, document = find_document(editor, self.id)
        require(
            document.status in _DRAFT_STATUSES,
            f"Only a draft can be deleted; this is {document.status}. Void it instead.",
        )
        return [_set_status(editor, kind, document, "DELETED")]


class ChangeDueDate(Edit, tag="change_due_date"):
    """Change an invoice's due date.

    UpdatedDateUTC changes too, except on a part-paid invoice: Xero makes no journal for that edit and does not
    report it.
    """

    invoice_id: str
    due_on: date

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        invoice = editor.invoice(self.invoice_id)
        invoice.due_on = midnight_ms(self.due_on)
        editor.clear_rendered([invoice])
        if invoice.paid or invoice.credited:
            return []
        return [editor.mark_updated("Invoices", invoice)]


class ChangeReference(Edit, tag="change_reference"):
    """Change a document's reference."""

    id: str
    reference: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        kind, document = find_document(editor, self.id)
        document.reference = self.reference
        return [editor.mark_updated(kind, document)]


class UpdateTimestamp(Edit, tag="stamp"):
    """Set a row's UpdatedDateUTC and nothing else; a past `at` makes a change that becomes visible late."""

    resource: Resource
    id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        row = editor.organisation.table(self.resource).get(self.id)
        if row is None:
            raise InvalidEdit(f"There is no {self.id} among the {self.resource}.")
        return [editor.mark_updated(self.resource, row)]


class OverrideFields(Edit, tag="spoil"):
    """Send these fields in place of a row's real ones, null included; no fields ends it. Sets UpdatedDateUTC."""

    resource: Resource
    id: str
    fields: dict[str, Any]

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        changes = UpdateTimestamp(resource=self.resource, id=self.id).apply(editor)
        changes[0].row.overrides = self.fields
        return changes


def find_document(editor: BooksEditor, row_id: str) -> tuple[DocumentKind, Document]:
    """Return an invoice or credit by its id, and its kind. Raises InvalidEdit."""
    invoice = editor.organisation.invoices.get(row_id)
    if invoice is not None:
        return "Invoices", invoice
    credit = editor.credit(row_id)
    return credit.kind, credit


def add_document(editor: BooksEditor, kind: DocumentKind, document: Document, contact: Contact) -> Change:
    """Add a document and make its contact a customer or supplier, without changing the contact's UpdatedDateUTC."""
    contact.documents.append((kind, document.id))
    if kind == "Invoices":
        contact.is_customer |= document.type in SALES_TYPES
        contact.is_supplier |= document.type not in SALES_TYPES
    contact.rendered.clear()
    return editor.add(kind, document)


def make_line(editor: BooksEditor, net: int, tax: int, description: str, document_type: str) -> Line:
    account, tax_type = ("200", "OUTPUT") if document_type in SALES_TYPES else ("400", "INPUT")
    return Line(editor.new_id(), description, Decimal("1.0000"), net, tax, net, account, tax_type)


def _add_credit(editor: BooksEditor, kind: CreditKind, fields: dict[str, Any], number: str) -> Change:
    return add_document(editor, kind, Credit(kind=kind, number=number, **fields), editor.contact(fields["contact_id"]))


def _set_status(editor: BooksEditor, kind: DocumentKind, document: Document, status: str) -> Change:
    document.status = status
    editor.clear_rendered([document])
    return editor.mark_updated(kind, document)


def _has_payments_or_allocations(document: Document) -> bool:
    if isinstance(document, Credit):
        return bool(document.allocations or document.refunded)
    return isinstance(document, Invoice) and bool(document.paid or document.credited)
