"""Edits that move money: pay, delete a payment, allocate and de-allocate a credit, refund."""

from datetime import date
from decimal import Decimal

from typing_extensions import override

from simulator.books.editor import Change, Desk, Edit, EditRefused, require, to_cents, to_day
from simulator.books.model import Allocation, Credit, Document, DocumentKind, Invoice, Payment, Touch

_OPEN = ("AUTHORISED", "PAID")
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
    """Pay an invoice, wholly unless an amount is given. Payment and invoice get the same stamp."""

    invoice_id: str
    amount: Decimal | None = None
    paid_on: date | None = None
    reference: str = ""
    id: str | None = None

    @override
    def apply(self, desk: Desk) -> list[Change]:
        invoice = desk.invoice(self.invoice_id)
        amount = invoice.amount_due if self.amount is None else to_cents(self.amount)
        require(invoice.status == "AUTHORISED", f"Only AUTHORISED invoices can be paid; this is {invoice.status}.")
        require(0 < amount <= invoice.amount_due, f"Give an amount up to what is due, {invoice.amount_due / 100:.2f}.")
        return pay_out(desk, "Invoices", invoice, amount, self)


class Refund(Edit, tag="refund"):
    """Pay back a credit note, overpayment or prepayment: a payment whose nested Invoice is the credit."""

    id: str
    amount: Decimal | None = None
    paid_on: date | None = None
    reference: str = ""

    @override
    def apply(self, desk: Desk) -> list[Change]:
        credit = desk.credit(self.id)
        amount = credit.remaining if self.amount is None else to_cents(self.amount)
        require(credit.status == "AUTHORISED", f"Only AUTHORISED credits can be refunded; this is {credit.status}.")
        require(0 < amount <= credit.remaining, f"Give an amount up to what remains, {credit.remaining / 100:.2f}.")
        terms = Pay(invoice_id=credit.id, paid_on=self.paid_on, reference=self.reference)
        return pay_out(desk, credit.kind, credit, amount, terms)


class DeletePayment(Edit, tag="delete_payment"):
    """The payment stays as DELETED under a new stamp; what it paid opens again."""

    payment_id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        payment = desk.payment(self.payment_id)
        require(payment.status == "AUTHORISED", "This payment is deleted already.")
        payment.status = "DELETED"
        kind, row_id = payment.document
        document = desk.organisation.document(kind, row_id)
        count_payment(document, -payment.amount)
        settle(desk, document, payment.on)
        return [desk.move("Payments", payment), desk.move(kind, document)]


class Allocate(Edit, tag="allocate"):
    """Apply a credit to an invoice of the same side, as much as both allow unless an amount is given."""

    credit_id: str
    invoice_id: str
    amount: Decimal | None = None
    applied_on: date | None = None

    @override
    def apply(self, desk: Desk) -> list[Change]:
        credit, invoice = desk.credit(self.credit_id), desk.invoice(self.invoice_id)
        most = min(credit.remaining, invoice.amount_due)
        amount = most if self.amount is None else to_cents(self.amount)
        require(credit.status == invoice.status == "AUTHORISED", "Both the credit and the invoice must be AUTHORISED.")
        is_purchase = credit.type == "ACCPAYCREDIT"
        require(is_purchase == (invoice.type == "ACCPAY"), "A credit applies to its own side: sales or purchases.")
        require(credit.currency == invoice.currency, "A credit applies to invoices in its own currency.")
        require(0 < amount <= most, f"Give an amount up to what both allow, {most / 100:.2f}.")
        on = to_day(self.applied_on) if self.applied_on else desk.today
        apply_credit(credit, invoice, Allocation(desk.new_id(), invoice.id, amount, on))
        return _reallocated(desk, credit, invoice, on)


class Deallocate(Edit, tag="deallocate"):
    """Take an allocation back: it vanishes from the credit without a trace."""

    allocation_id: str

    @override
    def apply(self, desk: Desk) -> list[Change]:
        credit, allocation = _find_allocation(desk, self.allocation_id)
        invoice = desk.invoice(allocation.invoice_id)
        credit.allocations.remove(allocation)
        invoice.touches = [touch for touch in invoice.touches if touch.allocation_id != allocation.id]
        invoice.credited -= allocation.amount
        return _reallocated(desk, credit, invoice, allocation.on)


def pay_out(desk: Desk, kind: DocumentKind, document: Document, amount: int, terms: Pay) -> list[Change]:
    """Add a payment for a document of any kind and count it there."""
    payment = Payment(
        id=(terms.id or desk.new_id()).lower(),
        updated=desk.now,
        type=PAYMENT_TYPES[document.type],
        on=to_day(terms.paid_on) if terms.paid_on else desk.today,
        amount=amount,
        bank_amount=round(amount / document.rate) if document.rate else amount,
        rate=document.rate,
        document=(kind, document.id),
        reference=terms.reference,
        account=ACCOUNT,
    )
    document.payments.append(payment.id)
    count_payment(document, amount)
    settle(desk, document, payment.on)
    return [desk.add("Payments", payment), desk.move(kind, document)]


def count_payment(document: Document, amount: int) -> None:
    """Money in or out of an invoice or a credit; negative takes it back."""
    if isinstance(document, Invoice):
        document.paid += amount
    elif isinstance(document, Credit):
        document.refunded += amount


def apply_credit(credit: Credit, invoice: Invoice, allocation: Allocation) -> None:
    credit.allocations.append(allocation)
    invoice.touches.append(Touch(credit.kind, credit.id, allocation.id))
    invoice.credited += allocation.amount


def settle(desk: Desk, document: Document, on: int) -> bool:
    """Turn a document PAID or AUTHORISED by what is left of it; say whether it turned."""
    desk.forget([document])
    return turn(document, on)


def turn(document: Document, on: int) -> bool:
    """As `settle`, for rows that nobody has read yet."""
    status = "AUTHORISED" if left(document) else "PAID"
    if document.status not in _OPEN or document.status == status:
        return False
    document.status = status
    document.paid_on = on if status == "PAID" else None
    return True


def left(document: Document) -> int:
    """What is still due on an invoice, or still to be used of a credit."""
    if isinstance(document, Invoice):
        return document.amount_due
    return document.remaining if isinstance(document, Credit) else 0


def _reallocated(desk: Desk, credit: Credit, invoice: Invoice, on: int) -> list[Change]:
    settle(desk, credit, on)
    turned = settle(desk, invoice, on)
    changes = [desk.move(credit.kind, credit)]
    rule = desk.options.allocation_moves_invoice
    if rule == "always" or (rule == "status" and turned):
        changes.append(desk.move("Invoices", invoice))
    return changes


def _find_allocation(desk: Desk, allocation_id: str) -> tuple[Credit, Allocation]:
    shelves = (desk.organisation.credit_notes, desk.organisation.overpayments, desk.organisation.prepayments)
    for shelf in shelves:
        for credit in shelf:
            for allocation in credit.allocations:
                if allocation.id == allocation_id.lower():
                    return credit, allocation
    raise EditRefused(f"There is no allocation {allocation_id}; read the credit notes' state for the ids.")
