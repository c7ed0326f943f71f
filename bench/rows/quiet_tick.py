"""Processor time that a quiet tick costs per organisation, beside four bare calls of httpx."""

import os
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx

from bench.context import Bench, tell
from bench.environment import LocalService
from bench.loading import LIST_QUERIES
from bench.pretend_xero import PretendXero
from bench.processes import Cost, measure_cost
from bench.quiet_organisations import EMPTY, SMALL, Tick, measure_tick, run_quiet, sync_first
from bench.result import Comparison, Samples, Target

NAME = "quiet-tick"
NOTE = (
    "Of the service's process and per organisation, without the pretend Xero's. A pull begins a while before the "
    "newest change it knows, so an organisation with rows is never answered with an empty list. A bare call: httpx, "
    "one kept-alive connection, If-Modified-Since now, an empty list as the answer, not decoded."
)


async def measure(bench: Bench) -> list[Comparison]:
    """Measure organisations without any row, whose answers are empty, and such with rows."""
    empty = await _measure(bench, EMPTY, "empty answers")
    return [*empty, *await _measure(bench, SMALL, "the newest rows read again")]


async def _measure(bench: Bench, rows: Mapping[str, int], what: str) -> list[Comparison]:
    """Tick and call in turn; the first repetition only warms up."""
    count = bench.sizes.quiet_organisations
    ticks: list[Tick] = []
    calls: list[Cost] = []
    async with run_quiet(bench, count, rows) as (service, xero, tenant_ids):
        await sync_first(service, tenant_ids)
        for number in range(bench.sizes.repetitions + 1):
            tell(f"{what}: repetition {number} of {bench.sizes.repetitions}, of which 0 only warms up")
            ticks.append(await measure_tick(bench, service))
            calls.append(await _call_bare(service, xero, tenant_ids))
    return _compare(count, what, ticks[1:], calls[1:])


async def _call_bare(service: LocalService, xero: PretendXero, tenant_ids: list[str]) -> Cost:
    since = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
    headers = await service.xero_headers(tenant_ids[0]) | {"If-Modified-Since": since}
    async with httpx.AsyncClient(base_url=xero.url, headers=headers) as client:
        with measure_cost(os.getpid()) as cost:
            for tenant_id in tenant_ids:
                for resource, query in LIST_QUERIES.items():
                    response = await client.get(
                        f"/api.xro/2.0/{resource}",
                        params={**query, "page": "1", "pageSize": "1000"},
                        headers={"xero-tenant-id": tenant_id},
                    )
                    response.raise_for_status()
    return cost


def _compare(count: int, what: str, ticks: list[Tick], calls: list[Cost]) -> list[Comparison]:
    tick = Comparison(
        row=NAME,
        what=f"processor time of a quiet tick, one of {count}, {what}",
        ours=Samples.of((tick.cost.cpu / count for tick in ticks), "s"),
        beside="four bare httpx calls",
        theirs=Samples.of((cost.cpu / count for cost in calls), "s"),
        target=Target(6, 3, is_higher_better=False),
        note=NOTE,
    )
    database = Comparison(
        row=NAME,
        what="  PostgreSQL's processor time",
        ours=Samples.of((tick.cost.database_cpu / count for tick in ticks), "s"),
    )
    statements = Comparison(
        row=NAME,
        what="  statements",
        ours=Samples.of((tick.statements / count for tick in ticks), "statements"),
    )
    return [tick, database, statements]
