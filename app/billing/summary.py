"""The billing figures of customers: what they are billed and owe, by currency, and in base currency where known."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Any, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Date,
    Numeric,
    Subquery,
    Uuid,
    and_,
    bindparam,
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

from app.billing.records import DocumentStatus
from app.billing.tables import BillingOrganisation, CreditMemo, Customer, CustomerLink, Invoice, Payment, Service
from app.db import Session
from app.paging import AnyRow, AnySelect

# The parameters of the statements, which are made once: `TODAY` and the others are the fields of a `BillingDay`.
CUSTOMER_ID = bindparam("customer_id", type_=Uuid())
ANY_CUSTOMER = func.any(bindparam("customer_ids", type_=ARRAY(Uuid())))
TODAY, MONTH_START, MONTH_END = (bindparam(name, type_=Date()) for name in ("today", "month_start", "month_end"))
IS_BILLED = Invoice.status.in_((DocumentStatus.OPEN, DocumentStatus.PAID))


class BaseUnavailableReason(StrEnum):
    """Why there are no figures in base currency."""

    NO_INVOICES = "no_invoices"
    BASE_CURRENCY_UNKNOWN = "base_currency_unknown"
    ORGANISATIONS_DIFFER = "organisations_differ"
    EXCHANGE_RATE_MISSING = "exchange_rate_missing"


@dataclass(frozen=True, slots=True)
class BillingDay:
    """Today and its month in `BILLING_TIMEZONE`; `month_end` is the first day of the next month."""

    today: date
    month_start: date
    month_end: date

    @classmethod
    def at(cls, instant: datetime, timezone: str) -> Self:
        """Return the day on which an aware instant falls in an IANA time zone."""
        today = instant.astimezone(ZoneInfo(timezone)).date()
        start = today.replace(day=1)
        # Four days after the 28th are in the next month, whichever month it is.
        return cls(today, start, (start.replace(day=28) + timedelta(days=4)).replace(day=1))

    @property
    def month(self) -> str:
        return f"{self.today:%Y-%m}"


@dataclass(frozen=True, slots=True)
class CurrencyFigures:
    """The figures of one currency. `overdue`, a part of `outstanding`, is as `Invoice.is_overdue` defines it."""

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


# The columns of each part of the union below, in this order; a part has zero for the figures it does not know.
FIGURES = tuple(field.name for field in fields(CurrencyFigures) if field.name != "currency")


async def summarise(
    session: Session, customer_ids: Sequence[UUID], day: BillingDay
) -> dict[UUID, list[CurrencyFigures]]:
    """Return the figures of each customer that exists, one entry per currency, with one statement for all customers."""
    found: dict[UUID, list[CurrencyFigures]] = {}
    values = {"customer_ids": list(customer_ids), **asdict(day)}
    for row in await session.execute(_summary_statement(), values):
        figures = found.setdefault(row.id, [])
        if row.currency is not None:
            figures.append(CurrencyFigures(row.currency, **{name: getattr(row, name) for name in FIGURES}))
    return found


async def convert_to_base_currency(
    session: Session, customer_id: UUID, day: BillingDay
) -> tuple[BaseFigures | None, BaseUnavailableReason | None]:
    """Return the customer's figures in base currency, or the reason why there are none.

    An amount is converted by dividing it by the rate of its own document; one without a rate is taken as it is when its
    currency is the base currency.
    """
    rows = (await session.execute(_base_figures_statement(), {"customer_id": customer_id, **asdict(day)})).all()
    reason = _unavailable_reason(rows)
    if reason:
        return None, reason
    return BaseFigures(rows[0].base_currency, rows[0].invoiced, rows[0].outstanding), None


async def list_organisations(session: Session, customer_id: UUID) -> list[tuple[str, str]]:
    """Return the (source, tenant id) of every organisation that has a contact or a document of the customer, sorted."""
    rows = await session.execute(_organisations_statement(), {"customer_id": customer_id})
    return sorted((row.source, row.source_tenant_id) for row in rows)


@cache
def _organisations_statement() -> CompoundSelect[str, str]:
    tables = (CustomerLink, Invoice, CreditMemo, Payment)
    return union(*(select(one.source, one.source_tenant_id).where(one.customer_id == CUSTOMER_ID) for one in tables))


@cache
def _summary_statement() -> AnySelect:
    parts = union_all(
        _invoice_figures_statement(), _credit_figures_statement(), _service_figures_statement()
    ).subquery()
    return (
        select(Customer.id, parts.c.currency, *(_total(parts, name) for name in FIGURES))
        .outerjoin(parts, parts.c.customer_id == Customer.id)
        .where(Customer.id == ANY_CUSTOMER)
        .group_by(Customer.id, parts.c.currency)
        .order_by(Customer.id, parts.c.currency)
    )


def _invoice_figures_statement() -> AnySelect:
    is_overdue = Invoice.is_overdue(TODAY)
    figures: dict[str, ColumnElement[Any]] = {
        "invoiced_this_month": _sum(Invoice.total, and_(IS_BILLED, _is_of_month())),
        "outstanding": _sum(Invoice.balance, Invoice.status == DocumentStatus.OPEN),
        "overdue": _sum(Invoice.balance, is_overdue),
        "overdue_count": func.count().filter(is_overdue),
    }
    is_counted = (Invoice.customer_id == ANY_CUSTOMER, IS_BILLED)
    return _figures_statement(Invoice.customer_id, Invoice.currency, figures).where(*is_counted)


def _credit_figures_statement() -> AnySelect:
    figures = {"unapplied_credit": func.sum(CreditMemo.remaining)}
    is_counted = (CreditMemo.customer_id == ANY_CUSTOMER, CreditMemo.status == DocumentStatus.OPEN)
    return _figures_statement(CreditMemo.customer_id, CreditMemo.currency, figures).where(*is_counted)


def _service_figures_statement() -> AnySelect:
    has_not_ended = or_(Service.ends_on.is_(None), Service.ends_on >= TODAY)
    figures = {"contracted_mrr": func.sum(Service.monthly_amount)}
    is_counted = (Service.customer_id == ANY_CUSTOMER, Service.starts_on <= TODAY, has_not_ended)
    return _figures_statement(Service.customer_id, Service.currency, figures).where(*is_counted)


def _figures_statement(
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


@cache
def _base_figures_statement() -> AnySelect:
    """Return the customer's figures by base currency; `lacks_rate` says that an amount among them has no rate."""
    base = BillingOrganisation.base_currency
    # A rate of zero is an error of the vendor and counts as no rate.
    rate = case((Invoice.exchange_rate != 0, Invoice.exchange_rate), (Invoice.currency == base, literal(1, Numeric)))
    is_of_month, is_open = _is_of_month(), Invoice.status == DocumentStatus.OPEN
    return (
        select(
            base.label("base_currency"),
            func.round(_sum(Invoice.total / rate, is_of_month), 2).label("invoiced"),
            func.round(_sum(Invoice.balance / rate, is_open), 2).label("outstanding"),
            func.bool_or(and_(rate.is_(None), or_(is_of_month, is_open))).label("lacks_rate"),
        )
        .outerjoin(BillingOrganisation, BillingOrganisation.is_of_invoice())
        .where(Invoice.customer_id == CUSTOMER_ID, IS_BILLED)
        .group_by(base)
    )


def _unavailable_reason(rows: Sequence[AnyRow]) -> BaseUnavailableReason | None:
    if not rows:
        return BaseUnavailableReason.NO_INVOICES
    if any(row.base_currency is None for row in rows):
        return BaseUnavailableReason.BASE_CURRENCY_UNKNOWN
    if len(rows) > 1:
        return BaseUnavailableReason.ORGANISATIONS_DIFFER
    return BaseUnavailableReason.EXCHANGE_RATE_MISSING if rows[0].lacks_rate else None


def _is_of_month() -> ColumnElement[bool]:
    return and_(Invoice.issued_on >= MONTH_START, Invoice.issued_on < MONTH_END)


def _sum(
    amount: ColumnElement[Decimal] | InstrumentedAttribute[Decimal], condition: ColumnElement[bool]
) -> ColumnElement[Decimal]:
    return func.coalesce(func.sum(amount).filter(condition), 0)
