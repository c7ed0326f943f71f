"""The rows of each resource as Xero writes them, rendered once per change and kept with the row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from simulator.books.model import Contact, Credit, Document, Invoice, Payment, Resource, Row
from simulator.books.organisation import Organisation
from simulator.options import SimulatorOptions
from simulator.wire.balances import balances
from simulator.wire.encoding import date_string, encode_row, money, ms_date, stamp_string
from simulator.wire.nested import (
    Json,
    allocations_of,
    batch_payment,
    contact_stub,
    credits_of,
    fuller_contact,
    line_item,
    paid_document,
    payments_of,
)

Detail = Literal["full", "single", "light", "summary"]
"""full: paged lists. single: one row by its id. light: lists without page. summary: summaryOnly=true."""

_DROPPED: dict[tuple[Resource, Detail], frozenset[str]] = {
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
class Page:
    """What rendering depends on besides the row itself. `today` is midnight UTC in milliseconds."""

    books: Organisation
    detail: Detail
    today: int
    options: SimulatorOptions


def render(page: Page, resource: Resource, row: Row) -> bytes:
    """One row, taken from its cache when nothing changed since it was last asked for."""
    # A contact's overdue balance changes at midnight although the contact does not.
    key = f"{page.detail}{page.today}" if resource == "Contacts" else page.detail
    known = row.rendered.get(key)
    if known is None:
        dropped = _DROPPED.get((resource, page.detail), frozenset())
        body = _BODIES[resource](page, row)
        document = {name: value for name, value in body.items() if value is not None and name not in dropped}
        known = row.rendered[key] = encode_row(document | (row.spoiled or {}))
    return known


def _contact(page: Page, row: Contact) -> Json:
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
        "UpdatedDateUTC": ms_date(row.updated),
        "ContactGroups": [],
        "IsSupplier": row.is_supplier,
        "IsCustomer": row.is_customer,
        "DefaultCurrency": row.default_currency,
        "Balances": balances(page.books, row, page.today, net_of_credits=page.options.balances_net_of_credits),
        "MergedToContactID": row.merged_to,
        "ContactPersons": [],
        "HasAttachments": False,
        "HasValidationErrors": False,
    }


def _invoice(page: Page, row: Invoice) -> Json:
    is_void = row.status == "VOIDED"
    single = page.detail == "single"
    touches = {
        kind: credits_of(page.books, row, kind, by_allocation_date=single)
        for kind in ("CreditNotes", "Prepayments", "Overpayments")
    }
    due: Json = {"DueDateString": date_string(row.due), "DueDate": ms_date(row.due)} if row.due is not None else {}
    return {
        "Type": row.type,
        "InvoiceID": row.id,
        "InvoiceNumber": row.number,
        "Reference": row.reference,
        "Payments": payments_of(page.books, row),
        **touches,
        "AmountDue": money(row.amount_due),
        "AmountPaid": money(0 if is_void else row.paid),
        "AmountCredited": money(0 if is_void else row.credited),
        "SentToContact": row.is_sent,
        "CurrencyRate": row.rate,
        "HasErrors": False,
        "IsDiscounted": False,
        "HasAttachments": False,
        **_heading(page, row),
        **due,
        **_sums(row),
        "FullyPaidOnDate": _paid_on(row),
    }


def _credit(page: Page, row: Credit) -> Json:
    is_note = row.kind == "CreditNotes"
    own: Json = {"CreditNoteNumber": row.number, "FullyPaidOnDate": _paid_on(row)} if is_note else {}
    return {
        f"{row.kind.removesuffix('s')}ID": row.id,
        **own,
        "Payments": payments_of(page.books, row),
        "ID": row.id,
        "CurrencyRate": row.rate,
        "Type": row.type,
        "Reference": row.reference,
        "RemainingCredit": money(row.remaining),
        "Allocations": allocations_of(page.books, row),
        "HasAttachments": False,
        **_heading(page, row),
        **_sums(row),
    }


def _heading(page: Page, row: Document) -> Json:
    contact = page.books.contacts.rows[row.contact_id]
    return {
        "Contact": contact_stub(contact) if page.detail == "light" else fuller_contact(contact),
        "DateString": date_string(row.issued),
        "Date": ms_date(row.issued),
    }


def _sums(row: Document) -> Json:
    return {
        "Status": row.status,
        "LineAmountTypes": "Exclusive",
        "LineItems": [line_item(line) for line in row.lines],
        "SubTotal": money(row.subtotal),
        "TotalTax": money(row.tax),
        "Total": money(row.total),
        "UpdatedDateUTC": ms_date(row.updated),
        "UpdatedDateUTCString": stamp_string(row.updated),
        "CurrencyCode": row.currency,
    }


def _paid_on(row: Document) -> str | None:
    return None if row.paid_on is None else ms_date(row.paid_on)


def _payment(page: Page, row: Payment) -> Json:
    batch: Json = {}
    if row.batch:
        batch = {
            "BatchPaymentID": row.batch.id,
            "BatchPayment": batch_payment(row.batch, as_text=page.options.batch_payment_as_text),
        }
    account_id, code = row.account
    return {
        "PaymentID": row.id,
        **batch,
        "Date": ms_date(row.on),
        "BankAmount": money(row.bank_amount),
        "Amount": money(row.amount),
        "Reference": row.reference,
        "CurrencyRate": row.rate,
        "PaymentType": row.type,
        "Status": row.status,
        "UpdatedDateUTC": ms_date(row.updated),
        "UpdatedDateUTCString": stamp_string(row.updated),
        "HasAccount": True,
        "IsReconciled": row.is_reconciled,
        "Account": {"AccountID": account_id, "Code": code},
        "Invoice": paid_document(page.books, row),
        "HasValidationErrors": False,
    }


_BODIES: dict[Resource, Callable[[Page, Any], Json]] = {
    "Contacts": _contact,
    "Invoices": _invoice,
    "Payments": _payment,
    "CreditNotes": _credit,
    "Overpayments": _credit,
    "Prepayments": _credit,
}
