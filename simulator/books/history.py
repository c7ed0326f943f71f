"""Generates two years of an organisation's documents: invoices and bills, credits, allocations and payments."""

from collections.abc import Sequence
from typing import TypeVar

from simulator.books.document_factory import DocumentFactory
from simulator.books.model import Allocation, Credit, CreditKind, Document, Invoice, Payment
from simulator.books.payments import PaymentWriter
from simulator.books.settlements import apply_credit, update_payment_status
from simulator.clock import DAY_MS
from simulator.options import SimulatorOptions

SUPPLIER_EVERY = 4
_BOTH_EVERY = 11
_RECENT_MS = 14 * DAY_MS
_TERMS = (7, 14, 20, 30)
_STATUSES = ("AUTHORISED", "DRAFT", "SUBMITTED", "VOIDED", "DELETED")
_RECENT_WEIGHTS = (75, 88, 93, 97, 100)
_OLD_WEIGHTS = (92, 94, 95, 98, 100)
_INVOICES_PER_DEPOSIT = 100
_DEPOSIT_TYPES = {"Overpayments": "RECEIVE-OVERPAYMENT", "Prepayments": "RECEIVE-PREPAYMENT"}

D = TypeVar("D", bound=Document)


def is_supplier(number: int) -> bool:
    """Return whether the contact with this number is a supplier only, as every fourth contact is."""
    return number % SUPPLIER_EVERY == SUPPLIER_EVERY - 1


class HistoryGenerator:
    """Generates the documents and payments of one organisation that already has its contacts."""

    def __init__(self, factory: DocumentFactory) -> None:
        self._factory = factory
        self._books = factory.books
        contacts = list(self._books.contacts)
        # The last twentieth of the contacts gets no documents, so they are neither customers nor suppliers.
        with_documents = contacts[: max(1, len(contacts) - len(contacts) // 20)]
        self._customers = [row for number, row in enumerate(with_documents) if not is_supplier(number)]
        suppliers = [row for number, row in enumerate(with_documents) if is_supplier(number)]
        self._suppliers = [*suppliers, *with_documents[_BOTH_EVERY - 1 :: _BOTH_EVERY]] or self._customers

    def generate(self, options: SimulatorOptions) -> None:
        """Generate exactly as many rows as the options say; fewer payments when nothing is left to pay."""
        invoices = [self._generate_invoice(number, options.invoices) for number in range(options.invoices)]
        payable = [row for row in invoices if row.status == "AUTHORISED"]
        credit_rows = self._generate_credit_notes(options.credit_notes) + self._generate_deposits(
            options.invoices // _INVOICES_PER_DEPOSIT
        )
        self._allocate_credits(credit_rows, payable)
        payments = PaymentWriter(self._factory).write(payable, credit_rows, options.payments)
        self._store(invoices, credit_rows, payments)

    def _generate_invoice(self, number: int, count: int) -> Invoice:
        instant = self._factory.spread_instant(number, count)
        is_sale = self._factory.draw(0.7)
        contact = self._factory.rng.choice(self._customers if is_sale else self._suppliers)
        row = Invoice(
            number=self._books.next_number("INV" if is_sale else "BILL"),
            is_sent=True if is_sale and self._factory.draw(0.4) else None,
            **self._factory.document_fields(
                instant, "ACCREC" if is_sale else "ACCPAY", self._draw_status(instant), contact.id
            ),
        )
        row.due_on = row.issued_on + self._factory.rng.choice(_TERMS) * DAY_MS
        contact.is_customer |= is_sale
        contact.is_supplier |= not is_sale
        contact.documents.append(("Invoices", row.id))
        return self._with_final_update(row)

    def _draw_status(self, instant: int) -> str:
        """Draw a status: drafts are mostly recent; a few documents of any age are voided or deleted."""
        weights = _RECENT_WEIGHTS if self._factory.now - instant < _RECENT_MS else _OLD_WEIGHTS
        return self._factory.rng.choices(_STATUSES, cum_weights=weights)[0]

    def _with_final_update(self, row: D) -> D:
        """Move the UpdatedDateUTC of a voided or deleted document to when that happened."""
        if row.status in ("VOIDED", "DELETED"):
            row.updated_at = self._factory.later_instant(row.updated_at, 3)
        return row

    def _generate_credit_notes(self, count: int) -> list[Credit]:
        return [
            self._generate_credit("CreditNotes", number, count, is_sale=self._factory.draw(0.75))
            for number in range(count)
        ]

    def _generate_deposits(self, count: int) -> list[Credit]:
        """Return `count` overpayments and `count` prepayments, all received from customers."""
        kinds: tuple[CreditKind, CreditKind] = ("Overpayments", "Prepayments")
        return [self._generate_credit(kind, number, count, is_sale=True) for kind in kinds for number in range(count)]

    def _generate_credit(self, kind: CreditKind, number: int, count: int, *, is_sale: bool) -> Credit:
        instant = self._factory.spread_instant(number, count)
        contact = self._factory.rng.choice(self._customers if is_sale else self._suppliers)
        notes = ("ACCRECCREDIT" if is_sale else "ACCPAYCREDIT", self._draw_status(instant))
        document_type, status = notes if kind == "CreditNotes" else (_DEPOSIT_TYPES[kind], "AUTHORISED")
        row = Credit(
            kind=kind,
            number=self._books.next_number("CN") if document_type == "ACCRECCREDIT" else "",
            **self._factory.document_fields(instant, document_type, status, contact.id),
        )
        contact.documents.append((kind, row.id))
        return self._with_final_update(row)

    def _allocate_credits(self, credit_rows: Sequence[Credit], payable: Sequence[Invoice]) -> None:
        """Allocate most credits, partly or wholly, to an invoice of the same side, contact and currency."""
        open_invoices: dict[tuple[str, str, str], list[Invoice]] = {}
        for invoice in payable:
            open_invoices.setdefault((invoice.type, invoice.contact_id, invoice.currency), []).append(invoice)
        for credit in credit_rows:
            side = "ACCPAY" if credit.type == "ACCPAYCREDIT" else "ACCREC"
            candidates = open_invoices.get((side, credit.contact_id, credit.currency))
            if credit.status == "AUTHORISED" and candidates and self._factory.draw(0.7):
                self._allocate(credit, candidates.pop())

    def _allocate(self, credit: Credit, invoice: Invoice) -> None:
        amount = min(credit.remaining, invoice.amount_due)
        instant = self._factory.later_instant(max(credit.updated_at, invoice.updated_at), 10)
        applied_on = instant // DAY_MS * DAY_MS
        apply_credit(credit, invoice, Allocation(self._factory.new_id(), invoice.id, amount, applied_on))
        for document in (credit, invoice):
            update_payment_status(document, applied_on)
            document.updated_at = instant

    def _store(self, invoices: Sequence[Invoice], credit_rows: Sequence[Credit], payments: Sequence[Payment]) -> None:
        self._books.invoices.add_many(invoices)
        self._books.payments.add_many(payments)
        for kind in ("CreditNotes", "Overpayments", "Prepayments"):
            self._books.table(kind).add_many(row for row in credit_rows if row.kind == kind)
