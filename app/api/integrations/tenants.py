"""The tenants a connection reaches: list them, and choose which to sync."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import Admin, EngineDep, Reader, SessionDep
from app.api.errors import document_problems
from app.api.pagination import Page, PagingDep
from app.api.schemas import ResponseModel
from app.audit import append_audit_entry
from app.connections.tenants import TenantKey, list_tenants, select_tenants

router = APIRouter(tags=["integration"])

Health = Literal[
    "not_selected",
    "first_sync",
    "healthy",
    "syncing",
    "partial",
    "rate_limited",
    "paused",
    "forbidden",
    "removed",
    "failing",
]


class ReasonAnswer(ResponseModel):
    code: str
    message: str


class ProgressAnswer(ResponseModel):
    rows_read: int
    row_estimate: int | None


class TenantAnswer(ResponseModel):
    tenant_id: str
    name: str
    selected: bool
    health: Health
    reason: ReasonAnswer | None
    data_as_of: datetime | None
    last_success_at: datetime | None
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    first_sync_progress: ProgressAnswer | None
    calls_today: int
    daily_cap: int
    bytes_this_month: int


class Selection(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant_ids: Annotated[list[str], Field(max_length=10_000)]


@router.get("/tenants", responses=document_problems("invalid_cursor"))
async def get_tenants(
    engine: EngineDep,
    session: SessionDep,
    paging: PagingDep,
    _reader: Reader,
    search: Annotated[str | None, Query(max_length=200)] = None,
) -> Page[TenantAnswer]:
    """List the organisations the connection reaches, by name."""
    after = TenantKey(str(paging.after[0]), str(paging.after[1])) if paging.after else None
    rows = await list_tenants(session, engine.vendor, search, after, paging.limit + 1)
    views = await engine.views(session, rows)
    return paging.page(views, lambda view: (view.name, view.tenant_id), TenantAnswer.model_validate)


@router.put("/tenants", responses=document_problems("no_tenant_selected"))
async def put_tenants(
    engine: EngineDep, session: SessionDep, paging: PagingDep, admin: Admin, wanted: Selection
) -> Page[TenantAnswer]:
    """Make these the whole selection; what is new begins to sync at once."""
    added = await select_tenants(session, engine.vendor, wanted.tenant_ids)
    details = {"selected": len(set(wanted.tenant_ids)), "added": added}
    await append_audit_entry(session, admin.subject, "tenants_selected", engine.vendor, details)
    if added:
        await engine.sync_added(session, added, admin.subject)
    return await get_tenants(engine, session, paging, admin)
