"""Two years of an organisation's documents: invoices and bills, then credits, then payments and second thoughts."""

from collections.abc import Sequence
from typing import TypeVar

from simulator.books.document_factory import Drafter
from simulator.books.model import Allocation, Credit, CreditKind, Document, Invoice, Payment
from simulator.books.payments import Cashier
from simulator.books.settlements import apply_credit, turn
from simulator.clock import DAY_MS
from simulator.options import SimulatorOptions

SUPPLIER_EVERY = 4
_BOTH_EVERY = 11
_YOUNG_MS = 14 * DAY_MS
_TERMS = (7, 14, 20, 30)
_STATUSES = ("AUTHORISED", "DRAFT", "SUBMITTED", "VOIDED", "DELETED")
_YOUNG_WEIGHTS = (75, 88, 93, 97, 100)
_OLD_WEIGHTS = (92, 94, 95, 98, 100)
_INVOICES_PER_DEPOSIT = 100
_DEPOSIT_TYPES = {"Overpayments": "RECEIVE-OVERPAYMENT", "Prepayments": "RECEIVE-PREPAYMENT"}

D = TypeVar("D", bound=Document)


def is_supplier(number: int) -> bool:
    """Every fourth contact sells to the organisation; every eleventh does both."""
    return number % SUPPLIER_EVERY == SUPPLIER_EVERY - 1


class History:
    """Writes the books of one organisation whose contacts are there already."""

    def __init__(self, drafter: Drafter) -> None:
        self._draft = drafter
        self._books = drafter.books
        contacts = list(self._books.contacts)
        # The last few contacts stay without documents: neither customers nor suppliers.
        busy = contacts[: max(1, len(contacts) - len(contacts) // 20)]
        self._customers = [row for number, row in enumerate(busy) if not is_supplier(number)]
        suppliers = [row for number, row in enumerate(busy) if is_supplier(number)]
        self._suppliers = [*suppliers, *busy[_BOTH_EVERY - 1 :: _BOTH_EVERY]] or self._customers

    def write(self, options: SimulatorOptions) -> None:
        """Exactly as many rows as the options say, but for payments when nothing is left to pay."""
        invoices = [self._invoice(number, options.invoices) for number in range(options.invoices)]
        payable = [row for row in invoices if row.status == "AUTHORISED"]
        credit_rows = self._credit_notes(options.credit_notes) + self._deposits(
            options.invoices // _INVOICES_PER_DEPOSIT
        )
        self._apply(credit_rows, payable)
        payments = Cashier(self._draft).write(payable, credit_rows, options.payments)
        self._shelve(invoices, credit_rows, payments)

    def _invoice(self, number: int, count: int) -> Invoice:
        moment = self._draft.moment(number, count)
        is_sale = self._draft.chance(0.7)
        contact = self._draft.rng.choice(self._customers if is_sale else self._suppliers)
        row = Invoice(
            number=self._books.next_number("INV" if is_sale else "BILL"),
            is_sent=True if is_sale and self._draft.chance(0.4) else None,
            **self._draft.heading(moment, "ACCREC" if is_sale else "ACCPAY", self._status(moment), contact.id),
        )
        row.due = row.issued + self._draft.rng.choice(_TERMS) * DAY_MS
        contact.is_customer |= is_sale
        contact.is_supplier |= not is_sale
        contact.documents.append(("Invoices", row.id))
        return self._retired(row)

    def _status(self, moment: int) -> str:
        """Drafts are mostly young; a few documents of any age are voided or deleted."""
        weights = _YOUNG_WEIGHTS if self._draft.now - moment < _YOUNG_MS else _OLD_WEIGHTS
        return self._draft.rng.choices(_STATUSES, cum_weights=weights)[0]

    def _retired(self, row: D) -> D:
        if row.status in ("VOIDED", "DELETED"):
            row.updated = self._draft.later(row.updated, 3)
        return row

    def _credit_notes(self, count: int) -> list[Credit]:
        return [self._credit("CreditNotes", number, count, is_sale=self._draft.chance(0.75)) for number in range(count)]

    def _deposits(self, count: int) -> list[Credit]:
        """As many overpayments as prepayments, all of customers."""
        kinds: tuple[CreditKind, CreditKind] = ("Overpayments", "Prepayments")
        return [self._credit(kind, number, count, is_sale=True) for kind in kinds for number in range(count)]

    def _credit(self, kind: CreditKind, number: int, count: int, *, is_sale: bool) -> Credit:
        moment = self._draft.moment(number, count)
        contact = self._draft.rng.choice(self._customers if is_sale else self._suppliers)
        notes = ("ACCRECCREDIT" if is_sale else "ACCPAYCREDIT", self._status(moment))
        document_type, status = notes if kind == "CreditNotes" else (_DEPOSIT_TYPES[kind], "AUTHORISED")
        row = Credit(
            kind=kind,
            number=self._books.next_number("CN") if document_type == "ACCRECCREDIT" else "",
            **self._draft.heading(moment, document_type, status, contact.id),
        )
        contact.documents.append((kind, row.id))
        return self._retired(row)

    def _apply(self, credit_rows: Sequence[Credit], payable: Sequence[Invoice]) -> None:
        """Most credits are applied, in part or wholly, to a document of the same side, contact and currency."""
        open_ones: dict[tuple[str, str, str], list[Invoice]] = {}
        for invoice in payable:
            open_ones.setdefault((invoice.type, invoice.contact_id, invoice.currency), []).append(invoice)
        for credit in credit_rows:
            side = "ACCPAY" if credit.type == "ACCPAYCREDIT" else "ACCREC"
            candidates = open_ones.get((side, credit.contact_id, credit.currency))
            if credit.status == "AUTHORISED" and candidates and self._draft.chance(0.7):
                self._allocate(credit, candidates.pop())

    def _allocate(self, credit: Credit, invoice: Invoice) -> None:
        amount = min(credit.remaining, invoice.amount_due)
        moment = self._draft.later(max(credit.updated, invoice.updated), 10)
        on = moment // DAY_MS * DAY_MS
        apply_credit(credit, invoice, Allocation(self._draft.new_id(), invoice.id, amount, on))
        for document in (credit, invoice):
            turn(document, on)
            document.updated = moment

    def _shelve(self, invoices: Sequence[Invoice], credit_rows: Sequence[Credit], payments: Sequence[Payment]) -> None:
        self._books.invoices.fill(invoices)
        self._books.payments.fill(payments)
        for kind in ("CreditNotes", "Overpayments", "Prepayments"):
            self._books.shelf(kind).fill(row for row in credit_rows if row.kind == kind)
