"""Many small organisations that were synced once and have not changed since, and the ticks over them."""

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from sqlalchemy import event

from bench.context import Bench
from bench.environment import LocalService
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.processes import Cost, measure_cost

SMALL = {"contacts": 2, "invoices": 4, "payments": 2, "credit_notes": 1}
EMPTY = {"contacts": 0, "invoices": 0, "payments": 0, "credit_notes": 0}
COUNT_WRITTEN = "SELECT coalesce(sum(created + updated), 0) FROM sync_run_resources WHERE run_id = CAST(:run AS uuid)"


@dataclass(slots=True)
class StatementCount:
    """How many statements the service has executed since the counting began."""

    statements: int = 0


@dataclass(frozen=True, slots=True)
class Tick:
    """One tick: what it cost, and the statements that it executed."""

    cost: Cost
    statements: int


@asynccontextmanager
async def run_quiet(
    bench: Bench, organisations: int, rows: Mapping[str, int]
) -> AsyncIterator[tuple[LocalService, PretendXero, list[str]]]:
    """Yield a service that is connected to so many organisations, none of them picked yet, and their ids."""
    with run_pretend_xero({"organisations": organisations, **rows}, is_cached=False) as xero:
        async with bench.fresh_service(xero) as (service, _):
            yield service, xero, await service.connect()


async def sync_first(service: LocalService, tenant_ids: list[str]) -> None:
    """Pick these organisations and sync those that were not picked before, so that nothing is left to read."""
    await service.select(tenant_ids)
    await service.work()
    # The first tick after it may still find what the first sync left out.
    await service.tick()


async def measure_tick(bench: Bench, service: LocalService) -> Tick:
    """Do one tick. Raises RuntimeError when it failed or found a change, because it was not a quiet one then."""
    with count_statements(service) as count, measure_cost(os.getpid(), bench.postgres.postmaster) as cost:
        await service.tick()
    [run] = (await service.call("GET", "/api/integrations/xero/runs?limit=1")).json()["items"]
    if run["status"] != "succeeded":
        raise RuntimeError(f"The tick ended as {run['status']}: {run['error']}")
    if changed := await service.query_value(COUNT_WRITTEN, run=run["id"]):
        raise RuntimeError(f"The tick was not quiet: it wrote {changed} rows.")
    return Tick(cost, count.statements)


@contextmanager
def count_statements(service: LocalService) -> Iterator[StatementCount]:
    """Count the statements that SQLAlchemy executes in the block on any of the service's pools."""
    count = StatementCount()

    def add(*_: object) -> None:
        count.statements += 1

    engines = [db.engine.sync_engine for db in service.databases]
    for engine in engines:
        event.listen(engine, "before_cursor_execute", add)
    try:
        yield count
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", add)
