"""The audit log: who did what and when, over everything the service does for people."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query

from app import audit
from app.api.deps import Admin, SessionDep
from app.api.errors import document_problems
from app.api.pagination import Page, PagingDep
from app.api.schemas import GivenInstant, Id, ResponseModel

router = APIRouter(tags=["integration"])


class AuditEntryResponse(ResponseModel):
    """One entry; it is never changed or deleted."""

    id: Id
    at: datetime
    actor: str
    action: str
    target: str
    details: dict[str, Any]


@router.get("/audit-log", responses=document_problems("invalid_cursor"))
async def list_audit_log(  # noqa: PLR0913, PLR0917 - each is a filter of the contract
    session: SessionDep,
    paging: PagingDep,
    _admin: Admin,
    action: Annotated[str | None, Query(max_length=100, examples=["tenants_selected"])] = None,
    actor: Annotated[str | None, Query(max_length=255)] = None,
    since: GivenInstant | None = None,
    until: GivenInstant | None = None,
) -> Page[AuditEntryResponse]:
    """List what people and services did, the newest first, whatever vendor it concerned; both ends of a span count."""
    wanted = audit.EntryFilter(action, actor, since, until)
    rows = await audit.list_entries(session, wanted, paging.after, paging.limit + 1)
    return paging.page(rows, audit.ENTRY_ORDER.position, AuditEntryResponse.model_validate)
