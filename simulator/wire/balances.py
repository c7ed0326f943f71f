"""The Balances of a contact: what it owes and is owed, summed without conversion to the base currency."""

from simulator.books.model import Contact, Credit, Invoice
from simulator.books.organisation import Organisation
from simulator.wire.encoding import money

_SIDES = (("AccountsReceivable", "ACCREC"), ("AccountsPayable", "ACCPAY"))


def contact_balances(
    books: Organisation, contact: Contact, today: int, *, net_of_credits: bool
) -> dict[str, object] | None:
    """Return Xero's Balances object, or None when nothing is outstanding on either side."""
    documents = [books.document(kind, row_id) for kind, row_id in contact.documents]
    open_invoices = [row for row in documents if isinstance(row, Invoice) and row.status == "AUTHORISED"]
    unapplied = [row for row in documents if isinstance(row, Credit) and row.status == "AUTHORISED" and net_of_credits]
    sides = {name: _side_balance(side, open_invoices, unapplied, today) for name, side in _SIDES}
    if all(outstanding == overdue == 0 for outstanding, overdue in sides.values()):
        return None
    return {
        name: {"Outstanding": money(outstanding), "Overdue": money(overdue)}
        for name, (outstanding, overdue) in sides.items()
    }


def _side_balance(side: str, invoices: list[Invoice], unapplied: list[Credit], today: int) -> tuple[int, int]:
    due = [row for row in invoices if row.type == side]
    unused = sum(row.remaining for row in unapplied if (row.type == "ACCPAYCREDIT") == (side == "ACCPAY"))
    overdue = sum(row.amount_due for row in due if row.due_on is not None and row.due_on < today)
    return sum(row.amount_due for row in due) - unused, overdue
