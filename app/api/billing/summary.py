"""What customers are billed and owe: one customer's billing panel, and the figures of many customers."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.billing.invoices import Invoice
from app.api.billing.payments import Payment
from app.api.deps import Reader, ServicesDep, SnapshotDep
from app.api.errors import document_problems, not_found
from app.api.schemas import Currency, Id, Instant, Money, OpenAlerts, ResponseModel, billing_day
from app.billing import queries, summary
from app.billing.customer_list import read_standings
from app.billing.sources import SourceDetails as SourceOrganisation
from app.billing.sources import oldest_data_as_of
from app.connections.status import read_connection_presence
from app.connections.tenants import read_source_details
from app.db import Session

RECENT_INVOICES = 10
MAX_CUSTOMERS = 500

router = APIRouter(prefix="/api", tags=["billing"])


class CurrencyFigures(ResponseModel):
    """The figures of one currency.

    `invoiced_this_month` is the gross total of open and paid invoices issued this month; `overdue` is the part of
    `outstanding` that was due before today; `contracted_mrr` is of services active today.
    """

    currency: Currency
    invoiced_this_month: Money
    outstanding: Money
    overdue: Money
    overdue_count: int
    unapplied_credit: Money
    contracted_mrr: Money


class BaseFigures(ResponseModel):
    """All currencies together in the base currency, by each document's own rate, rounded to the cent."""

    currency: Currency
    invoiced_this_month: Money
    outstanding: Money


class SourceDetails(ResponseModel):
    """One organisation whose rows are counted.

    `is_synced` false: it was deselected, removed or disconnected, and its rows are as they were at `data_as_of`.
    `data_as_of` null: it was never synced whole, or another service writes its rows; `name` is null then too.
    """

    source: Annotated[str, Field(description="The vendor the rows are of.", examples=["xero"])]
    tenant_id: str
    name: str | None
    data_as_of: Instant | None
    is_synced: bool


class BillingSummary(ResponseModel):
    """A customer's billing panel.

    `connected` false: no billing vendor is connected. `has_data` false: nothing is known of this customer.
    `data_as_of`: how fresh the stalest organisation is whose rows are counted, picked or not; null while one never
    synced whole. Organisations whose rows another service writes are left out of it.
    """

    customer_id: Id
    connected: bool
    has_data: bool
    data_as_of: Instant | None
    month: Annotated[str, Field(description="The present month in `BILLING_TIMEZONE`.", examples=["2026-11"])]
    currencies: list[CurrencyFigures]
    base: BaseFigures | None
    base_unavailable_reason: summary.BaseUnavailableReason | None
    recent_invoices: Annotated[list[Invoice], Field(max_length=RECENT_INVOICES)]
    last_payment: Payment | None
    sources: Annotated[list[str], Field(examples=[["quickbooks", "xero"]])]
    source_details: list[SourceDetails]
    oldest_overdue_days: Annotated[int | None, Field(description="Null when nothing is overdue.", examples=[34])]
    open_alerts: OpenAlerts


class SummariesRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    customer_ids: Annotated[list[UUID], Field(max_length=MAX_CUSTOMERS)]


class CustomerFigures(ResponseModel):
    customer_id: Id
    currencies: list[CurrencyFigures]


class Summaries(ResponseModel):
    items: list[CustomerFigures]


@router.get("/customers/{customer_id}/billing", responses=document_problems("not_found"))
async def get_customer_billing(
    _actor: Reader, session: SnapshotDep, services: ServicesDep, customer_id: UUID
) -> BillingSummary:
    """Return all that a customer's billing panel shows, in one answer."""
    day = billing_day(services)
    figures = await summary.summarise(session, [customer_id], day)
    if customer_id not in figures:
        raise not_found("customer")
    base, reason = await summary.convert_to_base_currency(session, customer_id, day)
    invoices = await queries.list_recent_invoices(session, customer_id, day.today, RECENT_INVOICES)
    standing = (await read_standings(session, [customer_id], day.today))[customer_id]
    panel = {
        "customer_id": customer_id,
        "month": day.month,
        "currencies": figures[customer_id],
        "base": base,
        "base_unavailable_reason": reason,
        "recent_invoices": invoices,
        "last_payment": await queries.find_last_payment(session, customer_id),
        "oldest_overdue_days": standing.oldest_overdue_days,
        "open_alerts": standing.open_alerts,
        "has_data": bool(figures[customer_id] or invoices),
        **await _describe_sources(session, customer_id),
    }
    return BillingSummary.model_validate(panel)


async def _describe_sources(session: Session, customer_id: UUID) -> dict[str, Any]:
    organisations = await summary.list_organisations(session, customer_id)
    details = await read_source_details(session, [tenant_id for _, tenant_id in organisations])
    by_organisation = {(each.source, each.tenant_id): each for each in details}
    known = [by_organisation[each] for each in organisations if each in by_organisation]
    presence = await read_connection_presence(session)
    sources = {source for source, _ in organisations}
    return {
        "sources": sorted(sources),
        "source_details": [
            by_organisation.get(each) or SourceOrganisation.of_other_service(*each) for each in organisations
        ],
        # Rows of other vendors are written by other services; that there are rows is all that is known of a connection.
        "connected": presence.is_connected or not presence.vendors.issuperset(sources),
        "data_as_of": oldest_data_as_of(known),
    }


@router.post("/billing/summaries", responses=document_problems())
async def summarise_customers(
    _actor: Reader, session: SnapshotDep, services: ServicesDep, request: SummariesRequest
) -> Summaries:
    """Return the figures of up to 500 customers; those nobody knows are left out, the others keep their order."""
    figures = await summary.summarise(session, request.customer_ids, billing_day(services))
    known = [each for each in dict.fromkeys(request.customer_ids) if each in figures]
    items = [{"customer_id": each, "currencies": figures[each]} for each in known]
    return Summaries.model_validate({"items": items})
