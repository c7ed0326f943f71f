"""Rows per second at which two replicas load two organisations, beside one replica."""

import os
import time
from contextlib import AsyncExitStack

from bench.context import Bench, tell
from bench.environment import serve
from bench.loading import warm_up
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.result import Comparison, Samples
from bench.rows.memory import IS_COMPLETE
from bench.sizes import simulated_rows

NAME = "replicas"
ROWS_READ = "SELECT sum(fetched)::int FROM sync_run_resources"


async def measure(bench: Bench) -> list[Comparison]:
    """Load with one and with two replicas in turn, each time in a new database by processes that were just started."""
    one: list[float] = []
    two: list[float] = []
    with run_pretend_xero({"organisations": 2, **simulated_rows(bench.sizes.first_loads[0] // 2)}) as xero:
        await warm_up(xero, bench)
        for number in range(bench.sizes.repetitions):
            tell(f"repetition {number + 1} of {bench.sizes.repetitions}")
            one.append(await _load(bench, xero, 1))
            two.append(await _load(bench, xero, 2))
    return [
        Comparison(
            row=NAME,
            what="two organisations loaded by two replicas",
            ours=Samples.of(two, "rows/s"),
            beside="by one replica",
            theirs=Samples.of(one, "rows/s"),
            note=(
                f"Both replicas, PostgreSQL and the pretend Xero share this machine's {os.cpu_count()} cores, so the "
                "ratio shows what is left of those, not what a second machine brings."
            ),
        )
    ]


async def _load(bench: Bench, xero: PretendXero, replicas: int) -> float:
    """Return the rows per second, from the selection until both organisations are complete."""
    async with bench.postgres.database() as dsn, AsyncExitStack() as stack:
        service, *_ = [await stack.enter_async_context(serve(dsn, xero.url)) for _ in range(replicas)]
        tenant_ids = await service.connect()
        started = time.perf_counter()
        await service.select(tenant_ids)
        await service.wait_until(IS_COMPLETE)
        seconds = time.perf_counter() - started
        return int(str(await service.query_value(ROWS_READ))) / seconds
