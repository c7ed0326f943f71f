"""The objects nested in rows: contacts, line items, payments, credits, allocations and batch payments."""

from simulator.books.model import AppliedCredit, Batch, Contact, Credit, Document, Invoice, Line, Payment
from simulator.books.organisation import Organisation
from simulator.wire.encoding import date_string, money, ms_date

Json = dict[str, object]

_ID_FIELDS = {"CreditNotes": "CreditNoteID", "Overpayments": "OverpaymentID", "Prepayments": "PrepaymentID"}
_NESTED_TYPES = {"RECEIVE-OVERPAYMENT": "AROVERPAYMENT", "RECEIVE-PREPAYMENT": "ARPREPAYMENT"}


def contact_stub(contact: Contact) -> Json:
    """Return the contact of a document in a list without paging."""
    return {
        "ContactID": contact.id,
        "Name": contact.name,
        "Addresses": [],
        "Phones": [],
        "ContactGroups": [],
        "ContactPersons": [],
        "HasValidationErrors": False,
    }


def contact_with_names(contact: Contact) -> Json:
    """Return the contact of a document in a paged list."""
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
    """Return the payments of a document, without the deleted ones."""
    rows = (books.payments.by_id[row_id] for row_id in document.payments)
    return [_payment_stub(row) for row in rows if row.status != "DELETED"]


def _payment_stub(payment: Payment) -> Json:
    stub: Json = {
        "PaymentID": payment.id,
        "Date": ms_date(payment.paid_on),
        "Amount": money(payment.amount),
        "Reference": payment.reference,
        "CurrencyRate": payment.rate,
        "HasAccount": False,
        "HasValidationErrors": False,
    }
    return _without_nulls(stub)


def credits_of(books: Organisation, invoice: Invoice, kind: str, *, by_allocation_date: bool) -> list[Json]:
    """Return the credits of one kind that were applied to an invoice.

    As at Xero they have no AllocationID, and their date is that of the credit in lists, that of the allocation in
    single reads.
    """
    applied_credits = (applied for applied in invoice.applied_credits if applied.kind == kind)
    return [_applied_credit(books, applied, by_allocation_date=by_allocation_date) for applied in applied_credits]


def _applied_credit(books: Organisation, applied: AppliedCredit, *, by_allocation_date: bool) -> Json:
    credit: Credit = books.table(applied.kind).by_id[applied.credit_id]
    allocation = next(row for row in credit.allocations if row.id == applied.allocation_id)
    on = allocation.applied_on if by_allocation_date else credit.issued_on
    return {
        _ID_FIELDS[applied.kind]: credit.id,
        **({"CreditNoteNumber": credit.number} if applied.kind == "CreditNotes" else {}),
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
            "Date": ms_date(row.applied_on),
            "Invoice": _document_stub(books.invoices.by_id[row.invoice_id]),
        }
        for row in credit.allocations
    ]


def paid_document(books: Organisation, payment: Payment) -> Json:
    """Return the nested "Invoice" of a payment, which may be a credit; it has neither amounts nor dates."""
    document = books.document(*payment.document)
    contact = contact_stub(books.contacts.by_id[document.contact_id])
    kind: Json = {"Type": _NESTED_TYPES.get(document.type, document.type)}
    return {**kind, **_document_stub(document), "Contact": contact, "CurrencyCode": document.currency}


def _document_stub(document: Document) -> Json:
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
    """Return the nested BatchPayment; `as_text` writes its amount and boolean as strings, as in Xero's example."""
    total = money(batch.total)
    return {
        "Account": {"AccountID": batch.account_id},
        "BatchPaymentID": batch.id,
        "Date": ms_date(batch.paid_on),
        "Type": batch.type,
        "Status": "AUTHORISED",
        "TotalAmount": str(total) if as_text else total,
        "UpdatedDateUTC": ms_date(batch.updated_at),
        "IsReconciled": "false" if as_text else False,
    }


def _without_nulls(document: Json) -> Json:
    return {key: value for key, value in document.items() if value is not None}
