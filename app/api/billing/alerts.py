"""The alerts: the list, and acknowledging, resolving and muting one."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import Analyst, Reader, ServicesDep, SessionDep, SnapshotDep, from_query
from app.api.errors import document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.api.schemas import Id, Instant, OpenAlerts, ResponseModel
from app.billing import alerts, queries
from app.billing.tables import AlertSeverity, AlertStatus, AlertSubject, AlertTrigger
from app.db import Session

MAX_MUTE_HOURS = 24 * 366

router = APIRouter(prefix="/api/alerts", tags=["alerts"])


class Subject(ResponseModel):
    """What the alert is about."""

    type: AlertSubject
    id: Id


class Alert(ResponseModel):
    """One condition of one subject; it comes back under the same id when the condition recurs."""

    id: Id
    trigger: Annotated[str, Field(examples=list(AlertTrigger))]
    severity: AlertSeverity
    customer_id: Id
    customer_name: str
    title: str
    detail: str
    subject: Subject
    status: AlertStatus
    muted_until: Instant | None
    occurrences: int
    first_seen_at: Instant
    last_seen_at: Instant
    resolved_at: Instant | None


class AlertCounts(ResponseModel):
    """How many alerts wait for somebody; resolved ones are not counted."""

    open: OpenAlerts
    acknowledged: int
    muted: int


class Mute(BaseModel):
    model_config = ConfigDict(extra="forbid")

    hours: Annotated[int, Field(strict=True, ge=1, le=MAX_MUTE_HOURS, examples=[24])]


@router.get("", responses=document_problems("invalid_cursor"))
async def list_alerts(
    _actor: Reader,
    session: SnapshotDep,
    paging: PagingDep,
    filters: Annotated[queries.AlertFilter, Depends(from_query(queries.AlertFilter))],
) -> Page[Alert]:
    """List alerts, those seen first most lately first."""
    rows = await queries.list_alerts(session, filters, paging.after, paging.limit + 1)
    return paging.page(rows, queries.ALERT_ORDER.position, _answer)


@router.get("/counts", responses=document_problems())
async def count_alerts(_actor: Reader, session: SessionDep) -> AlertCounts:
    """Count the alerts that are open, by severity, acknowledged and muted."""
    return AlertCounts.model_validate(await queries.count_alerts(session))


@router.post("/{alert_id}/acknowledge", responses=document_problems("not_found", "conflict"))
async def acknowledge_alert(actor: Analyst, session: SessionDep, alert_id: UUID) -> Alert:
    """Say that somebody looks after it, for as long as the condition lasts."""
    await alerts.acknowledge(session, alert_id, actor.subject)
    return await _find(session, alert_id)


@router.post("/{alert_id}/resolve", responses=document_problems("not_found"))
async def resolve_alert(actor: Analyst, session: SessionDep, services: ServicesDep, alert_id: UUID) -> Alert:
    """Say that it is dealt with; it comes back when the condition has ended and recurs."""
    await alerts.resolve(session, alert_id, actor.subject, services.clock.now())
    return await _find(session, alert_id)


@router.post("/{alert_id}/mute", responses=document_problems("not_found", "conflict"))
async def mute_alert(actor: Analyst, session: SessionDep, services: ServicesDep, alert_id: UUID, mute: Mute) -> Alert:
    """Silence it for some hours."""
    await alerts.mute(session, alert_id, mute.hours, actor.subject, services.clock.now())
    return await _find(session, alert_id)


async def _find(session: Session, alert_id: UUID) -> Alert:
    row = await queries.find_alert(session, alert_id)
    if row is None:
        raise not_found("alert")
    return _answer(row)


def _answer(row: Any) -> Alert:  # noqa: ANN401 - a row of queries
    subject = {"type": row.subject_type, "id": row.subject_id}
    return Alert.model_validate({**row._asdict(), "subject": subject})
