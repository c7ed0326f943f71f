"""Edits that move money: pay, delete a payment, allocate and de-allocate a credit, refund."""

from datetime import date
from decimal import Decimal

from typing_extensions import override

from simulator.books.editor import BooksEditor, Change, Edit, InvalidEdit, midnight_ms, parse_cents, require
from simulator.books.model import Allocation, AppliedCredit, Credit, Document, DocumentKind, Invoice, Payment

_PAYABLE_STATUSES = ("AUTHORISED", "PAID")
ACCOUNT = ("5690f1e8-1d02-4893-90c2-ee1a69eff942", "970")
PAYMENT_TYPES = {
    "ACCREC": "ACCRECPAYMENT",
    "ACCPAY": "ACCPAYPAYMENT",
    "ACCRECCREDIT": "ARCREDITPAYMENT",
    "ACCPAYCREDIT": "APCREDITPAYMENT",
    "RECEIVE-OVERPAYMENT": "AROVERPAYMENTPAYMENT",
    "RECEIVE-PREPAYMENT": "ARPREPAYMENTPAYMENT",
}


class Pay(Edit, tag="pay"):
    """Pay an invoice, in full unless an amount is given; payment and invoice get the same UpdatedDateUTC."""

    invoice_id: str
    amount: Decimal | None = None
    paid_on: date | None = None
    reference: str = ""
    id: str | None = None

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        invoice = editor.invoice(self.invoice_id)
        amount = invoice.amount_due if self.amount is None else parse_cents(self.amount)
        require(invoice.status == "AUTHORISED", f"Only AUTHORISED invoices can be paid; this is {invoice.status}.")
        require(0 < amount <= invoice.amount_due, f"Give an amount up to what is due, {invoice.amount_due / 100:.2f}.")
        return add_payment(editor, "Invoices", invoice, amount, self)


class Refund(Edit, tag="refund"):
    """Refund a credit note, overpayment or prepayment: adds a payment whose nested Invoice is the credit."""

    id: str
    amount: Decimal | None = None
    paid_on: date | None = None
    reference: str = ""

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        credit = editor.credit(self.id)
        amount = credit.remaining if self.amount is None else parse_cents(self.amount)
        require(credit.status == "AUTHORISED", f"Only AUTHORISED credits can be refunded; this is {credit.status}.")
        require(0 < amount <= credit.remaining, f"Give an amount up to what remains, {credit.remaining / 100:.2f}.")
        payment = Pay(invoice_id=credit.id, paid_on=self.paid_on, reference=self.reference)
        return add_payment(editor, credit.kind, credit, amount, payment)


class DeletePayment(Edit, tag="delete_payment"):
    """Set a payment to DELETED with a new UpdatedDateUTC; the amount is due again on what it paid."""

    payment_id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        payment = editor.payment(self.payment_id)
        require(payment.status == "AUTHORISED", "This payment is deleted already.")
        payment.status = "DELETED"
        kind, row_id = payment.document
        document = editor.organisation.document(kind, row_id)
        add_paid_amount(document, -payment.amount)
        refresh_payment_status(editor, document, payment.paid_on)
        return [editor.mark_updated("Payments", payment), editor.mark_updated(kind, document)]


class Allocate(Edit, tag="allocate"):
    """Allocate a credit to an invoice of the same side, as much as both allow unless an amount is given."""

    credit_id: str
    invoice_id: str
    amount: Decimal | None = None
    applied_on: date | None = None

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        credit, invoice = editor.credit(self.credit_id), editor.invoice(self.invoice_id)
        largest = min(credit.remaining, invoice.amount_due)
        amount = largest if self.amount is None else parse_cents(self.amount)
        require(credit.status == invoice.status == "AUTHORISED", "Both the credit and the invoice must be AUTHORISED.")
        is_purchase = credit.type == "ACCPAYCREDIT"
        require(is_purchase == (invoice.type == "ACCPAY"), "A credit applies to its own side: sales or purchases.")
        require(credit.currency == invoice.currency, "A credit applies to invoices in its own currency.")
        require(0 < amount <= largest, f"Give an amount up to what both allow, {largest / 100:.2f}.")
        changed_on = midnight_ms(self.applied_on) if self.applied_on else editor.today
        apply_credit(credit, invoice, Allocation(editor.new_id(), invoice.id, amount, changed_on))
        return _allocation_changes(editor, credit, invoice, changed_on)


