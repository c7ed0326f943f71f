"""The customers: their links, which are the vendors' contacts that belong to them, and how each stands."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import Field

from app.api.deps import Reader, ServicesDep, SnapshotDep, from_query
from app.api.errors import document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.api.schemas import Amount, Id, OpenAlerts, ResponseModel, Source, TenantId, billing_day
from app.billing import customer_list, queries, summary
from app.billing.summary import BillingDay
from app.billing.tables import MatchedBy
from app.db import Session

router = APIRouter(prefix="/api/customers", tags=["customers"])


class Link(ResponseModel):
    """A vendor's contact that stands for the customer.

    `matched_by`: `name` on its own, `manual` by a decision, `new` when the contact got a customer of its own,
    `merged` when it goes with the contact it was merged into.
    """

    id: Id
    source: Source
    tenant_id: TenantId
    external_id: str
    name: str
    matched_by: Annotated[str, Field(json_schema_extra={"enum": list(MatchedBy)})]


class Customer(ResponseModel):
    """A customer of the MSP; `psa_external_id` is null for one that only a billing vendor knows.

    `outstanding` and `overdue` have one entry per currency that anything is owed in, and are never added up across
    currencies. `oldest_overdue_days`: for how many days its oldest overdue invoice has been overdue; null without one.
    """

    id: Id
    name: str
    psa_external_id: str | None
    links: list[Link]
    outstanding: list[Amount]
    overdue: list[Amount]
    overdue_count: Annotated[int, Field(description="How many invoices are overdue.", examples=[2])]
    oldest_overdue_days: Annotated[int | None, Field(examples=[34])]
    open_alerts: OpenAlerts


@router.get("", responses=document_problems("invalid_cursor"))
async def list_customers(
    _actor: Reader,
    session: SnapshotDep,
    services: ServicesDep,
    paging: PagingDep,
    filters: Annotated[customer_list.CustomerFilter, Depends(from_query(customer_list.CustomerFilter))],
) -> Page[Customer]:
    """List customers by name, or by who owes most or has owed longest.

    `search` looks into their names and their contacts'; `linked` asks for a contact, `overdue` for an overdue invoice.
    `sort` goes by the sum in base currency where it is known, and by the plain number where it is not.
    """
    day = billing_day(services)
    rows = await customer_list.list_customers(session, filters, day.today, paging.after, paging.limit + 1)
    customers = await _describe(session, rows, day)
    return paging.page(rows, filters.order.position, lambda row: customers[row.id])


@router.get("/{customer_id}", responses=document_problems("not_found"))
async def get_customer(_actor: Reader, session: SnapshotDep, services: ServicesDep, customer_id: UUID) -> Customer:
    """Return one customer with its links and how it stands."""
    row = await queries.find_customer(session, customer_id)
    if row is None:
        raise not_found("customer")
    return (await _describe(session, [row], billing_day(services)))[customer_id]


async def _describe(session: Session, rows: Sequence[Any], day: BillingDay) -> dict[UUID, Customer]:
    ids = [row.id for row in rows]
    links = await queries.list_links(session, ids)
    figures = await summary.summarise(session, ids, day)
    standings = await customer_list.read_standings(session, ids, day.today)
    return {
        row.id: Customer.model_validate(
            {
                **row._asdict(),
                "links": links[row.id],
                "outstanding": _amounts(figures[row.id], "outstanding"),
                "overdue": _amounts(figures[row.id], "overdue"),
                "overdue_count": sum(one.overdue_count for one in figures[row.id]),
                "oldest_overdue_days": standings[row.id].oldest_overdue_days,
                "open_alerts": standings[row.id].open_alerts,
            },
            from_attributes=True,
        )
        for row in rows
    }


def _amounts(figures: Sequence[summary.CurrencyFigures], name: str) -> list[dict[str, object]]:
    amounts = {one.currency: getattr(one, name) for one in figures}
    return [{"currency": currency, "amount": amount} for currency, amount in amounts.items() if amount]
