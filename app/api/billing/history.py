"""How a customer's billing developed and how old its debts are: figures by month, and balances by days past due."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.deps import Reader, ServicesDep, SnapshotDep
from app.api.errors import document_problems, not_found
from app.api.schemas import Currency, Day, Id, Money, ResponseModel, billing_day
from app.billing import aging, months, queries
from app.db import Session

DEFAULT_MONTHS, MOST_MONTHS = 12, 36

router = APIRouter(prefix="/api", tags=["billing"])


class Month(ResponseModel):
    """One month in one currency.

    `invoiced`: gross total of open and paid invoices issued in it. `paid`: payments received in it. `credited`: gross
    total of credit memos issued in it.
    """

    month: Annotated[str, Field(description="Year and month in `BILLING_TIMEZONE`.", examples=["2026-11"])]
    invoiced: Money
    paid: Money
    credited: Money


class MonthsOfCurrency(ResponseModel):
    """Every month of the period, oldest first, in one currency."""

    currency: Currency
    months: list[Month]


class BillingMonths(ResponseModel):
    """A customer's months; a currency is there when anything of it falls into the period."""

    customer_id: Id
    currencies: list[MonthsOfCurrency]


class AgingOfCurrency(ResponseModel):
    """Open balances of one currency by days past due.

    `current` is what is not due yet, or has no due date; the spans after it add up to what is overdue.
    """

    currency: Currency
    current: Money
    days_1_30: Money
    days_31_60: Money
    days_61_90: Money
    days_over_90: Money
    total: Money


class Aging(ResponseModel):
    """Open balances by days past due, one entry per currency."""

    as_of_on: Annotated[Day, Field(description="The day the days are counted to, in `BILLING_TIMEZONE`.")]
    currencies: list[AgingOfCurrency]


@router.get("/customers/{customer_id}/billing/months", responses=document_problems("not_found"))
async def get_billing_months(
    _actor: Reader,
    session: SnapshotDep,
    services: ServicesDep,
    customer_id: UUID,
    months_back: Annotated[
        int, Query(alias="months", ge=1, le=MOST_MONTHS, description="How many months, the present one included.")
    ] = DEFAULT_MONTHS,
) -> BillingMonths:
    """Return what a customer was invoiced, paid and was credited in each of the last months."""
    await _require_customer(session, customer_id)
    found = await months.read_months(session, customer_id, billing_day(services), months_back)
    currencies = [{"currency": currency, "months": figures} for currency, figures in found.items()]
    return BillingMonths.model_validate({"customer_id": customer_id, "currencies": currencies})


@router.get("/customers/{customer_id}/billing/aging", responses=document_problems("not_found"))
async def get_customer_aging(_actor: Reader, session: SnapshotDep, services: ServicesDep, customer_id: UUID) -> Aging:
    """Return a customer's open balances by days past due."""
    await _require_customer(session, customer_id)
    return await _read_aging(session, services, customer_id)


@router.get("/billing/aging", responses=document_problems())
async def get_aging(_actor: Reader, session: SnapshotDep, services: ServicesDep) -> Aging:
    """Return the open balances of all customers together by days past due."""
    return await _read_aging(session, services, None)


async def _require_customer(session: Session, customer_id: UUID) -> None:
    if await queries.find_customer(session, customer_id) is None:
        raise not_found("customer")


async def _read_aging(session: Session, services: ServicesDep, customer_id: UUID | None) -> Aging:
    today = billing_day(services).today
    found = await aging.read_aging(session, today, customer_id)
    return Aging.model_validate({"as_of_on": today, "currencies": [asdict(each) for each in found]})
