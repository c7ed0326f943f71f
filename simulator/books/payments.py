"""Made-up payments: refunds of credits, payments of invoices in one or several parts, batches, deletions."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from simulator.books.document_factory import Drafter
from simulator.books.model import Batch, Credit, Document, Invoice, Payment
from simulator.books.settlements import ACCOUNT, PAYMENT_TYPES, count_payment, turn
from simulator.clock import DAY_MS

_REFUND_EVERY = 30
_DELETED_EVERY = 40
_BATCH_EVERY = 25
_BATCH_SIZE = 3


class Cashier:
    """Pays what is due, each payment stamped together with its document."""

    def __init__(self, drafter: Drafter) -> None:
        self._draft = drafter
        self._paid: dict[str, Document] = {}

    def write(self, payable: Sequence[Invoice], credit_rows: Sequence[Credit], count: int) -> list[Payment]:
        payments = self._refunds(credit_rows, count // _REFUND_EVERY)
        payments += self._payments(payable, count - len(payments))
        for payment in payments[_DELETED_EVERY - 1 :: _DELETED_EVERY]:
            self._delete(payment)
        for first in range(0, len(payments) - _BATCH_SIZE, _BATCH_EVERY):
            self._batch(payments[first : first + _BATCH_SIZE])
        return payments

    def _refunds(self, credit_rows: Sequence[Credit], count: int) -> list[Payment]:
        """One of each kind first, so that every sort of refund occurs even in small books."""
        usable = [row for row in credit_rows if row.status == "AUTHORISED" and row.remaining > 0]
        kinds = list({row.type: row for row in usable}.values())
        known = {row.id for row in kinds}
        rest = (row for row in usable if row.id not in known)
        return [self._pay(row, row.remaining) for row in islice((*kinds, *rest), count)]

    def _payments(self, payable: Sequence[Invoice], count: int) -> list[Payment]:
        """About every eighth invoice stays open, the newest ones first."""
        due = [row for row in payable if row.amount_due > 0 and not self._draft.chance(0.12)]
        if not due:
            return []
        each, more = divmod(count, len(due))
        parts = (each + (position < more) for position in range(len(due)))
        return [payment for row, number in zip(due, parts, strict=True) for payment in self._parts(row, number)]

    def _parts(self, row: Invoice, number: int) -> list[Payment]:
        """An invoice in a number of equal parts; some leave a rest behind."""
        if not number:
            return []
        share = max(1, row.amount_due // (number + 1 if self._draft.chance(0.15) else number))
        amounts = [share] * (number - 1)
        last = row.amount_due - sum(amounts)
        return [self._pay(row, amount) for amount in (*amounts, last if last < share + number else share)]

    def _pay(self, document: Document, amount: int) -> Payment:
        moment = self._draft.later(document.updated, 25)
        payment = Payment(
            id=self._draft.new_id(),
            updated=moment,
            type=PAYMENT_TYPES[document.type],
            on=moment // DAY_MS * DAY_MS,
            amount=amount,
            bank_amount=round(amount / document.rate) if document.rate else amount,
            rate=document.rate,
            document=(document.kind if isinstance(document, Credit) else "Invoices", document.id),
            is_reconciled=self._draft.chance(0.6),
            account=ACCOUNT,
        )
        self._paid[payment.id] = document
        document.payments.append(payment.id)
        document.updated = moment
        count_payment(document, amount)
        turn(document, payment.on)
        return payment

    def _delete(self, payment: Payment) -> None:
        document = self._paid[payment.id]
        payment.status = "DELETED"
        payment.updated = document.updated = self._draft.later(max(payment.updated, document.updated), 5)
        count_payment(document, -payment.amount)
        turn(document, payment.on)

    def _batch(self, payments: Sequence[Payment]) -> None:
        """Payments of one side that the bank shows as one line."""
        batch = Batch(
            id=self._draft.new_id(),
            account_id=ACCOUNT[0],
            type="RECBATCH",
            on=payments[0].on,
            total=0,
            updated=max(payment.updated for payment in payments),
        )
        members = [row for row in payments if row.type == "ACCRECPAYMENT" and row.status == "AUTHORISED"]
        whole = replace(batch, total=sum(row.amount for row in members))
        for row in members:
            row.batch = whole