class Deallocate(Edit, tag="deallocate"):
    """Remove an allocation: Xero deletes it from the credit and keeps no record of it."""

    allocation_id: str

    @override
    def apply(self, editor: BooksEditor) -> list[Change]:
        credit, allocation = _find_allocation(editor, self.allocation_id)
        invoice = editor.invoice(allocation.invoice_id)
        credit.allocations.remove(allocation)
        invoice.applied_credits = [
            applied for applied in invoice.applied_credits if applied.allocation_id != allocation.id
        ]
        invoice.credited -= allocation.amount
        return _allocation_changes(editor, credit, invoice, allocation.applied_on)


def add_payment(editor: BooksEditor, kind: DocumentKind, document: Document, amount: int, details: Pay) -> list[Change]:
    """Add a payment of this amount (in cents) for a document of any kind, and update the document."""
    payment = Payment(
        id=(details.id or editor.new_id()).lower(),
        updated_at=editor.now,
        type=PAYMENT_TYPES[document.type],
        paid_on=midnight_ms(details.paid_on) if details.paid_on else editor.today,
        amount=amount,
        bank_amount=round(amount / document.rate) if document.rate else amount,
        rate=document.rate,
        document=(kind, document.id),
        reference=details.reference,
        account=ACCOUNT,
    )
    document.payments.append(payment.id)
    add_paid_amount(document, amount)
    refresh_payment_status(editor, document, payment.paid_on)
    return [editor.add("Payments", payment), editor.mark_updated(kind, document)]


def add_paid_amount(document: Document, amount: int) -> None:
    """Add a payment or refund to a document's totals; a negative amount reverses one."""
    if isinstance(document, Invoice):
        document.paid += amount
    elif isinstance(document, Credit):
        document.refunded += amount


def apply_credit(credit: Credit, invoice: Invoice, allocation: Allocation) -> None:
    """Record an allocation on the credit and on the invoice."""
    credit.allocations.append(allocation)
    invoice.applied_credits.append(AppliedCredit(credit.kind, credit.id, allocation.id))
    invoice.credited += allocation.amount


def refresh_payment_status(editor: BooksEditor, document: Document, changed_on: int) -> bool:
    """As `update_payment_status`, and drop the document's cached JSON."""
    editor.clear_rendered([document])
    return update_payment_status(document, changed_on)


def update_payment_status(document: Document, changed_on: int) -> bool:
    """Set a document to PAID or AUTHORISED by what remains of it, and return whether that changed its status."""
    status = "AUTHORISED" if remaining_amount(document) else "PAID"
    if document.status not in _PAYABLE_STATUSES or document.status == status:
        return False
    document.status = status
    document.paid_on = changed_on if status == "PAID" else None
    return True


def remaining_amount(document: Document) -> int:
    """Return what is still due on an invoice, or still unused of a credit, in cents."""
    if isinstance(document, Invoice):
        return document.amount_due
    return document.remaining if isinstance(document, Credit) else 0


def _allocation_changes(editor: BooksEditor, credit: Credit, invoice: Invoice, changed_on: int) -> list[Change]:
    refresh_payment_status(editor, credit, changed_on)
    has_new_status = refresh_payment_status(editor, invoice, changed_on)
    changes = [editor.mark_updated(credit.kind, credit)]
    rule = editor.options.allocation_moves_invoice
    if rule == "always" or (rule == "status" and has_new_status):
        changes.append(editor.mark_updated("Invoices", invoice))
    return changes


def _find_allocation(editor: BooksEditor, allocation_id: str) -> tuple[Credit, Allocation]:
    tables = (editor.organisation.credit_notes, editor.organisation.overpayments, editor.organisation.prepayments)
    for table in tables:
        for credit in table:
            for allocation in credit.allocations:
                if allocation.id == allocation_id.lower():
                    return credit, allocation
    raise InvalidEdit(f"There is no allocation {allocation_id}; read the credit notes' state for the ids.")
