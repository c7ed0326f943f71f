"""Generates made-up payments: refunds of credits, full and part payments of invoices, batches, deleted payments."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from simulator.books.document_factory import DocumentFactory
from simulator.books.model import Batch, Credit, Document, Invoice, Payment
from simulator.books.settlements import ACCOUNT, PAYMENT_TYPES, add_paid_amount, update_payment_status
from simulator.clock import DAY_MS

_REFUND_EVERY = 30
_DELETED_EVERY = 40
_BATCH_EVERY = 25
_BATCH_SIZE = 3


class PaymentWriter:
    """Generates the payments of one organisation; a payment and its document get the same UpdatedDateUTC."""

    def __init__(self, factory: DocumentFactory) -> None:
        self._factory = factory
        self._paid: dict[str, Document] = {}

    def write(self, payable: Sequence[Invoice], credit_rows: Sequence[Credit], count: int) -> list[Payment]:
        """Return `count` payments, refunds among them, and add them to their documents; fewer if too little is due."""
        payments = self._refund_credits(credit_rows, count // _REFUND_EVERY)
        payments += self._pay_invoices(payable, count - len(payments))
        for payment in payments[_DELETED_EVERY - 1 :: _DELETED_EVERY]:
            self._delete(payment)
        for first in range(0, len(payments) - _BATCH_SIZE, _BATCH_EVERY):
            self._put_in_batch(payments[first : first + _BATCH_SIZE])
        return payments

    def _refund_credits(self, credit_rows: Sequence[Credit], count: int) -> list[Payment]:
        """Refund one credit of each type first, so that every type of refund occurs even in small books."""
        usable = [row for row in credit_rows if row.status == "AUTHORISED" and row.remaining > 0]
        kinds = list({row.type: row for row in usable}.values())
        first_ids = {row.id for row in kinds}
        rest = (row for row in usable if row.id not in first_ids)
        return [self._pay(row, row.remaining) for row in islice((*kinds, *rest), count)]

    def _pay_invoices(self, payable: Sequence[Invoice], count: int) -> list[Payment]:
        """Pay about seven of eight invoices; where there are fewer payments than invoices, the newest stay open."""
        due = [row for row in payable if row.amount_due > 0 and not self._factory.draw(0.12)]
        if not due:
            return []
        each, more = divmod(count, len(due))
        part_counts = (each + (position < more) for position in range(len(due)))
        return [
            payment for row, number in zip(due, part_counts, strict=True) for payment in self._pay_in_parts(row, number)
        ]

    def _pay_in_parts(self, row: Invoice, number: int) -> list[Payment]:
        """Pay an invoice in `number` equal parts; some invoices stay partly open."""
        if not number:
            return []
        share = max(1, row.amount_due // (number + 1 if self._factory.draw(0.15) else number))
        amounts = [share] * (number - 1)
        last = row.amount_due - sum(amounts)
        return [self._pay(row, amount) for amount in (*amounts, last if last < share + number else share)]

    def _pay(self, document: Document, amount: int) -> Payment:
        instant = self._factory.later_instant(document.updated_at, 25)
        payment = Payment(
            id=self._factory.new_id(),
            updated_at=instant,
            type=PAYMENT_TYPES[document.type],
            paid_on=instant // DAY_MS * DAY_MS,
            amount=amount,
            bank_amount=round(amount / document.rate) if document.rate else amount,
            rate=document.rate,
            document=(document.kind if isinstance(document, Credit) else "Invoices", document.id),
            is_reconciled=self._factory.draw(0.6),
            account=ACCOUNT,
        )
        self._paid[payment.id] = document
        document.payments.append(payment.id)
        document.updated_at = instant
        add_paid_amount(document, amount)
        update_payment_status(document, payment.paid_on)
        return payment

    def _delete(self, payment: Payment) -> None:
        document = self._paid[payment.id]
        payment.status = "DELETED"
        payment.updated_at = document.updated_at = self._factory.later_instant(
            max(payment.updated_at, document.updated_at), 5
        )
        add_paid_amount(document, -payment.amount)
        update_payment_status(document, payment.paid_on)

    def _put_in_batch(self, payments: Sequence[Payment]) -> None:
        """Put the active customer payments among these into one batch."""
        batch = Batch(
            id=self._factory.new_id(),
            account_id=ACCOUNT[0],
            type="RECBATCH",
            paid_on=payments[0].paid_on,
            total=0,
            updated_at=max(payment.updated_at for payment in payments),
        )
        members = [row for row in payments if row.type == "ACCRECPAYMENT" and row.status == "AUTHORISED"]
        whole = replace(batch, total=sum(row.amount for row in members))
        for row in members:
            row.batch = whole
