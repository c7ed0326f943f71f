"""Rows as the control API returns them: money as decimal strings, times as RFC 3339, dates as YYYY-MM-DD."""

from collections.abc import Callable
from typing import Any

from simulator.books.model import Contact, Credit, Document, Invoice, Payment, Resource, Row
from simulator.books.organisation import Organisation
from simulator.clock import format_date, format_instant
from simulator.wire.encoding import money

Json = dict[str, Any]


def organisation_json(books: Organisation) -> Json:
    """Return a tenant and its row counts."""
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


def rows_json(books: Organisation, resource: Resource) -> list[Json]:
    """Return all rows of a resource in order of UpdatedDateUTC, archived and deleted ones included."""
    return [row_json(resource, row) for row in books.table(resource)]


def row_json(resource: Resource, row: Row) -> Json:
    """Return one row."""
    return {"id": row.id, "updated_at": format_instant(row.updated_at), **_FIELDS_BY_RESOURCE[resource](row)}


def _contact(row: Contact) -> Json:
    return {
        "name": row.name,
        "email": row.email,
        "status": row.status,
        "is_customer": row.is_customer,
        "is_supplier": row.is_supplier,
        "merged_to": row.merged_to,
    }


def _document(row: Document) -> Json:
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
        "issued_on": format_date(row.issued_on),
        "paid_on": None if row.paid_on is None else format_date(row.paid_on),
        "payment_ids": row.payments,
    }


def _invoice(row: Invoice) -> Json:
    is_void = row.status == "VOIDED"
    return _document(row) | {
        "due_on": None if row.due_on is None else format_date(row.due_on),
        "amount_due": str(money(row.amount_due)),
        "amount_paid": str(money(0 if is_void else row.paid)),
        "amount_credited": str(money(0 if is_void else row.credited)),
    }


def _credit(row: Credit) -> Json:
    allocations = [
        {
            "id": part.id,
            "invoice_id": part.invoice_id,
            "amount": str(money(part.amount)),
            "applied_on": format_date(part.applied_on),
        }
        for part in row.allocations
    ]
    return _document(row) | {"remaining": str(money(row.remaining)), "allocations": allocations}


def _payment(row: Payment) -> Json:
    document_kind, document_id = row.document
    return {
        "type": row.type,
        "status": row.status,
        "amount": str(money(row.amount)),
        "rate": None if row.rate is None else str(row.rate),
        "reference": row.reference,
        "paid_on": format_date(row.paid_on),
        "document_resource": document_kind,
        "document_id": document_id,
        "batch_id": row.batch.id if row.batch else None,
    }


_FIELDS_BY_RESOURCE: dict[Resource, Callable[[Any], Json]] = {
    "Contacts": _contact,
    "Invoices": _invoice,
    "Payments": _payment,
    "CreditNotes": _credit,
    "Overpayments": _credit,
    "Prepayments": _credit,
}
