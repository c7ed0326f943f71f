"""Every edit the control API takes, and those that change many rows at once."""

from collections.abc import Callable
from typing import Literal

import msgspec
from typing_extensions import override

from simulator.books import contacts, documents, settlements
from simulator.books.editor import Change, Desk, Edit, EditRefused, require
from simulator.books.model import Resource

_SECOND = 1000
BulkResource = Literal["Contacts", "Invoices", "Payments", "CreditNotes"]


class BulkEdit(Edit, tag="bulk_edit"):
    """Change `count` rows picked by chance: contacts are renamed, invoices paid or annotated, payments deleted."""

    resource: BulkResource
    count: int

    @override
    def apply(self, desk: Desk) -> list[Change]:
        rows = sorted(desk.organisation.shelf(self.resource).rows)
        picked = desk.rng.sample(rows, min(self.count, len(rows)))
        return [change for row_id in picked for change in _EDIT_ONE[self.resource](desk, row_id)]


class BulkInsert(Edit, tag="bulk_insert"):
    """Add `count` rows whose UpdatedDateUTC all lie in the second of `now`, at different milliseconds."""

    resource: BulkResource
    count: int
    contact_id: str | None = None

    @override
    def apply(self, desk: Desk) -> list[Change]:
        second = desk.now // _SECOND * _SECOND
        changes = []
        for number in range(self.count):
            desk.now = second + desk.rng.randrange(_SECOND)
            changes += _insert_one(desk, self.resource, number, self.contact_id)
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
    | documents.Stamp
    | documents.Spoil
    | settlements.Pay
    | settlements.Refund
    | settlements.DeletePayment
    | settlements.Allocate
    | settlements.Deallocate
    | BulkEdit
    | BulkInsert
)


def parse_edit(document: object) -> Edit:
    """`{"edit": "pay", "invoice_id": "..."}` as an edit. Raises EditRefused, naming the field that is wrong."""
    try:
        edit: Edit = msgspec.convert(document, AnyEdit)
    except msgspec.ValidationError as error:
        raise EditRefused(f"This is not an edit: {error}. GET /_control lists the edits and their fields.") from error
    return edit


def _insert_one(desk: Desk, resource: BulkResource, number: int, contact_id: str | None) -> list[Change]:
    contact = contact_id or _any_contact(desk)
    if resource == "Contacts":
        return contacts.CreateContact(name=f"Bulk customer {number:05d}").apply(desk)
    if resource == "CreditNotes":
        return documents.CreateCreditNote(contact_id=contact).apply(desk)
    invoice = documents.CreateInvoice(contact_id=contact).apply(desk)
    if resource == "Invoices":
        return invoice
    return [*invoice, *settlements.Pay(invoice_id=invoice[0].row.id).apply(desk)]


def _any_contact(desk: Desk) -> str:
    customers = (contact.id for contact in desk.organisation.contacts if contact.is_customer)
    found = next(customers, None)
    require(found, "This organisation has no customer yet; name a contact_id.")
    return str(found)


def _edit_contact(desk: Desk, row_id: str) -> list[Change]:
    name = desk.contact(row_id).name.split(" ~")[0]
    return contacts.Rename(contact_id=row_id, name=f"{name} ~{desk.rng.randrange(10_000)}").apply(desk)


def _edit_invoice(desk: Desk, row_id: str) -> list[Change]:
    invoice = desk.invoice(row_id)
    if invoice.status == "AUTHORISED" and invoice.amount_due > 0 and desk.rng.random() < 0.5:  # noqa: PLR2004 - a coin
        return settlements.Pay(invoice_id=row_id).apply(desk)
    return _annotate(desk, row_id)


def _edit_payment(desk: Desk, row_id: str) -> list[Change]:
    if desk.payment(row_id).status == "DELETED":
        return documents.Stamp(resource="Payments", id=row_id).apply(desk)
    return settlements.DeletePayment(payment_id=row_id).apply(desk)


def _annotate(desk: Desk, row_id: str) -> list[Change]:
    return documents.ChangeReference(id=row_id, reference=f"Edited {desk.rng.randrange(10_000)}").apply(desk)


_EDIT_ONE: dict[Resource, Callable[[Desk, str], list[Change]]] = {
    "Contacts": _edit_contact,
    "Invoices": _edit_invoice,
    "Payments": _edit_payment,
    "CreditNotes": _annotate,
}
