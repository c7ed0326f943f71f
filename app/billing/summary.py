"""What a customer is billed and owes, per currency and never across two, and in base currency where that is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Numeric,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute

from app.billing.queries import is_overdue
from app.billing.tables import BillingOrganisation, CreditMemo, Customer, CustomerLink, Invoice, Payment, Service
from app.db import Session
from app.paging import AnyRow, AnySelect

BILLED = Invoice.status.in_(("open", "paid"))
# Every part of the union has these columns, in this order; a part leaves at zero what it does not know.
FIGURES = ("invoiced_this_month", "outstanding", "overdue", "overdue_count", "unapplied_credit", "contracted_mrr")

WhyNoBase = Literal["no_invoices", "base_currency_unknown", "organisations_differ", "exchange_rate_missing"]


@dataclass(frozen=True, slots=True)
class BillingDay:
    """Today and its month, as `BILLING_TIMEZONE` sees them; `month_end` is the first day of the next."""

    today: date
    month_start: date
    month_end: date

    @classmethod
    def at(cls, instant: datetime, timezone: str) -> Self:
        """Return the day on which an aware instant falls in an IANA time zone."""
        today = instant.astimezone(ZoneInfo(timezone)).date()
        start = today.replace(day=1)
        # Day 28 exists in every month and is less than 31 days from the end of each.
        return cls(today, start, (start.replace(day=28) + timedelta(days=4)).replace(day=1))

    @property
    def month(self) -> str:
        return f"{self.today:%Y-%m}"


@dataclass(frozen=True, slots=True)
class CurrencyFigures:
    """The figures of one currency; `overdue` is a part of `outstanding`."""

    currency: str
    invoiced_this_month: Decimal
    outstanding: Decimal
    overdue: Decimal
    overdue_count: int
    unapplied_credit: Decimal
    contracted_mrr: Decimal


@dataclass(frozen=True, slots=True)
class BaseFigures:
    """The figures of all currencies in the organisations' common base currency, rounded to the cent."""

    currency: str
    invoiced_this_month: Decimal
    outstanding: Decimal


async def summarise(
    session: Session, customer_ids: Sequence[UUID], day: BillingDay
) -> dict[UUID, list[CurrencyFigures]]:
    """Return each known customer's figures by currency, in one statement however many are asked for."""
    parts = union_all(_invoices(customer_ids, day), _credits(customer_ids), _services(customer_ids, day)).subquery()
    statement = (
        select(Customer.id, parts.c.currency, *(_total(parts, name) for name in FIGURES))
        .outerjoin(parts, parts.c.customer_id == Customer.id)
        .where(Customer.id.in_(customer_ids))
        .group_by(Customer.id, parts.c.currency)
        .order_by(Customer.id, parts.c.currency)
    )
    found: dict[UUID, list[CurrencyFigures]] = {}
    for row in await session.execute(statement):
        mine = found.setdefault(row.id, [])
        if row.currency is not None:
            mine.append(CurrencyFigures(row.currency, **{name: getattr(row, name) for name in FIGURES}))
    return found


async def convert_to_base(
    session: Session, customer_id: UUID, day: BillingDay
) -> tuple[BaseFigures | None, WhyNoBase | None]:
    """Return the figures in base currency, or why there are none.

    An amount in base is the amount divided by the document's own rate; a document without a rate counts as it is when
    its currency is the base itself.
    """
    rows = (await session.execute(_by_organisation(customer_id, day))).all()
    reason = _why_not(rows)
    if reason:
        return None, reason
    return BaseFigures(rows[0].base_currency, rows[0].invoiced, rows[0].outstanding), None


async def sources_of(session: Session, customer_id: UUID) -> list[str]:
    """Return the vendors that know the customer or have billed it, by name."""
    tables = (CustomerLink, Invoice, CreditMemo, Payment)
    parts = union(*(select(table.source).where(table.customer_id == customer_id) for table in tables))
    return sorted((await session.scalars(parts)).all())


