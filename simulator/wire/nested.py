"""The small objects within rows: contacts, line items, payments and credits seen from a document, balances."""

from simulator.books.model import Batch, Contact, Credit, Document, Invoice, Line, Payment, Touch
from simulator.books.organisation import Organisation
from simulator.wire.encoding import date_string, money, ms_date

Json = dict[str, object]

_ID_FIELDS = {"CreditNotes": "CreditNoteID", "Overpayments": "OverpaymentID", "Prepayments": "PrepaymentID"}
_NESTED_TYPES = {"RECEIVE-OVERPAYMENT": "AROVERPAYMENT", "RECEIVE-PREPAYMENT": "ARPREPAYMENT"}


def contact_stub(contact: Contact) -> Json:
    """The lightweight contact of a document."""
    return {
        "ContactID": contact.id,
        "Name": contact.name,
        "Addresses": [],
        "Phones": [],
        "ContactGroups": [],
        "ContactPersons": [],
        "HasValidationErrors": False,
    }


def fuller_contact(contact: Contact) -> Json:
    """The contact of a document in a paged list."""
    names: Json = {"FirstName": contact.first_name, "LastName": contact.last_name, "EmailAddress": contact.email}
    return {**contact_stub(contact), **names}


def line_item(line: Line) -> Json:
    return {
        "Description": line.description,
        "UnitAmount": money(line.unit_amount),
        "TaxType": line.tax_type,
        "TaxAmount": money(line.tax),
        "LineAmount": money(line.amount),
        "AccountCode": line.account_code,
        "Tracking": [],
        "Quantity": line.quantity,
        "LineItemID": line.id,
    }


def payments_of(books: Organisation, document: Document) -> list[Json]:
    """The payments of a document; deleted ones are absent."""
    rows = (books.payments.rows[row_id] for row_id in document.payments)
    return [_payment_stub(row) for row in rows if row.status != "DELETED"]


def _payment_stub(payment: Payment) -> Json:
    stub: Json = {
        "PaymentID": payment.id,
        "Date": ms_date(payment.on),
        "Amount": money(payment.amount),
        "Reference": payment.reference,
        "CurrencyRate": payment.rate,
        "HasAccount": False,
        "HasValidationErrors": False,
    }
    return _without_nulls(stub)


def credits_of(books: Organisation, invoice: Invoice, kind: str, *, by_allocation_date: bool) -> list[Json]:
    """What was applied to an invoice: without AllocationID, dated as the credit in lists but not in single reads."""
    touches = (touch for touch in invoice.touches if touch.kind == kind)
    return [_applied(books, touch, by_allocation_date=by_allocation_date) for touch in touches]


def _applied(books: Organisation, touch: Touch, *, by_allocation_date: bool) -> Json:
    credit: Credit = books.shelf(touch.kind).rows[touch.credit_id]
    allocation = next(row for row in credit.allocations if row.id == touch.allocation_id)
    on = allocation.on if by_allocation_date else credit.issued
    return {
        _ID_FIELDS[touch.kind]: credit.id,
        **({"CreditNoteNumber": credit.number} if touch.kind == "CreditNotes" else {}),
        "ID": credit.id,
        "HasErrors": False,
        "AppliedAmount": money(allocation.amount),
        "DateString": date_string(on),
        "Date": ms_date(on),
        "LineItems": [],
        "Total": money(credit.total),
    }


def allocations_of(books: Organisation, credit: Credit) -> list[Json]:
    return [
        {
            "AllocationID": row.id,
            "Amount": money(row.amount),
            "Date": ms_date(row.on),
            "Invoice": _bare_document(books.invoices.rows[row.invoice_id]),
        }
        for row in credit.allocations
    ]


def paid_document(books: Organisation, payment: Payment) -> Json:
    """The nested "Invoice" of a payment: maybe a credit, and without amounts or dates."""
    document = books.document(*payment.document)
    contact = contact_stub(books.contacts.rows[document.contact_id])
    kind: Json = {"Type": _NESTED_TYPES.get(document.type, document.type)}
    return {**kind, **_bare_document(document), "Contact": contact, "CurrencyCode": document.currency}


def _bare_document(document: Document) -> Json:
    return {
        "InvoiceID": document.id,
        **({"InvoiceNumber": document.number} if document.number else {}),
        "Payments": [],
        "CreditNotes": [],
        "Prepayments": [],
        "Overpayments": [],
        "HasErrors": False,
        "IsDiscounted": False,
        "LineItems": [],
    }


def batch_payment(batch: Batch, *, as_text: bool) -> Json:
    """The one place where Xero writes an amount and a truth value as strings."""
    total = money(batch.total)
    return {
        "Account": {"AccountID": batch.account_id},
        "BatchPaymentID": batch.id,
        "Date": ms_date(batch.on),
        "Type": batch.type,
        "Status": "AUTHORISED",
        "TotalAmount": str(total) if as_text else total,
        "UpdatedDateUTC": ms_date(batch.updated),
        "IsReconciled": "false" if as_text else False,
    }


def _without_nulls(document: Json) -> Json:
    return {key: value for key, value in document.items() if value is not None}
