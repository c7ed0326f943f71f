"""The list of all edits that the control API accepts, and the two that change many rows at once."""

from collections.abc import Callable
from typing import Literal

import msgspec
from typing_extensions import override

from simulator.books import contacts, documents, settlements
from simulator.books.editor import BooksEditor, Change, Edit, InvalidEdit, require
from simulator.books.model import Resource

_SECOND = 1000
BulkResource = Literal["Contacts", "Invoices", "Payments", "CreditNotes"]


class BulkEdit(Edit, tag="bulk_edit"):
    """Change `count` random rows: contacts are renamed, invoices paid or given a new reference, payments deleted."""

    resource: BulkResource
    count: int

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        rows = sorted(editor.organisation.table(self.resource).by_id)
        picked = editor.rng.sample(rows, min(self.count, len(rows)))
        return [change for row_id in picked for change in _ROW_EDITS[self.resource](editor, row_id)]


class BulkInsert(Edit, tag="bulk_insert"):
    """Add `count` rows whose UpdatedDateUTC all lie in the current second, at different milliseconds."""

    resource: BulkResource
    count: int
    contact_id: str | None = None

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        second = editor.now // _SECOND * _SECOND
        changes = []
        for number in range(self.count):
            editor.now = second + editor.rng.randrange(_SECOND)
            changes += _insert_one(editor, self.resource, number, self.contact_id)
        return changes


AnyEdit = (
    contacts.CreateContact
    | contacts.Rename
    | contacts.Archive
    | contacts.Restore
    | contacts.Merge
    | documents.CreateInvoice
    | documents.CreateCreditNote
    | documents.CreateOverpayment
    | documents.CreatePrepayment
    | documents.Approve
    | documents.Void
    | documents.Delete
    | documents.ChangeDueDate
    | documents.ChangeReference
    | documents.UpdateTimestamp
    | documents.OverrideFields
    | settlements.Pay
    | settlements.Refund
    | settlements.DeletePayment
    | settlements.Allocate
    | settlements.Deallocate
    | BulkEdit
    | BulkInsert
)


def parse_edit(document: object) -> Edit:
    """Parse `{"edit": "pay", "invoice_id": "..."}`. Raises InvalidEdit, which names the field that is wrong."""
    try:
        edit: Edit = msgspec.convert(document, AnyEdit)
    except msgspec.ValidationError as error:
        raise InvalidEdit(f"This is not an edit: {error}. GET /_control lists the edits and their fields.") from error
    return edit


def _insert_one(editor: BooksEditor, resource: BulkResource, number: int, contact_id: str | None) -> list[Change]:
    contact = contact_id or _first_customer_id(editor)
    if resource == "Contacts":
        return contacts.CreateContact(name=f"Bulk customer {number:05d}").apply(editor)
    if resource == "CreditNotes":
        return documents.CreateCreditNote(contact_id=contact).apply(editor)
    invoice = documents.CreateInvoice(contact_id=contact).apply(editor)
    if resource == "Invoices":
        return invoice
    return [*invoice, *settlements.Pay(invoice_id=invoice[0].row.id).apply(editor)]


def _first_customer_id(editor: BooksEditor) -> str:
    customers = (contact.id for contact in editor.organisation.contacts if contact.is_customer)
    found = next(customers, None)
    require(found, "This organisation has no customer yet; name a contact_id.")
    return str(found)


def _edit_contact(editor: BooksEditor, row_id: str) -> list[Change]:
    name = editor.contact(row_id).name.split(" ~")[0]
    return contacts.Rename(contact_id=row_id, name=f"{name} ~{editor.rng.randrange(10_000)}").apply(editor)


def _edit_invoice(editor: BooksEditor, row_id: str) -> list[Change]:
    invoice = editor.invoice(row_id)
    if invoice.status == "AUTHORISED" and invoice.amount_due > 0 and editor.rng.random() < 0.5:  # noqa: PLR2004 - every second one on average
        return settlements.Pay(invoice_id=row_id).apply(editor)
    return _change_reference(editor, row_id)


def _edit_payment(editor: BooksEditor, row_id: str) -> list[Change]:
    if editor.payment(row_id).status == "DELETED":
        return documents.UpdateTimestamp(resource="Payments", id=row_id).apply(editor)
    return settlements.DeletePayment(payment_id=row_id).apply(editor)


def _change_reference(editor: BooksEditor, row_id: str) -> list[Change]:
    return documents.ChangeReference(id=row_id, reference=f"Edited {editor.rng.randrange(10_000)}").apply(editor)


_ROW_EDITS: dict[Resource, Callable[[BooksEditor, str], list[Change]]] = {
    "Contacts": _edit_contact,
    "Invoices": _edit_invoice,
    "Payments": _edit_payment,
    "CreditNotes": _change_reference,
}
