"""The tenants a connection gives access to: list them, and select which to sync."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import Admin, EngineDep, Reader, SessionDep
from app.api.errors import document_problems
from app.api.openapi import OneOf
from app.api.pagination import Page, PagingDep
from app.api.schemas import ResponseModel
from app.audit import append_audit_entry
from app.connections.states import TenantHealth
from app.connections.tenants import TENANT_ORDER, list_tenants, select_tenants

router = APIRouter(tags=["integration"])


class ReasonResponse(ResponseModel):
    code: str
    message: str


class ProgressResponse(ResponseModel):
    rows_read: int
    row_estimate: int | None


class TenantResponse(ResponseModel):
    tenant_id: str
    name: str
    selected: bool
    health: Annotated[str, OneOf(TenantHealth)]
    reason: ReasonResponse | None
    data_as_of: datetime | None
    last_success_at: datetime | None
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    first_sync_progress: ProgressResponse | None
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
) -> Page[TenantResponse]:
    """List the organisations the connection reaches, by name."""
    rows = await list_tenants(session, engine.vendor, search, paging.after, paging.limit + 1)
    views = await engine.status.read_tenants(session, rows)
    return paging.page(views, TENANT_ORDER.position, TenantResponse.model_validate)


@router.put("/tenants", responses=document_problems("no_tenant_selected"))
async def put_tenants(
    engine: EngineDep, session: SessionDep, paging: PagingDep, admin: Admin, wanted: Selection
) -> Page[TenantResponse]:
    """Make these the whole selection; what is new begins to sync at once."""
    added = await select_tenants(session, engine.vendor, wanted.tenant_ids)
    details = {"selected": len(set(wanted.tenant_ids)), "added": added}
    await append_audit_entry(session, admin.subject, "tenants_selected", engine.vendor, details)
    if added:
        await engine.sync_added(session, added, admin.subject)
    return await get_tenants(engine, session, paging, admin)
