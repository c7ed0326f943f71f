"""The books in a plain form, for an oracle: money as decimal strings, stamps as RFC 3339, dates as YYYY-MM-DD."""

from collections.abc import Callable
from typing import Any

from simulator.books.model import Contact, Credit, Document, Invoice, Payment, Resource, Row
from simulator.books.organisation import Organisation
from simulator.clock import iso, iso_date
from simulator.wire.encoding import money

Plain = dict[str, Any]


def plain_organisation(books: Organisation) -> Plain:
    return {
        "tenant_id": books.tenant_id,
        "name": books.name,
        "tenant_type": books.tenant_type,
        "country": books.country,
        "currency": books.currency,
        "is_high_volume": books.is_high_volume,
        "is_offline": books.is_offline,
        "contacts": len(books.contacts),
        "invoices": len(books.invoices),
        "payments": len(books.payments),
        "credit_notes": len(books.credit_notes),
    }


def plain_rows(books: Organisation, resource: Resource) -> list[Plain]:
    """All rows of a resource in order of their stamps, archived and deleted ones included."""
    return [plain_row(resource, row) for row in books.shelf(resource)]


def plain_row(resource: Resource, row: Row) -> Plain:
    return {"id": row.id, "updated_at": iso(row.updated), **_BODIES[resource](row)}


def _contact(row: Contact) -> Plain:
    return {
        "name": row.name,
        "email": row.email,
        "status": row.status,
        "is_customer": row.is_customer,
        "is_supplier": row.is_supplier,
        "merged_to": row.merged_to,
    }


def _document(row: Document) -> Plain:
    return {
        "type": row.type,
        "number": row.number,
        "contact_id": row.contact_id,
        "status": row.status,
        "reference": row.reference,
        "currency": row.currency,
        "rate": None if row.rate is None else str(row.rate),
        "subtotal": str(money(row.subtotal)),
        "tax": str(money(row.tax)),
        "total": str(money(row.total)),
        "issued_on": iso_date(row.issued),
        "paid_on": None if row.paid_on is None else iso_date(row.paid_on),
        "payment_ids": row.payments,
    }


def _invoice(row: Invoice) -> Plain:
    is_void = row.status == "VOIDED"
    return _document(row) | {
        "due_on": None if row.due is None else iso_date(row.due),
        "amount_due": str(money(row.amount_due)),
        "amount_paid": str(money(0 if is_void else row.paid)),
        "amount_credited": str(money(0 if is_void else row.credited)),
    }


def _credit(row: Credit) -> Plain:
    allocations = [
        {
            "id": part.id,
            "invoice_id": part.invoice_id,
            "amount": str(money(part.amount)),
            "applied_on": iso_date(part.on),
        }
        for part in row.allocations
    ]
    return _document(row) | {"remaining": str(money(row.remaining)), "allocations": allocations}


def _payment(row: Payment) -> Plain:
    document_kind, document_id = row.document
    return {
        "type": row.type,
        "status": row.status,
        "amount": str(money(row.amount)),
        "rate": None if row.rate is None else str(row.rate),
        "reference": row.reference,
        "paid_on": iso_date(row.on),
        "document_resource": document_kind,
        "document_id": document_id,
        "batch_id": row.batch.id if row.batch else None,
    }


_BODIES: dict[Resource, Callable[[Any], Plain]] = {
    "Contacts": _contact,
    "Invoices": _invoice,
    "Payments": _payment,
    "CreditNotes": _credit,
    "Overpayments": _credit,
    "Prepayments": _credit,
}
