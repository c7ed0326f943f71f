"""Open balances by the days since they were due, by currency: of one customer, or of all together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from uuid import UUID

from sqlalchemy import ColumnElement, Date, Integer, Uuid, and_, bindparam, func, or_, select

from app.billing.records import DocumentStatus
from app.billing.tables import Invoice
from app.db import Session
from app.paging import AnySelect

# The first and the last day of each span of days past due; None leaves it open.
SPANS: dict[str, tuple[int, int | None]] = {
    "days_1_30": (1, 30),
    "days_31_60": (31, 60),
    "days_61_90": (61, 90),
    "days_over_90": (91, None),
}


@dataclass(frozen=True, slots=True)
class Aging:
    """The open balances of one currency. `current` is what is not overdue; the other spans add up to what is."""

    currency: str
    current: Decimal
    days_1_30: Decimal
    days_31_60: Decimal
    days_61_90: Decimal
    days_over_90: Decimal
    total: Decimal


async def read_aging(session: Session, today: date, customer_id: UUID | None = None) -> Sequence[Aging]:
    """Return the open balances of a customer, or of all of them, one entry per currency that has any.

    Args:
        session: the caller's transaction.
        today: in `BILLING_TIMEZONE`.
        customer_id: whose invoices; None for everybody's.
    """
    rows = await session.execute(_aging_statement(), {"today": today, "of_customer": customer_id})
    return [Aging(**row) for row in rows.mappings()]


@cache
def _aging_statement() -> AnySelect:
    today, of_customer = bindparam("today", type_=Date()), bindparam("of_customer", type_=Uuid())
    # Overdue as `Invoice.is_overdue` defines it, so that the spans add up to what other figures call overdue.
    is_overdue = and_(Invoice.balance > 0, Invoice.due_on < today)
    days = (today - Invoice.due_on).cast(Integer)
    spans = {name: and_(is_overdue, *_within(days, *span)) for name, span in SPANS.items()}
    return (
        select(
            Invoice.currency,
            _sum_of(or_(~is_overdue, Invoice.due_on.is_(None))).label("current"),
            *(_sum_of(condition).label(name) for name, condition in spans.items()),
            func.sum(Invoice.balance).label("total"),
        )
        .where(Invoice.status == DocumentStatus.OPEN, or_(of_customer.is_(None), Invoice.customer_id == of_customer))
        .group_by(Invoice.currency)
        .having(func.bool_or(Invoice.balance != 0))
        .order_by(Invoice.currency)
    )


def _within(days: ColumnElement[int], first: int, last: int | None) -> list[ColumnElement[bool]]:
    return [days >= first] if last is None else [days >= first, days <= last]


def _sum_of(condition: ColumnElement[bool]) -> ColumnElement[Decimal]:
    return func.coalesce(func.sum(Invoice.balance).filter(condition), 0)
