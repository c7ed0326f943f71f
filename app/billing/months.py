"""What a customer was invoiced, paid and was credited, month by month, by currency."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Numeric, cast, func, literal, select, union_all
from sqlalchemy.orm import InstrumentedAttribute

from app.billing.records import DocumentStatus, PaymentStatus
from app.billing.summary import IS_BILLED, BillingDay
from app.billing.tables import CreditMemo, Invoice, Payment
from app.db import Session
from app.paging import AnySelect

AMOUNTS = ("invoiced", "paid", "credited")
MONTHS_PER_YEAR = 12


@dataclass(frozen=True, slots=True)
class MonthFigures:
    """One month (`2026-11`) in one currency.

    `invoiced`: the gross total of open and paid invoices issued in it. `paid`: the payments received in it. `credited`:
    the gross total of open and used-up credit memos issued in it.
    """

    month: str
    invoiced: Decimal
    paid: Decimal
    credited: Decimal


async def read_months(
    session: Session, customer_id: UUID, day: BillingDay, months: int
) -> dict[str, Sequence[MonthFigures]]:
    """Return the figures of the last months up to the present one, oldest first, by currency.

    A currency is there when anything of it falls into these months; each has every month.
    """
    first = _months_before(day.month_start, months - 1)
    found: dict[str, dict[date, tuple[Decimal, ...]]] = {}
    for row in await session.execute(_statement(customer_id, first, day.month_end)):
        found.setdefault(row.currency, {})[row.month] = tuple(getattr(row, name) for name in AMOUNTS)
    starts = [_months_before(day.month_start, back) for back in reversed(range(months))]
    nothing = (Decimal(0),) * len(AMOUNTS)
    return {
        currency: [MonthFigures(f"{start:%Y-%m}", *amounts.get(start, nothing)) for start in starts]
        for currency, amounts in sorted(found.items())
    }


def _months_before(start: date, months: int) -> date:
    """Return the first day of the month that lies so many months before the month of a first day."""
    years, month = divmod(start.year * MONTHS_PER_YEAR + start.month - 1 - months, MONTHS_PER_YEAR)
    return date(years, month + 1, 1)


def _statement(customer_id: UUID, first: date, end: date) -> AnySelect:
    is_issued = CreditMemo.status.in_((DocumentStatus.OPEN, DocumentStatus.PAID))
    parts = union_all(
        _part("invoiced", Invoice.currency, Invoice.issued_on, Invoice.total)
        .where(Invoice.customer_id == customer_id, IS_BILLED)
        .where(Invoice.issued_on >= first, Invoice.issued_on < end),
        _part("paid", Payment.currency, Payment.paid_on, Payment.amount)
        .where(Payment.customer_id == customer_id, Payment.status == PaymentStatus.ACTIVE)
        .where(Payment.paid_on >= first, Payment.paid_on < end),
        _part("credited", CreditMemo.currency, CreditMemo.issued_on, CreditMemo.total)
        .where(CreditMemo.customer_id == customer_id, is_issued)
        .where(CreditMemo.issued_on >= first, CreditMemo.issued_on < end),
    ).subquery()
    month = cast(func.date_trunc("month", parts.c.day), Date)
    amounts = (func.sum(parts.c[name]).label(name) for name in AMOUNTS)
    return select(parts.c.currency, month.label("month"), *amounts).group_by(parts.c.currency, month)


def _part(
    name: str,
    currency: InstrumentedAttribute[str],
    day: InstrumentedAttribute[date | None],
    amount: InstrumentedAttribute[Decimal],
) -> AnySelect:
    """Select the amounts of one kind of document, with zero in the columns of the other kinds."""
    nothing: ColumnElement[Decimal] = literal(0, Numeric)
    columns = [(amount if name == other else nothing).label(other) for other in AMOUNTS]
    return select(currency.label("currency"), day.label("day"), *columns)
