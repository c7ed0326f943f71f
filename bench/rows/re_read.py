"""Rows per second of reading an organisation again whose rows have not changed, beside its first load."""

import os

from bench.context import Bench, tell
from bench.database import count_written_rows
from bench.environment import INTEGRATION_PATH, LocalService
from bench.loading import Load, describe_load, load_first, warm_up
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.processes import measure_cost
from bench.result import Comparison, Relation, Samples, Target
from bench.sizes import simulated_rows

NAME = "re-read"
# The tables of the mirror; those of runs, cursors, usage and progress are written by every run.
MIRROR = "^(customers|customer_links|billing_.*|timeline_.*)$"
NOTE = "The cursors are deleted in between, so that every page is asked for again as in the first load."


async def measure(bench: Bench) -> list[Comparison]:
    """Load and read again, each time in a new database."""
    first: list[Load] = []
    again: list[Load] = []
    written: list[int] = []
    with run_pretend_xero({"organisations": 1, **simulated_rows(bench.sizes.first_loads[0])}) as xero:
        await warm_up(xero, bench)
        for number in range(bench.sizes.repetitions):
            tell(f"repetition {number + 1} of {bench.sizes.repetitions}")
            loads, rows = await _repeat(bench, xero)
            first.append(loads[0])
            again.append(loads[1])
            written.append(rows)
    return _compare(first, again, written)


async def _repeat(bench: Bench, xero: PretendXero) -> tuple[tuple[Load, Load], int]:
    async with bench.postgres.database() as dsn:
        async with bench.service_on(dsn, xero) as service:
            [tenant_id] = await service.connect()
            first = await load_first(bench, service, tenant_id)
        before = await count_written_rows(dsn, MIRROR)
        async with bench.service_on(dsn, xero) as service:
            again = await _read_again(bench, service)
        return (first, again), await count_written_rows(dsn, MIRROR) - before


async def _read_again(bench: Bench, service: LocalService) -> Load:
    await service.execute("DELETE FROM sync_cursors")
    with measure_cost(os.getpid(), bench.postgres.postmaster) as cost:
        await service.call("POST", f"{INTEGRATION_PATH}/sync")
        await service.work()
    return await describe_load(service, cost)


def _compare(first: list[Load], again: list[Load], written: list[int]) -> list[Comparison]:
    if {load.rows for load in first} != {load.rows for load in again}:
        raise RuntimeError("The second read did not read as many rows as the first, so nothing is compared.")
    return [
        Comparison(
            row=NAME,
            what=f"re-read of {again[0].rows:,} unchanged rows",
            ours=Samples.of((load.rate for load in again), "rows/s"),
            beside="their first load",
            theirs=Samples.of((load.rate for load in first), "rows/s"),
            target=Target(2),
            our_cpu=tuple(load.cost.cpu for load in again),
            their_cpu=tuple(load.cost.cpu for load in first),
            note=NOTE,
        ),
        Comparison(
            row=NAME,
            what="  rows of the mirror written by it",
            ours=Samples.of(written, "rows"),
            relation=Relation.ITSELF,
            target=Target(0, is_higher_better=False),
        ),
    ]
