"""Webhooks: receive a vendor's deliveries, list the stored events and replay them."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.api.deps import Admin, EngineDep, Reader, SessionDep
from app.api.errors import Problem, document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.api.schemas import GivenInstant
from app.sync.tables import EventStatus
from app.sync.webhooks import dismissal, inbox
from app.sync.webhooks.inbox import EventFilter

deliveries = APIRouter(tags=["webhooks"])
router = APIRouter(tags=["webhooks"])


Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class DeliveryResponse(BaseModel):
    """How many events are new with this delivery."""

    stored: int


class WebhookEventResponse(BaseModel):
    model_config = ConfigDict(from_attributes=True, json_schema_serialization_defaults_required=True)

    id: UUID
    tenant_id: str
    resource_id: str
    category: str
    event_type: str
    event_at: datetime
    received_at: datetime
    deliveries: int
    status: EventStatus
    attempts: int
    error: str | None
    processed_at: datetime | None


class WebhookEventWithPayload(WebhookEventResponse):
    """An event with what the vendor sent."""

    payload: Annotated[dict[str, Any], Field(description="The event as the vendor delivered it first.")]


class ReplayFilter(BaseModel):
    model_config = ConfigDict(extra="forbid")

    status: EventStatus | None = None
    tenant_id: str | None = None
    category: str | None = None
    since: GivenInstant | None = None
    until: GivenInstant | None = None


class ReplayRequest(BaseModel):
    """Which events to process again, by id or by filter, and why."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[UUID] | None, Field(max_length=1000)] = None
    filter: ReplayFilter | None = None
    reason: Reason

    @model_validator(mode="after")
    def _require_ids_or_filter(self) -> "ReplayRequest":
        if (self.ids is None) == (self.filter is None):
            raise ValueError("Give either ids or filter.")
        return self


class ReplayResponse(BaseModel):
    replayed: int


class DismissRequest(BaseModel):
    """Why an event is dismissed."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason


class DismissAllRequest(DismissRequest):
    """Why every event that was given up is dismissed; `before` leaves out those received at that instant or later."""

    before: GivenInstant | None = None


class DismissResponse(BaseModel):
    dismissed: int


@deliveries.post(
    "",
    response_model=DeliveryResponse,
    responses=document_problems("invalid_signature", "body_too_large", "database_unavailable", is_public=True),
)
async def receive_webhook(engine: EngineDep, request: Request) -> Response:
    """Check a delivery's signature over its raw bytes and store its events before answering."""
    header = engine.receiver.signature_header
    signatures = [value for name, value in request.scope["headers"] if name == header]
    body = await request.body()
    receipt = await engine.receiver.receive(body, signatures)
    if engine.receiver.answers_empty:
        return Response(status_code=200 if receipt.is_signed else 401)
    if not receipt.is_signed:
        raise Problem("invalid_signature", "The signature is not one of this endpoint's key; copy the key again.")
    return JSONResponse({"stored": receipt.stored})


@router.get("/webhook-events", responses=document_problems("invalid_cursor"))
async def list_webhook_events(  # noqa: PLR0913, PLR0917 - each is a filter of the contract
    engine: EngineDep,
    session: SessionDep,
    paging: PagingDep,
    _reader: Reader,
    status: EventStatus | None = None,
    category: Annotated[str | None, Query(max_length=50)] = None,
    tenant_id: Annotated[str | None, Query(max_length=100)] = None,
    since: GivenInstant | None = None,
    until: GivenInstant | None = None,
    search: Annotated[str | None, Query(max_length=100, description="A part of the id of the row.")] = None,
) -> Page[WebhookEventResponse]:
    """List webhook events, the newest first; `since` and `until` are instants at which they were received."""
    wanted = EventFilter(status=status, category=category, tenant_id=tenant_id, since=since, until=until, search=search)
    rows = await inbox.list_events(session, engine.vendor, wanted, paging.after, paging.limit + 1)
    return paging.page(rows, inbox.EVENT_ORDER.position, WebhookEventResponse.model_validate)


@router.get("/webhook-events/{event_id}", responses=document_problems("not_found"))
async def get_webhook_event(
    engine: EngineDep, session: SessionDep, _reader: Reader, event_id: UUID
) -> WebhookEventWithPayload:
    """Return one event with what the vendor sent."""
    event = await inbox.find_event(session, engine.vendor, event_id)
    if event is None:
        raise not_found("webhook event")
    return WebhookEventWithPayload.model_validate(event)


@router.post("/webhook-events/replay", status_code=202, responses=document_problems())
async def replay_webhook_events(
    engine: EngineDep, session: SessionDep, admin: Admin, wanted: ReplayRequest
) -> ReplayResponse:
    """Process events again. It is idempotent, and who did it and why is kept in the audit log."""
    filters: dict[str, Any] = wanted.filter.model_dump() if wanted.filter else {"ids": wanted.ids}
    replayed = await inbox.replay(session, engine.vendor, EventFilter(**filters), admin.subject, wanted.reason)
    return ReplayResponse(replayed=replayed)


@router.post("/webhook-events/dismiss", responses=document_problems())
async def dismiss_webhook_events(
    engine: EngineDep, session: SessionDep, admin: Admin, wanted: DismissAllRequest
) -> DismissResponse:
    """Dismiss every event that was given up: none of them counts as failed any more; a replay stays possible."""
    dismissed = await dismissal.dismiss_all(session, engine.vendor, wanted.before, admin.subject, wanted.reason)
    return DismissResponse(dismissed=dismissed)


@router.post("/webhook-events/{event_id}/dismiss", responses=document_problems("not_found", "conflict"))
async def dismiss_webhook_event(
    engine: EngineDep, session: SessionDep, admin: Admin, event_id: UUID, wanted: DismissRequest
) -> WebhookEventResponse:
    """Dismiss one event that was given up: it no longer counts as failed; a replay stays possible."""
    event = await dismissal.dismiss(session, engine.vendor, event_id, admin.subject, wanted.reason)
    return WebhookEventResponse.model_validate(event)
