"""Translates rows as Xero delivers them into vendor-neutral records; pure functions."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

from app.billing.records import (
    AllocationRecord,
    ContactRecord,
    CreditKind,
    CreditMemoRecord,
    DocumentStatus,
    InvoiceRecord,
    PaymentRecord,
    PaymentStatus,
)
from app.xero import wire
from app.xero.parsing import (
    NOTHING,
    look_up,
    read_amount,
    read_currency,
    read_date,
    read_id,
    read_instant,
    read_rate,
    read_text,
    require,
)

# True: rows of this type are kept. A row of a type that is not listed is quarantined.
INVOICE_TYPES: Mapping[str, bool] = MappingProxyType({"ACCREC": True, "ACCPAY": False})
CREDIT_NOTE_TYPES: Mapping[str, bool] = MappingProxyType({"ACCRECCREDIT": True, "ACCPAYCREDIT": False})
# The refunds among them (ARCREDITPAYMENT, AROVERPAYMENTPAYMENT, ARPREPAYMENTPAYMENT) settle no invoice.
PAYMENT_TYPES: Mapping[str, bool] = MappingProxyType(
    {
        "ACCRECPAYMENT": True,
        "ACCPAYPAYMENT": False,
        "ARCREDITPAYMENT": False,
        "APCREDITPAYMENT": False,
        "AROVERPAYMENTPAYMENT": False,
        "ARPREPAYMENTPAYMENT": False,
        "APOVERPAYMENTPAYMENT": False,
        "APPREPAYMENTPAYMENT": False,
    }
)
DOCUMENT_STATUSES: Mapping[str, DocumentStatus] = MappingProxyType(
    {
        "DRAFT": DocumentStatus.DRAFT,
        "SUBMITTED": DocumentStatus.DRAFT,
        "AUTHORISED": DocumentStatus.OPEN,
        "PAID": DocumentStatus.PAID,
        "VOIDED": DocumentStatus.VOID,
        "DELETED": DocumentStatus.DELETED,
    }
)
PAYMENT_STATUSES: Mapping[str, PaymentStatus] = MappingProxyType(
    {"AUTHORISED": PaymentStatus.ACTIVE, "DELETED": PaymentStatus.DELETED}
)
CONTACT_IS_ARCHIVED: Mapping[str, bool] = MappingProxyType({"ACTIVE": False, "ARCHIVED": True, "GDPRREQUEST": True})

# The addresses of Xero's page "Deep link to Xero", less the organisation's short code, which only /Organisation gives
# and neither scope set may read: the link opens in the organisation the user is in.
INVOICE_URL = "https://go.xero.com/AccountsReceivable/View.aspx?InvoiceID="
CREDIT_NOTE_URL = "https://go.xero.com/AccountsReceivable/ViewCreditNote.aspx?creditNoteID="

CLOSED = (DocumentStatus.VOID, DocumentStatus.DELETED)


def contact_record(row: wire.Contact) -> ContactRecord:
    """Translate a contact, whether it is a customer or not; the store decides which are kept.

    Raises:
        Unreadable: a field is missing, unknown or malformed; so for every function here.
    """
    external_id = read_id(row.ContactID, "ContactID")
    owed = row.Balances.AccountsReceivable if row.Balances else None
    return ContactRecord(
        external_id=external_id,
        name=read_text(row.Name) or unnamed(external_id),
        email=read_text(row.EmailAddress),
        is_customer=row.IsCustomer,
        is_archived=look_up(CONTACT_IS_ARCHIVED, row.ContactStatus or "ACTIVE", "ContactStatus"),
        merged_into=read_id(row.MergedToContactID, "MergedToContactID") if row.MergedToContactID else None,
        receivable=read_amount(owed.Outstanding, "Outstanding") if owed else None,
        vendor_updated_at=read_instant(row.UpdatedDateUTC),
    )


def invoice_record(row: wire.Invoice) -> InvoiceRecord | None:
    """Translate a sales invoice; a bill is None."""
    if not look_up(INVOICE_TYPES, row.Type, "Type"):
        return None
    external_id = read_id(row.InvoiceID, "InvoiceID")
    status = look_up(DOCUMENT_STATUSES, row.Status, "Status")
    credited = read_part(row.AmountCredited, "AmountCredited")
    return InvoiceRecord(
        external_id=external_id,
        contact=party_record(require(row.Contact, "Contact")),
        number=read_text(row.InvoiceNumber),
        reference=read_text(row.Reference),
        status=status,
        vendor_status=row.Status,
        currency=read_currency(row.CurrencyCode),
        exchange_rate=read_rate(row.CurrencyRate),
        subtotal=read_amount(row.SubTotal, "SubTotal"),
        tax=read_amount(row.TotalTax, "TotalTax"),
        total=require(read_amount(row.Total, "Total"), "Total"),
        paid=read_part(row.AmountPaid, "AmountPaid"),
        credited=credited,
        balance=read_open_amount(row.AmountDue, "AmountDue", status),
        issued_on=read_date(row.DateString or row.Date),
        due_on=read_date(row.DueDateString or row.DueDate),
        paid_on=read_date(row.FullyPaidOnDate),
        vendor_url=INVOICE_URL + external_id,
        vendor_updated_at=read_instant(row.UpdatedDateUTC),
        applied_credits=applied_credits(row, external_id, credited),
    )


def applied_credits(row: wire.Invoice, external_id: str, credited: Decimal) -> tuple[AllocationRecord, ...] | None:
    """Return the overpayments and prepayments applied to an invoice; None where the row does not list all of them.

    Which of these lists `summaryOnly` keeps is not established. AmountCredited is the sum of the credit notes,
    overpayments and prepayments applied, so where the lists do not add up to it, some were left out.
    """
    if not credited:
        return ()
    applied = (*(row.CreditNotes or ()), *(row.Overpayments or ()), *(row.Prepayments or ()))
    if sum((read_part(credit.AppliedAmount, "AppliedAmount") for credit in applied), NOTHING) != credited:
        return None
    overpayments = [
        AllocationRecord(
            kind=CreditKind.OVERPAYMENT,
            credit_external_id=read_id(credit.OverpaymentID, "OverpaymentID"),
            invoice_external_id=external_id,
            amount=read_part(credit.AppliedAmount, "AppliedAmount"),
            applied_on=read_date(credit.DateString or credit.Date),
        )
        for credit in row.Overpayments or ()
    ]
    prepayments = [
        AllocationRecord(
            kind=CreditKind.PREPAYMENT,
            credit_external_id=read_id(credit.PrepaymentID, "PrepaymentID"),
            invoice_external_id=external_id,
            amount=read_part(credit.AppliedAmount, "AppliedAmount"),
            applied_on=read_date(credit.DateString or credit.Date),
        )
        for credit in row.Prepayments or ()
    ]
    return (*overpayments, *prepayments)


def credit_memo_record(row: wire.CreditNote) -> CreditMemoRecord | None:
    """Translate a customer's credit note; a supplier's is None."""
    if not look_up(CREDIT_NOTE_TYPES, row.Type, "Type"):
        return None
    external_id = read_id(row.CreditNoteID, "CreditNoteID")
    status = look_up(DOCUMENT_STATUSES, row.Status, "Status")
    total = require(read_amount(row.Total, "Total"), "Total")
    remaining = read_open_amount(row.RemainingCredit, "RemainingCredit", status)
    # Reading a missing list as an empty one would delete allocations that still exist.
    is_unlisted = row.Allocations is None and remaining != total and status not in CLOSED
    return CreditMemoRecord(
        external_id=external_id,
        contact=party_record(require(row.Contact, "Contact")),
        number=read_text(row.CreditNoteNumber),
        reference=read_text(row.Reference),
        status=status,
        vendor_status=row.Status,
        currency=read_currency(row.CurrencyCode),
        exchange_rate=read_rate(row.CurrencyRate),
        total=total,
        remaining=remaining,
        issued_on=read_date(row.DateString or row.Date),
        vendor_url=CREDIT_NOTE_URL + external_id,
        vendor_updated_at=read_instant(row.UpdatedDateUTC),
        allocations=None if is_unlisted else tuple(allocation_records(row.Allocations or (), external_id)),
    )


def allocation_records(rows: Iterable[wire.Allocation], credit_id: str) -> Iterable[AllocationRecord]:
    """Translate the allocations of a credit note to invoices; deleted ones are left out."""
    for row in rows:
        if not row.IsDeleted:
            yield AllocationRecord(
                credit_external_id=credit_id,
                invoice_external_id=read_id(row.Invoice.InvoiceID, "InvoiceID"),
                amount=require(read_amount(row.Amount, "Amount"), "Amount"),
                applied_on=read_date(row.Date),
                external_id=read_id(row.AllocationID, "AllocationID") if row.AllocationID else None,
            )


def payment_record(row: wire.Payment) -> PaymentRecord | None:
    """Translate a payment of a sales invoice; payments of bills and refunds are None.

    Xero calls the paid document `Invoice` even where it is a credit note, so its type is checked as well.
    """
    if not look_up(PAYMENT_TYPES, row.PaymentType, "PaymentType"):
        return None
    document = require(row.Invoice, "Invoice")
    if document.Type not in (None, "ACCREC"):
        return None
    return PaymentRecord(
        external_id=read_id(row.PaymentID, "PaymentID"),
        contact=party_record(document.Contact) if document.Contact else None,
        invoice_external_id=read_id(document.InvoiceID, "InvoiceID"),
        amount=require(read_amount(row.Amount, "Amount"), "Amount"),
        currency=read_currency(document.CurrencyCode) if document.CurrencyCode else None,
        exchange_rate=read_rate(row.CurrencyRate),
        paid_on=read_date(row.Date),
        reference=read_text(row.Reference),
        status=look_up(PAYMENT_STATUSES, row.Status, "Status"),
        vendor_updated_at=read_instant(row.UpdatedDateUTC),
    )


def party_record(row: wire.Party) -> ContactRecord:
    """Translate the contact inside a document, of which only id, name and e-mail address are there."""
    external_id = read_id(row.ContactID, "ContactID")
    return ContactRecord(
        external_id=external_id,
        name=read_text(row.Name) or unnamed(external_id),
        email=read_text(row.EmailAddress),
    )


def unnamed(external_id: str) -> str:
    """Return a unique name for a contact without one, so that no two are matched as the same company."""
    return f"Contact {external_id[:8]}"


def read_part(amount: Decimal | None, name: str) -> Decimal:
    """Return an amount that was paid or credited; zero where Xero leaves it out."""
    known = read_amount(amount, name)
    return NOTHING if known is None else known


def read_open_amount(amount: Decimal | None, name: str, status: DocumentStatus) -> Decimal:
    """Return the open amount of a document; zero when it is voided or deleted, whatever the row says."""
    return NOTHING if status in CLOSED else require(read_amount(amount, name), name)
