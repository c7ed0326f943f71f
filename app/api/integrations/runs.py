"""Runs: start a sync or a reconciliation, list runs and reports, stream progress, and show usage."""

import json
import re
from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.auth import Actor
from app.api.deps import Admin, EngineDep, Reader, Services, ServicesDep, SessionDep
from app.api.errors import Problem, document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.connections.errors import NoTenantSelected
from app.sync import progress, run_history
from app.sync.pull import reconcile
from app.sync.tables import ProgressEvent, ResourceStatus, Run, RunResource, RunStatus, RunTrigger

router = APIRouter(tags=["sync"])

POLL_SECONDS = 0.5
# An id of an event. No id there will be has more digits, and no number of so many exceeds the column's type.
EVENT_ID = re.compile(r"[0-9]{1,18}")
KEEP_ALIVE_SECONDS = 15
# How long a client waits before it connects again.
RETRY_HINT = "retry: 2000\n\n"


class RunCounts(BaseModel):
    """Rows by what was done with them, and what the calls cost."""

    model_config = ConfigDict(from_attributes=True)

    fetched: int
    created: int
    updated: int
    unchanged: int
    skipped: int
    failed: int
    calls: int
    bytes: int


class RunResourceResponse(RunCounts):
    """What a run did to one resource of one organisation."""

    resource: str
    tenant_id: str
    status: ResourceStatus
    error: str | None


class RunHead(BaseModel):
    """A run without what it did."""

    id: UUID
    trigger: RunTrigger
    status: RunStatus
    tenant_id: Annotated[str | None, Field(description="The organisation, where it covers exactly one.")]
    started_at: datetime
    finished_at: datetime | None
    error: str | None


class RunResponse(RunHead):
    """One run: a tick, or one started by a person, a webhook, a replay or a reconciliation."""

    resources: list[RunResourceResponse]


class RunTotalsResponse(RunCounts):
    """What a run did, over all organisations and resources."""

    organisations: int
    unsuccessful: Annotated[int, Field(description="Resources of organisations that did not end as `succeeded`.")]


class RunWithTotals(RunHead):
    """One run, with totals instead of its resources."""

    totals: RunTotalsResponse


class SyncRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant_ids: Annotated[list[str] | None, Field(min_length=1, max_length=10_000)] = None


