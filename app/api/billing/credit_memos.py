"""The credit memos of every vendor, with their allocations."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from app.api.deps import Reader, SnapshotDep, from_query
from app.api.errors import document_problems
from app.api.pagination import Page, PagingDep
from app.api.schemas import Currency, Day, Id, Instant, Money, Rate, ResponseModel, Source, TenantId, WebLink
from app.billing import queries
from app.billing.records import DocumentStatus

router = APIRouter(prefix="/api/credit-memos", tags=["billing"])


class Allocation(ResponseModel):
    """A part of the credit applied to an invoice; `invoice_id` is null until that invoice is here."""

    invoice_external_id: str
    invoice_id: Id | None
    amount: Money
    applied_on: Day | None


class CreditMemo(ResponseModel):
    """A credit to a customer; `remaining` is not applied yet, and a used-up memo is `paid`."""

    id: Id
    source: Source
    tenant_id: TenantId
    external_id: str
    customer_id: Id
    number: str | None
    reference: str | None
    status: DocumentStatus
    currency: Currency
    exchange_rate: Rate | None
    total: Money
    remaining: Money
    issued_on: Day | None
    vendor_status: str | None
    vendor_url: WebLink
    vendor_updated_at: Instant | None
    allocations: list[Allocation]


@router.get("", responses=document_problems("invalid_cursor"))
async def list_credit_memos(
    _actor: Reader,
    session: SnapshotDep,
    paging: PagingDep,
    filters: Annotated[queries.CreditMemoFilter, Depends(from_query(queries.CreditMemoFilter))],
) -> Page[CreditMemo]:
    """List credit memos, newest first. `search` looks into numbers, references and customers' names."""
    rows = await queries.list_credit_memos(session, filters, paging.after, paging.limit + 1)
    allocations = await queries.list_allocations(session, [row.id for row in rows])

    def with_allocations(row: Any) -> CreditMemo:  # noqa: ANN401 - a row of the list
        return CreditMemo.model_validate({**row._asdict(), "allocations": allocations[row.id]}, from_attributes=True)

    return paging.page(rows, queries.CREDIT_MEMO_ORDER.position, with_allocations)
