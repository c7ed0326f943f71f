"""The payments of every vendor; a payment split over several invoices is one item for each."""

from typing import Annotated

from fastapi import APIRouter, Depends

from app.api.deps import Reader, SnapshotDep, from_query
from app.api.errors import document_problems
from app.api.pagination import Page, PagingDep
from app.api.schemas import Currency, Day, Id, Instant, Money, Rate, ResponseModel, Source, TenantId
from app.billing import queries
from app.billing.records import PaymentStatus

router = APIRouter(prefix="/api/payments", tags=["billing"])


class Payment(ResponseModel):
    """A part of a payment that settles one invoice; `invoice_id` is null until that invoice is here."""

    id: Id
    source: Source
    tenant_id: TenantId
    external_id: str
    invoice_id: Id | None
    invoice_external_id: str | None
    customer_id: Id | None
    amount: Money
    currency: Currency
    exchange_rate: Rate | None
    paid_on: Day | None
    reference: str | None
    status: PaymentStatus
    vendor_updated_at: Instant | None


@router.get("", responses=document_problems("invalid_cursor"))
async def list_payments(
    _actor: Reader,
    session: SnapshotDep,
    paging: PagingDep,
    filters: Annotated[queries.PaymentFilter, Depends(from_query(queries.PaymentFilter))],
) -> Page[Payment]:
    """List payments, newest first. `search` looks into references and customers' names."""
    rows = await queries.list_payments(session, filters, paging.after, paging.limit + 1)
    return paging.page(rows, queries.PAYMENT_ORDER.position, Payment.model_validate)
