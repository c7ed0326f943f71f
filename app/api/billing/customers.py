"""The customers, with their links: the vendors' contacts that belong to them."""

from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import Field

from app.api.deps import Reader, SnapshotDep, from_query
from app.api.errors import document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.api.schemas import Id, ResponseModel, Source, TenantId
from app.billing import queries
from app.billing.tables import MatchedBy

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
    """A customer of the MSP; `psa_external_id` is null for one that only a billing vendor knows."""

    id: Id
    name: str
    psa_external_id: str | None
    links: list[Link]


@router.get("", responses=document_problems("invalid_cursor"))
async def list_customers(
    _actor: Reader,
    session: SnapshotDep,
    paging: PagingDep,
    filters: Annotated[queries.CustomerFilter, Depends(from_query(queries.CustomerFilter))],
) -> Page[Customer]:
    """List customers by name. `search` looks into their names and their contacts'; `linked` asks for a contact."""
    rows = await queries.list_customers(session, filters, paging.after, paging.limit + 1)
    links = await queries.list_links(session, [row.id for row in rows])
    return paging.page(rows, queries.CUSTOMER_ORDER.position, lambda row: _with_links(row, links[row.id]))


@router.get("/{customer_id}", responses=document_problems("not_found"))
async def get_customer(_actor: Reader, session: SnapshotDep, customer_id: UUID) -> Customer:
    row = await queries.find_customer(session, customer_id)
    if row is None:
        raise not_found("customer")
    return _with_links(row, (await queries.list_links(session, [customer_id]))[customer_id])


def _with_links(row: Any, links: Sequence[Any]) -> Customer:  # noqa: ANN401 - rows of queries
    return Customer.model_validate({**row._asdict(), "links": links}, from_attributes=True)