def _invoices(customer_ids: Sequence[UUID], day: BillingDay) -> AnySelect:
    is_open = Invoice.status == "open"
    is_late = is_overdue(day.today)
    figures: dict[str, ColumnElement[Any]] = {
        "invoiced_this_month": _sum(Invoice.total, and_(BILLED, _is_of_month(day))),
        "outstanding": _sum(Invoice.balance, is_open),
        "overdue": _sum(Invoice.balance, is_late),
        "overdue_count": func.count().filter(is_late),
    }
    mine = (Invoice.customer_id.in_(customer_ids), BILLED)
    return _part(Invoice.customer_id, Invoice.currency, figures).where(*mine)


def _credits(customer_ids: Sequence[UUID]) -> AnySelect:
    figures = {"unapplied_credit": func.sum(CreditMemo.remaining)}
    mine = (CreditMemo.customer_id.in_(customer_ids), CreditMemo.status == "open")
    return _part(CreditMemo.customer_id, CreditMemo.currency, figures).where(*mine)


def _services(customer_ids: Sequence[UUID], day: BillingDay) -> AnySelect:
    has_not_ended = or_(Service.ends_on.is_(None), Service.ends_on >= day.today)
    figures = {"contracted_mrr": func.sum(Service.monthly_amount)}
    mine = (Service.customer_id.in_(customer_ids), Service.starts_on <= day.today, has_not_ended)
    return _part(Service.customer_id, Service.currency, figures).where(*mine)


def _part(
    customer_id: InstrumentedAttribute[UUID],
    currency: InstrumentedAttribute[str],
    figures: Mapping[str, ColumnElement[Any]],
) -> AnySelect:
    columns = [figures.get(name, literal(0, Numeric)).label(name) for name in FIGURES]
    return select(customer_id.label("customer_id"), currency.label("currency"), *columns).group_by(
        customer_id, currency
    )


def _total(parts: Subquery, name: str) -> ColumnElement[Any]:
    total = func.sum(parts.c[name])
    return (cast(total, BigInteger) if name == "overdue_count" else total).label(name)


def _by_organisation(customer_id: UUID, day: BillingDay) -> AnySelect:
    base = BillingOrganisation.base_currency
    # A rate of zero would be a slip of the vendor's; it is no rate.
    rate = case((Invoice.exchange_rate != 0, Invoice.exchange_rate), (Invoice.currency == base, literal(1, Numeric)))
    is_of_month, is_open = _is_of_month(day), Invoice.status == "open"
    same = (
        BillingOrganisation.source == Invoice.source,
        BillingOrganisation.source_tenant_id == Invoice.source_tenant_id,
    )
    return (
        select(
            base.label("base_currency"),
            func.round(_sum(Invoice.total / rate, is_of_month), 2).label("invoiced"),
            func.round(_sum(Invoice.balance / rate, is_open), 2).label("outstanding"),
            func.bool_or(and_(rate.is_(None), or_(is_of_month, is_open))).label("lacks_rate"),
        )
        .outerjoin(BillingOrganisation, and_(*same))
        .where(Invoice.customer_id == customer_id, BILLED)
        .group_by(base)
    )


def _why_not(rows: Sequence[AnyRow]) -> WhyNoBase | None:
    if not rows:
        return "no_invoices"
    if any(row.base_currency is None for row in rows):
        return "base_currency_unknown"
    if len(rows) > 1:
        return "organisations_differ"
    return "exchange_rate_missing" if rows[0].lacks_rate else None


def _is_of_month(day: BillingDay) -> ColumnElement[bool]:
    return and_(Invoice.issued_on >= day.month_start, Invoice.issued_on < day.month_end)


def _sum(
    amount: ColumnElement[Decimal] | InstrumentedAttribute[Decimal], condition: ColumnElement[bool]
) -> ColumnElement[Decimal]:
    return func.coalesce(func.sum(amount).filter(condition), 0)