class ReconciliationResponse(BaseModel):
    """One comparison of one resource of one organisation."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    run_id: UUID
    tenant_id: str
    resource: str
    checked: Annotated[int, Field(description="Rows the vendor delivered.")]
    missing: Annotated[int, Field(description="Rows that were not here.")]
    stale: Annotated[int, Field(description="Rows that were different here.")]
    orphaned: Annotated[int, Field(description="Rows here that the vendor did not deliver.")]
    healed: Annotated[int, Field(description="Rows written, or marked deleted, to make them equal.")]
    finished_at: datetime


class UsageDayResponse(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    tenant_id: str
    day: date
    calls: int
    bytes: Annotated[int, Field(validation_alias="bytes_raw", description="Of response bodies, decompressed.")]
    bytes_wire: Annotated[int, Field(description="Of response bodies as sent, compressed.")]


class UsageMonthResponse(BaseModel):
    """The current UTC month's bytes of all organisations, beside what the vendor's tiers include."""

    bytes: int
    allowances: dict[str, int | None]


class UsageResponse(BaseModel):
    items: list[UsageDayResponse]
    month: UsageMonthResponse


@router.post("/sync", status_code=202, responses=document_problems("conflict", "unknown_tenant"))
async def sync_now(
    engine: EngineDep, session: SessionDep, admin: Admin, response: Response, wanted: SyncRequest | None = None
) -> RunResponse:
    """Start a run, or return the one under way."""
    try:
        run_id = await engine.sync_now(session, wanted.tenant_ids if wanted else None, admin.subject)
    except NoTenantSelected as error:
        # 409 instead of this error's usual 422: it is the state that is wrong and not the request.
        raise Problem("no_tenant_selected", str(error), status=409) from error
    response.headers["Location"] = f"/api/integrations/{engine.vendor}/runs/{run_id}"
    return await get_run(engine, session, admin, run_id)


@router.post("/reconcile", status_code=202, responses=document_problems("conflict"))
async def reconcile_now(engine: EngineDep, session: SessionDep, admin: Admin, response: Response) -> RunResponse:
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
) -> Page[ReconciliationResponse]:
    """List what reconciliations found and healed, the newest first."""
    rows = await reconcile.list_reports(session, engine.vendor, paging.after, paging.limit + 1)
    return paging.page(rows, reconcile.REPORT_ORDER.position, ReconciliationResponse.model_validate)


@router.get("/runs", responses=document_problems("invalid_cursor"))
async def list_runs(  # noqa: PLR0913, PLR0917 - each is a filter of the contract
    engine: EngineDep,
    session: SessionDep,
    paging: PagingDep,
    _reader: Reader,
    trigger: RunTrigger | None = None,
    status: RunStatus | None = None,
    tenant_id: Annotated[
        str | None, Query(max_length=100, description="Runs that have or had something to do for it.")
    ] = None,
    *,
    resources: Annotated[bool, Query(description="False: `totals` instead of `resources`.")] = True,
) -> Page[RunResponse] | Page[RunWithTotals]:
    """List runs, the newest first, with what each did to every resource, or with totals."""
    filters = run_history.RunFilter(trigger, status, tenant_id)
    rows = await run_history.list_runs(session, engine.vendor, filters, paging.after, paging.limit + 1)
    ids, position = [row.id for row in rows], run_history.RUN_ORDER.position
    if not resources:
        totals = await run_history.totals_of(session, ids)
        return paging.page(rows, position, lambda row: _with_totals(row, totals.get(row.id, run_history.RunTotals())))
    found = await run_history.resources_of(session, ids)
    return paging.page(rows, position, lambda row: _run_response(row, found.get(row.id, [])))


@router.get("/runs/{run_id}", responses=document_problems("not_found"))
async def get_run(engine: EngineDep, session: SessionDep, _reader: Reader, run_id: UUID) -> RunResponse:
    """Return one run with what it did to each resource of each organisation."""
    found = await run_history.find_run(session, engine.vendor, run_id)
    if found is None:
        raise not_found("run")
    return _run_response(*found)


@router.get("/progress", response_class=StreamingResponse, responses=document_problems())
async def follow_progress(
    request: Request,
    services: ServicesDep,
    reader: Reader,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Stream progress events of running work as server-sent events; `Last-Event-ID` resumes on any replica.

    A `Last-Event-ID` that is no id of ours is ignored, as if there were none. The stream ends when the token expires.
    """
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    known = int(last_event_id) if last_event_id and EVENT_ID.fullmatch(last_event_id) else None
    events = _stream(request, services, reader, known)
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.get("/usage", responses=document_problems())
async def get_usage(
    engine: EngineDep, session: SessionDep, _reader: Reader, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> UsageResponse:
    """Return calls and bytes of each organisation per UTC day, and the month's bytes beside the vendor's tiers."""
    rows, month = await engine.status.read_usage(session, days)
    total = UsageMonthResponse(bytes=sum(month.values()), allowances=dict(engine.profile.monthly_egress))
    return UsageResponse(items=[UsageDayResponse.model_validate(row) for row in rows], month=total)


async def _stream(request: Request, services: Services, reader: Actor, last_id: int | None) -> AsyncIterator[str]:
    async with services.db.transaction() as session:
        newest = await progress.newest_id(session) if last_id is None else last_id
    yield RETRY_HINT
    idle_seconds = 0.0
    while not services.drain.has_begun and not await request.is_disconnected():
        if services.clock.now().timestamp() >= reader.expires_at:
            return
        async with services.db.transaction() as session:
            events = await progress.events_after(session, newest)
        for event in events:
            newest = event.id
            yield _format_event(event)
        idle_seconds = 0.0 if events else idle_seconds + POLL_SECONDS
        if idle_seconds >= KEEP_ALIVE_SECONDS:
            idle_seconds = 0.0
            yield ": keep-alive\n\n"
        await services.drain.wait(POLL_SECONDS)
    # The process stops, and another one continues after the last id; no browser may wait longer because of it.
    yield RETRY_HINT


def _format_event(event: ProgressEvent) -> str:
    data = json.dumps({"at": event.at.isoformat(), **event.data})
    return f"id: {event.id}\nevent: {event.kind}\ndata: {data}\n\n"


def _run_response(run: Run, resources: list[RunResource]) -> RunResponse:
    found = [RunResourceResponse.model_validate(resource) for resource in resources]
    return RunResponse(**_head(run), resources=found)


def _with_totals(run: Run, totals: run_history.RunTotals) -> RunWithTotals:
    return RunWithTotals(**_head(run), totals=RunTotalsResponse.model_validate(totals))


def _head(run: Run) -> dict[str, Any]:
    return {name: getattr(run, name) for name in RunHead.model_fields}
