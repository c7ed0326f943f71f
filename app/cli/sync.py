"""`vectis-xero sync`: one tick now, by this process or whichever replica is faster, watched to its end."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import httpx
from rich.console import Console
from rich.table import Table

from app.api.deps import Services
from app.cli.progress_bars import ProgressBars
from app.clock import SystemClock
from app.connections import tenants
from app.connections.errors import ConnectionProblem
from app.main import make_services
from app.settings import Settings
from app.sync import progress, runs
from app.sync.engine import Engine
from app.sync.tables import Run, RunResource

Seen = tuple[Run, list[RunResource]]

POLL_SECONDS = 0.2
SUCCESS = ("succeeded",)


async def sync_with_bars(settings: Settings, tenant_ids: Sequence[str] | None) -> int:
    """Sync and draw; return the exit status: 0 when everything came, 1 when something did not."""
    console = Console()
    async with httpx.AsyncClient(follow_redirects=False) as http:
        services = make_services(settings, SystemClock(), http)
        try:
            return await follow_sync(services, console, tenant_ids)
        except ConnectionProblem as problem:
            console.print(str(problem), style="red")
            return 1
        finally:
            await services.db.close()


async def follow_sync(services: Services, console: Console, tenant_ids: Sequence[str] | None) -> int:
    """Sync every vendor's organisations, or those named, and draw it; return the exit status."""
    outcome = 0
    for engine in services.engines.values():
        async with services.db.transaction() as session:
            names = {row.tenant_id: row.name for row in await tenants.list_all_tenants(session, engine.vendor)}
            last_step = await progress.newest_id(session)
            run_id = await engine.sync_now(session, tenant_ids, "command")
        with ProgressBars(console, names) as bars:
            work = asyncio.create_task(engine.worker.run_until_idle())
            seen = asyncio.create_task(_follow(services, engine, run_id, last_step, bars))
            run, resources = await _both(work, seen)
        console.print(_summary(names, resources))
        outcome |= run.status not in SUCCESS
    return outcome


async def _both(work: asyncio.Task[None], seen: asyncio.Task[Seen]) -> Seen:
    """Wait for the work and for what is seen of it; where one breaks, the other would wait for ever."""
    try:
        await asyncio.gather(work, seen)
    finally:
        work.cancel()
        seen.cancel()
        await asyncio.gather(work, seen, return_exceptions=True)
    return seen.result()


async def _follow(services: Services, engine: Engine, run_id: UUID, last_step: int, bars: ProgressBars) -> Seen:
    while True:
        async with services.db.transaction() as session:
            steps = await progress.events_after(session, last_step)
            found = await runs.find_run(session, engine.vendor, run_id)
        for step in steps:
            last_step = step.id
            if step.kind == "page" and step.data["run_id"] == str(run_id):
                bars.draw(step.data)
        if found and found[0].status != "running":
            return found
        await services.clock.sleep(POLL_SECONDS)


def _summary(names: dict[str, str], resources: Sequence[RunResource]) -> Table:
    table = Table(box=None, header_style="dim")
    for column in ("organisation", "resource", "status"):
        table.add_column(column)
    for column in ("fetched", "created", "updated", "unchanged", "failed", "calls"):
        table.add_column(column, justify="right")
    for row in resources:
        figures = (row.fetched, row.created, row.updated, row.unchanged, row.failed, row.calls)
        name = names.get(row.tenant_id, row.tenant_id)
        table.add_row(name, row.resource, row.error or row.status, *(f"{figure:,}" for figure in figures))
    return table
