"""Runs: sync now, what ran and what came of it, progress as it happens, and what it cost."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import Admin, EngineDep, Reader, Services, ServicesDep, SessionDep
from app.api.errors import Problem, document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.connections.errors import NoTenantSelected
from app.sync import progress, runs
from app.sync.pull import reconcile
from app.sync.tables import ProgressEvent, Run, RunResource

router = APIRouter(tags=["sync"])

POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15
Status = Literal["running", "succeeded", "partial", "paused", "failed"]


class ResourceAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    resource: str
    tenant_id: str
    status: Literal["pending", "running", "succeeded", "partial", "paused", "failed"]
    fetched: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int
    calls: int
    bytes: int
    error: str | None


class RunAnswer(BaseModel):
    """One tick, or one manual, webhook, replay or reconcile pass."""

    id: UUID
    trigger: Literal["schedule", "manual", "webhook", "replay", "reconcile"]
    status: Status
    tenant_id: str | None
    started_at: datetime
    finished_at: datetime | None
    resources: list[ResourceAnswer]
    error: str | None


class SyncRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant_ids: Annotated[list[str] | None, Field(min_length=1, max_length=10_000)] = None


class ReconciliationAnswer(BaseModel):
    """One comparison of one resource of one organisation."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    run_id: UUID
    tenant_id: str
    resource: str
    checked: Annotated[int, Field(description="Rows the vendor delivered.")]
    missing: Annotated[int, Field(description="Rows that were not here.")]
    stale: Annotated[int, Field(description="Rows that said something else here.")]
    orphaned: Annotated[int, Field(description="Rows here that the vendor did not deliver.")]
    healed: Annotated[int, Field(description="Rows written, or marked deleted, to make them equal.")]
    finished_at: datetime


class DayAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    tenant_id: str
    day: date
    calls: int
    bytes: Annotated[int, Field(validation_alias="bytes_raw", description="Of answer bodies, decompressed.")]
    bytes_wire: Annotated[int, Field(description="Of answer bodies as they travelled.")]


class MonthAnswer(BaseModel):
    """The current UTC month's bytes of all organisations, beside what the vendor's tiers include."""

    bytes: int
    allowances: dict[str, int | None]


class UsageAnswer(BaseModel):
    items: list[DayAnswer]
    month: MonthAnswer


GIB = 1024**3
# What Xero's tiers include a month since 2 March 2026; Starter is not metered (its pricing page).
ALLOWANCES: dict[str, int | None] = {"starter": None, "core": 10 * GIB, "plus": 50 * GIB, "advanced": 250 * GIB}


@router.post("/sync", status_code=202, responses=document_problems("conflict", "unknown_tenant"))
async def sync_now(
    engine: EngineDep, session: SessionDep, admin: Admin, response: Response, wanted: SyncRequest | None = None
) -> RunAnswer:
    """Begin a run, or return the one under way."""
    try:
        run_id = await engine.sync_now(session, wanted.tenant_ids if wanted else None, admin.subject)
    except NoTenantSelected as error:
        # Here it is the state that is wrong and not the request, which the contract tells by another status.
        raise Problem("no_tenant_selected", str(error), status=409) from error
    response.headers["Location"] = f"/api/integrations/{engine.vendor}/runs/{run_id}"
    return await get_run(engine, session, admin, run_id)


@router.post("/reconcile", status_code=202, responses=document_problems("conflict"))
async def reconcile_now(engine: EngineDep, session: SessionDep, admin: Admin, response: Response) -> RunAnswer:
    """Compare the mirror with the vendor's books whole, heal it, and report; or return the comparison under way."""
    try:
        run_id = await engine.reconcile_now(session, admin.subject)
    except NoTenantSelected as error:
        raise Problem("no_tenant_selected", str(error), status=409) from error
    response.headers["Location"] = f"/api/integrations/{engine.vendor}/runs/{run_id}"
    return await get_run(engine, session, admin, run_id)


@router.get("/reconciliations", responses=document_problems("invalid_cursor"))
async def list_reconciliations(
    engine: EngineDep, session: SessionDep, paging: PagingDep, _reader: Reader
) -> Page[ReconciliationAnswer]:
    """List what comparisons found and healed, the newest first."""
    rows = await reconcile.list_findings(session, engine.vendor, paging.after_instant, paging.limit + 1)
    return paging.page(
        rows, lambda row: (row.finished_at.isoformat(), str(row.id)), ReconciliationAnswer.model_validate
    )


@router.get("/runs", responses=document_problems("invalid_cursor"))
async def list_runs(engine: EngineDep, session: SessionDep, paging: PagingDep, _reader: Reader) -> Page[RunAnswer]:
    """List runs, the newest first."""
    rows = await runs.list_runs(session, engine.vendor, paging.after_instant, paging.limit + 1)
    resources = await runs.resources_of(session, [row.id for row in rows])
    return paging.page(
        rows,
        lambda row: (row.started_at.isoformat(), str(row.id)),
        lambda row: _answer(row, resources.get(row.id, [])),
    )


@router.get("/runs/{run_id}", responses=document_problems("not_found"))
async def get_run(engine: EngineDep, session: SessionDep, _reader: Reader, run_id: UUID) -> RunAnswer:
    """Return one run with what it did to each resource of each organisation."""
    found = await runs.find_run(session, engine.vendor, run_id)
    if found is None:
        raise not_found("run")
    return _answer(*found)


@router.get("/progress", response_class=StreamingResponse, responses=document_problems())
async def follow_progress(
    request: Request,
    services: ServicesDep,
    _reader: Reader,
    last_event_id: Annotated[str | None, Header(max_length=30)] = None,
) -> StreamingResponse:
    """Stream the steps of running work as server-sent events; `Last-Event-ID` resumes on any replica."""
    known = int(last_event_id) if last_event_id and last_event_id.isdecimal() else None
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(request, services, known), media_type="text/event-stream", headers=headers)


@router.get("/usage", responses=document_problems())
async def get_usage(
    engine: EngineDep, session: SessionDep, _reader: Reader, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> UsageAnswer:
    """Return what each organisation cost per UTC day, and the month's bytes against the vendor's tiers."""
    rows, month = await engine.usage(session, days)
    total = MonthAnswer(bytes=sum(month.values()), allowances=ALLOWANCES)
    return UsageAnswer(items=[DayAnswer.model_validate(row) for row in rows], month=total)


async def _stream(request: Request, services: Services, last_id: int | None) -> AsyncIterator[str]:
    async with services.db.transaction() as session:
        newest = await progress.newest_id(session) if last_id is None else last_id
    yield "retry: 2000\n\n"
    quiet = 0.0
    while not await request.is_disconnected():
        async with services.db.transaction() as session:
            steps = await progress.events_after(session, newest)
        for step in steps:
            newest = step.id
            yield _event(step)
        quiet = 0.0 if steps else quiet + POLL_SECONDS
        if quiet >= KEEP_ALIVE_SECONDS:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(POLL_SECONDS)


def _event(step: ProgressEvent) -> str:
    return f"id: {step.id}\nevent: {step.kind}\ndata: {json.dumps({'at': step.at.isoformat(), **step.data})}\n\n"


def _answer(run: Run, resources: list[RunResource]) -> RunAnswer:
    return RunAnswer(
        id=run.id,
        trigger=run.trigger,
        status=run.status,
        tenant_id=run.tenant_id,
        started_at=run.started_at,
        finished_at=run.finished_at,
        resources=[ResourceAnswer.model_validate(resource) for resource in resources],
        error=run.error,
    )
