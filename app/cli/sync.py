"""`vectis-xero sync`: one tick now, done by this process or by another replica, and shown until it has ended."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import httpx
from rich.console import Console
from rich.table import Table

from app.api.deps import Services
from app.cli.progress_bars import ProgressBars
from app.clock import SystemClock
from app.concurrency import cancel_and_wait
from app.connections import tenants
from app.connections.errors import ConnectionProblem
from app.main import make_services
from app.settings import Settings
from app.sync import progress, run_history
from app.sync.engine import Engine
from app.sync.tables import UNFINISHED, ResourceStatus, Run, RunResource, RunStatus

FinishedRun = tuple[Run, list[RunResource]]

POLL_SECONDS = 0.25
# How often all resources of the run are read; hundreds of organisations have four each.
LOOK_SECONDS = 1.0
# Above so many organisations the summary names only those that were not synced, and the totals.
MOST_LISTED = 10
FIGURES = ("fetched", "created", "updated", "unchanged", "failed", "calls")


async def sync_from_settings(settings: Settings, tenant_ids: Sequence[str] | None) -> int:
    """Sync as `sync_tenants` does, with services made from the settings."""
    console = Console()
    async with httpx.AsyncClient(follow_redirects=False) as http:
        services = make_services(settings, SystemClock(), http)
        try:
            return await sync_tenants(services, console, tenant_ids)
        except ConnectionProblem as problem:
            console.print(str(problem), style="red")
            return 1
        finally:
            await services.close()


async def sync_tenants(services: Services, console: Console, tenant_ids: Sequence[str] | None) -> int:
    """Sync organisations of every vendor, and print progress bars and a summary.

    Args:
        services: what the application's routes use too.
        console: where to print.
        tenant_ids: the organisations to sync; None for all selected ones.

    Returns:
        The exit status: 0 when every run succeeded, else 1.
    """
    exit_status = 0
    for engine in services.engines.values():
        async with services.db.transaction() as session:
            names = {row.tenant_id: row.name for row in await tenants.list_all_tenants(session, engine.vendor)}
            last_event_id = await progress.newest_id(session)
            run_id = await engine.sync_now(session, tenant_ids, "command")
            covered = await run_history.resources_of(session, [run_id])
        organisations = len({resource.tenant_id for resource in covered.get(run_id, [])})
        with ProgressBars(console, names, organisations) as bars:
            work = asyncio.create_task(engine.worker.run_until_idle())
            watch = asyncio.create_task(_watch_run(services, engine, run_id, last_event_id, bars))
            run, resources = await _wait_for_run(work, watch)
        console.print(_summary(names, resources))
        exit_status |= run.status != "succeeded"
    return exit_status


async def _wait_for_run(work: asyncio.Task[None], watch: asyncio.Task[FinishedRun]) -> FinishedRun:
    """Wait for the worker and for the end of the run; when one of the two fails, the other would never end."""
    try:
        await asyncio.gather(work, watch)
    finally:
        await cancel_and_wait([work, watch])
    return watch.result()


async def _watch_run(
    services: Services, engine: Engine, run_id: UUID, last_event_id: int, bars: ProgressBars
) -> FinishedRun:
    looks_after = 0.0
    while True:
        async with services.db.transaction() as session:
            events = await progress.events_after(session, last_event_id)
            found = None if looks_after > 0 else await run_history.find_run(session, engine.vendor, run_id)
        for event in events:
            last_event_id = event.id
            if event.kind == "page" and event.data["run_id"] == str(run_id):
                bars.add_page(event.data)
        if found:
            bars.finish(_finished_tenants(found[1]))
            if found[0].status != RunStatus.RUNNING:
                return found
        looks_after = LOOK_SECONDS if looks_after <= 0 else looks_after - POLL_SECONDS
        await services.clock.sleep(POLL_SECONDS)


def _finished_tenants(resources: Sequence[RunResource]) -> set[str]:
    unfinished = {resource.tenant_id for resource in resources if resource.status in UNFINISHED}
    return {resource.tenant_id for resource in resources} - unfinished


def _summary(names: dict[str, str], resources: Sequence[RunResource]) -> Table:
    """Return the figures of every resource, or of those that failed where there are many, and the totals."""
    table = Table(box=None, header_style="dim")
    for column in ("organisation", "resource", "status"):
        table.add_column(column)
    for column in FIGURES:
        table.add_column(column, justify="right")
    organisations = {row.tenant_id for row in resources}
    is_long = len(organisations) > MOST_LISTED
    for row in resources:
        if not (is_long and row.status == ResourceStatus.SUCCEEDED):
            name = names.get(row.tenant_id, row.tenant_id)
            table.add_row(name, row.resource, row.error or row.status, *_format([row]))
    succeeded = sum(row.status == ResourceStatus.SUCCEEDED for row in resources)
    status = f"{succeeded} of {len(resources)} succeeded"
    table.add_row(f"{len(organisations)} organisations", "all", status, *_format(resources), style="bold")
    return table


def _format(rows: Sequence[RunResource]) -> list[str]:
    """Return the sums of the figures of these rows, as they are printed."""
    return [f"{sum(getattr(row, name) for row in rows):,}" for name in FIGURES]
