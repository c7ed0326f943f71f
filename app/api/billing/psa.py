"""The feed of the PSA: bulk upserts of customers, services and timeline events, which can be repeated."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Generic, Self, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.api.auth import Actor
from app.api.deps import ServiceWriter, SessionDep
from app.api.errors import FieldError, Problem, document_problems
from app.api.schemas import GivenInstant, ResponseModel
from app.audit import append_audit_entry
from app.billing import psa
from app.db import Session

ExternalId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Amount = Annotated[Decimal, Field(max_digits=30, decimal_places=10, examples=["450.00"])]
CurrencyCode = Annotated[str, Field(pattern="^[A-Z]{3}$", description="ISO 4217.", examples=["NZD"])]

router = APIRouter(prefix="/api/psa", tags=["psa"])


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PsaCustomer(Item):
    external_id: ExternalId
    name: Name
    email: Annotated[str | None, Field(max_length=320)] = None


class PsaService(Item):
    """A service billed monthly; active from `starts_on` to `ends_on`, both included."""

    external_id: ExternalId
    customer_external_id: ExternalId
    name: Name
    monthly_amount: Amount
    currency: CurrencyCode
    starts_on: date
    ends_on: date | None = None

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.ends_on and self.ends_on < self.starts_on:
            raise ValueError("ends_on is before starts_on")
        return self


class PsaTimelineEvent(Item):
    external_id: ExternalId
    customer_external_id: ExternalId
    at: GivenInstant
    kind: psa.PsaEventKind
    title: Name
    detail: Annotated[str | None, Field(max_length=5000)] = None
    link: Annotated[str | None, Field(pattern="^https?://", max_length=2000)] = None


ItemType = TypeVar("ItemType", bound=Item)


class Bulk(BaseModel, Generic[ItemType]):
    """Up to 1,000 items; where an external id comes twice, the last one stands."""

    model_config = ConfigDict(extra="forbid")

    items: Annotated[list[ItemType], Field(max_length=psa.MAX_ITEMS)]


class Upserted(ResponseModel):
    """What became of the items, each external id counted once."""

    created: int
    updated: int
    unchanged: int


@router.put("/customers", responses=document_problems())
async def upsert_psa_customers(actor: ServiceWriter, session: SessionDep, bulk: Bulk[PsaCustomer]) -> Upserted:
    """Write customers of the PSA and match the contacts that carry their names."""
    items = [psa.PsaCustomer(**item.model_dump()) for item in bulk.items]
    return await _record(session, actor, "psa_customers_received", await psa.upsert_customers(session, items))


@router.put("/services", responses=document_problems("unknown_customer"))
async def upsert_psa_services(actor: ServiceWriter, session: SessionDep, bulk: Bulk[PsaService]) -> Upserted:
    """Write contracted services; all or, where one names a customer the PSA has not sent, none."""
    items = [psa.PsaService(**item.model_dump()) for item in bulk.items]
    try:
        counts = await psa.upsert_services(session, items)
    except psa.UnknownPsaCustomer as error:
        raise _unknown_customer(error) from error
    return await _record(session, actor, "psa_services_received", counts)


@router.put("/timeline-events", responses=document_problems("unknown_customer"))
async def upsert_psa_timeline_events(
    actor: ServiceWriter, session: SessionDep, bulk: Bulk[PsaTimelineEvent]
) -> Upserted:
    """Write tickets and device alerts; all or, where one names a customer the PSA has not sent, none."""
    items = [psa.PsaEvent(**item.model_dump()) for item in bulk.items]
    try:
        counts = await psa.upsert_timeline_events(session, items)
    except psa.UnknownPsaCustomer as error:
        raise _unknown_customer(error) from error
    return await _record(session, actor, "psa_timeline_events_received", counts)


async def _record(session: Session, actor: Actor, action: str, counts: psa.UpsertCounts) -> Upserted:
    """Write the counts of a feed into the audit log and return them as the response."""
    answer = Upserted.model_validate(counts)
    await append_audit_entry(session, actor.subject, action, "psa", answer.model_dump())
    return answer


def _unknown_customer(error: psa.UnknownPsaCustomer) -> Problem:
    field_error = FieldError(
        pointer=f"/items/{error.position}/customer_external_id", message="The PSA has not sent this one."
    )
    return Problem("unknown_customer", str(error), errors=[field_error])
