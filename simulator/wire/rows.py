"""The JSON of the rows of each resource, cached in the row until it changes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from simulator.books.model import Contact, Credit, Document, Invoice, Payment, Resource, Row
from simulator.books.organisation import Organisation
from simulator.options import SimulatorOptions
from simulator.wire.balances import contact_balances
from simulator.wire.encoding import date_string, encode_row, money, ms_date, timestamp_string
from simulator.wire.nested import (
    Json,
    allocations_of,
    batch_payment,
    contact_stub,
    contact_with_names,
    credits_of,
    line_item,
    paid_document,
    payments_of,
)

Detail = Literal["full", "single", "light", "summary"]
"""full: paged lists. single: one row by its id. light: lists without `page`. summary: summaryOnly=true."""

_OMITTED_FIELDS: dict[tuple[Resource, Detail], frozenset[str]] = {
    ("Invoices", "summary"): frozenset(("Payments", "HasAttachments", "LineItems", "CISDeduction")),
    ("Invoices", "light"): frozenset(("LineItems",)),
    ("CreditNotes", "light"): frozenset(("LineItems",)),
    ("Contacts", "summary"): frozenset(
        (
            "Addresses",
            "Balances",
            "ContactGroups",
            "ContactPersons",
            "IsCustomer",
            "IsSupplier",
            "SalesDefaultAccountCode",
            "PurchasesDefaultAccountCode",
        )
    ),
    ("Contacts", "light"): frozenset(
        (
            "ContactPersons",
            "MergedToContactID",
            "PaymentTerms",
            "ContactGroups",
            "Balances",
            "SalesDefaultAccountCode",
            "PurchasesDefaultAccountCode",
        )
    ),
}
_PHONES = ("DDI", "DEFAULT", "FAX", "MOBILE")


@dataclass(slots=True, frozen=True)
class RenderContext:
    """What the JSON of a row depends on besides the row. `today` is midnight UTC in milliseconds since 1970."""

    books: Organisation
    detail: Detail
    today: int
    options: SimulatorOptions


def render_row(context: RenderContext, resource: Resource, row: Row) -> bytes:
    """Return the JSON of a row, from its cache if nothing has changed since."""
    # A contact's overdue balance changes at midnight although the contact does not.
    key = f"{context.detail}{context.today}" if resource == "Contacts" else context.detail
    encoded = row.rendered.get(key)
    if encoded is None:
        omitted = _OMITTED_FIELDS.get((resource, context.detail), frozenset())
        fields = _FIELDS_BY_RESOURCE[resource](context, row)
        document = {name: value for name, value in fields.items() if value is not None and name not in omitted}
        encoded = row.rendered[key] = encode_row(document | (row.overrides or {}))
    return encoded


def _contact(context: RenderContext, row: Contact) -> Json:
    return {
        "ContactID": row.id,
        "AccountNumber": row.account_number,
        "ContactStatus": row.status,
        "Name": row.name,
        "FirstName": row.first_name,
        "LastName": row.last_name,
        "EmailAddress": row.email,
        "BankAccountDetails": "",
        "SalesDefaultAccountCode": "200" if row.is_customer else None,
        "PurchasesDefaultAccountCode": "400" if row.is_supplier else None,
        "Addresses": [
            {"AddressType": "STREET", "City": "", "Region": "", "PostalCode": "", "Country": ""},
            {"AddressType": "POBOX", "City": row.city, "Region": "", "PostalCode": "", "Country": row.country},
        ],
        "Phones": [
            {
                "PhoneType": kind,
                "PhoneNumber": row.phone if kind == "DEFAULT" else "",
                "PhoneAreaCode": "",
                "PhoneCountryCode": "",
            }
            for kind in _PHONES
        ],
        "UpdatedDateUTC": ms_date(row.updated_at),
        "ContactGroups": [],
        "IsSupplier": row.is_supplier,
        "IsCustomer": row.is_customer,
        "DefaultCurrency": row.default_currency,
        "Balances": contact_balances(
            context.books, row, context.today, net_of_credits=context.options.balances_net_of_credits
        ),
        "MergedToContactID": row.merged_to,
        "ContactPersons": [],
        "HasAttachments": False,
        "HasValidationErrors": False,
    }


def _invoice(context: RenderContext, row: Invoice) -> Json:
    is_void = row.status == "VOIDED"
    single = context.detail == "single"
    applied_credits = {
        kind: credits_of(context.books, row, kind, by_allocation_date=single)
        for kind in ("CreditNotes", "Prepayments", "Overpayments")
    }
    due: Json = (
        {"DueDateString": date_string(row.due_on), "DueDate": ms_date(row.due_on)} if row.due_on is not None else {}
    )
    return {
        "Type": row.type,
        "InvoiceID": row.id,
        "InvoiceNumber": row.number,
        "Reference": row.reference,
        "Payments": payments_of(context.books, row),
        **applied_credits,
        "AmountDue": money(row.amount_due),
        "AmountPaid": money(0 if is_void else row.paid),
        "AmountCredited": money(0 if is_void else row.credited),
        "SentToContact": row.is_sent,
        "CurrencyRate": row.rate,
        "HasErrors": False,
        "IsDiscounted": False,
        "HasAttachments": False,
        **_header_fields(context, row),
        **due,
        **_amount_fields(row),
        "FullyPaidOnDate": _paid_on(row),
    }


def _credit(context: RenderContext, row: Credit) -> Json:
    is_note = row.kind == "CreditNotes"
    own: Json = {"CreditNoteNumber": row.number, "FullyPaidOnDate": _paid_on(row)} if is_note else {}
    return {
        f"{row.kind.removesuffix('s')}ID": row.id,
        **own,
        "Payments": payments_of(context.books, row),
        "ID": row.id,
        "CurrencyRate": row.rate,
        "Type": row.type,
        "Reference": row.reference,
        "RemainingCredit": money(row.remaining),
        "Allocations": allocations_of(context.books, row),
        "HasAttachments": False,
        **_header_fields(context, row),
        **_amount_fields(row),
    }


def _header_fields(context: RenderContext, row: Document) -> Json:
    contact = context.books.contacts.by_id[row.contact_id]
    return {
        "Contact": contact_stub(contact) if context.detail == "light" else contact_with_names(contact),
        "DateString": date_string(row.issued_on),
        "Date": ms_date(row.issued_on),
    }


def _amount_fields(row: Document) -> Json:
    return {
        "Status": row.status,
        "LineAmountTypes": "Exclusive",
        "LineItems": [line_item(line) for line in row.lines],
        "SubTotal": money(row.subtotal),
        "TotalTax": money(row.tax),
        "Total": money(row.total),
        "UpdatedDateUTC": ms_date(row.updated_at),
        "UpdatedDateUTCString": timestamp_string(row.updated_at),
        "CurrencyCode": row.currency,
    }


def _paid_on(row: Document) -> str | None:
    return None if row.paid_on is None else ms_date(row.paid_on)


def _payment(context: RenderContext, row: Payment) -> Json:
    batch: Json = {}
    if row.batch:
        batch = {
            "BatchPaymentID": row.batch.id,
            "BatchPayment": batch_payment(row.batch, as_text=context.options.batch_payment_as_text),
        }
    account_id, code = row.account
    return {
        "PaymentID": row.id,
        **batch,
        "Date": ms_date(row.paid_on),
        "BankAmount": money(row.bank_amount),
        "Amount": money(row.amount),
        "Reference": row.reference,
        "CurrencyRate": row.rate,
        "PaymentType": row.type,
        "Status": row.status,
        "UpdatedDateUTC": ms_date(row.updated_at),
        "UpdatedDateUTCString": timestamp_string(row.updated_at),
        "HasAccount": True,
        "IsReconciled": row.is_reconciled,
        "Account": {"AccountID": account_id, "Code": code},
        "Invoice": paid_document(context.books, row),
        "HasValidationErrors": False,
    }


_FIELDS_BY_RESOURCE: dict[Resource, Callable[[RenderContext, Any], Json]] = {
    "Contacts": _contact,
    "Invoices": _invoice,
    "Payments": _payment,
    "CreditNotes": _credit,
    "Overpayments": _credit,
    "Prepayments": _credit,
}
