"""The timeline of a customer: the events of every vendor and of the PSA."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from app.api.deps import Reader, SnapshotDep
from app.api.errors import document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.api.schemas import Currency, Id, Instant, Money, ResponseModel, Source, WebLink
from app.billing import queries, timeline
from app.billing.tables import TimelineEventKind

router = APIRouter(prefix="/api/customers", tags=["customers"])


class TimelineEvent(ResponseModel):
    """One thing that happened; amounts only where money moved."""

    id: Id
    at: Instant
    kind: Annotated[str, Field(json_schema_extra={"enum": list(TimelineEventKind)})]
    title: str
    detail: str | None
    source: Source
    amount: Money | None
    currency: Currency | None
    link: WebLink


@router.get("/{customer_id}/timeline", responses=document_problems("not_found", "invalid_cursor"))
async def list_timeline(
    _actor: Reader, session: SnapshotDep, paging: PagingDep, customer_id: UUID, kind: TimelineEventKind | None = None
) -> Page[TimelineEvent]:
    """List a customer's events, newest first."""
    if await queries.find_customer(session, customer_id) is None:
        raise not_found("customer")
    rows = await timeline.list_events(session, customer_id, kind, paging.after, paging.limit + 1)
    return paging.page(rows, timeline.TIMELINE_ORDER.position, TimelineEvent.model_validate)
