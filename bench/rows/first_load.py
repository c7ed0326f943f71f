"""Rows per second of an organisation's first load, limits lifted, beside a hand-written loop, dlt and COPY."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bench.context import Bench, tell
from bench.loading import Load, copy_invoices, load_first, run_peer, warm_up
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.processes import cpu_seconds
from bench.result import Comparison, Samples, Target
from bench.sizes import simulated_rows

NAME = "first-load"
LOOP_TARGET, DLT_TARGET = Target(0.8, 1.3), Target(3)
LOOP_PROGRAM, DLT_PROGRAM = "hand_written.py", "dlt_pipeline.py"
LOOP = "a hand-written loop"
NOTE = (
    "All rows of contacts, invoices, credit notes and payments. The loop: requests, json, psycopg's executemany, at "
    "most 11 columns. COPY: the invoices alone, from memory, into an empty table with the same indexes. Processor time "
    "is that of the Python process."
)


@dataclass(slots=True)
class Loads:
    """What the repetitions of one size found."""

    ours: list[Load] = field(default_factory=list)
    loop: list[Load] = field(default_factory=list)
    dlt: list[Load] = field(default_factory=list)
    copy: list[Load] = field(default_factory=list)
    xero_cpu: list[float] = field(default_factory=list)
    xero_cpu_of_loop: list[float] = field(default_factory=list)


async def measure(bench: Bench) -> list[Comparison]:
    """Measure every size; the order within a repetition is always the same, and the first one only warms up."""
    found: list[Comparison] = []
    for invoices in bench.sizes.first_loads:
        with run_pretend_xero({"organisations": 1, **simulated_rows(invoices)}) as xero:
            await warm_up(xero, bench, LOOP_PROGRAM)
            loads = Loads()
            for number in range(bench.sizes.repetitions):
                tell(f"{invoices:,} invoices, repetition {number + 1} of {bench.sizes.repetitions}")
                await _repeat(bench, xero, loads)
        found += _compare(loads, invoices)
    return found


async def _repeat(bench: Bench, xero: PretendXero, loads: Loads) -> None:
    async with bench.fresh_service(xero) as (service, dsn):
        [tenant_id] = await service.connect()
        started = cpu_seconds(xero.pid)
        loads.ours.append(await load_first(bench, service, tenant_id))
        loads.xero_cpu.append(cpu_seconds(xero.pid) - started)
        started = cpu_seconds(xero.pid)
        loads.loop.append(await run_peer(bench, LOOP_PROGRAM, service, tenant_id))
        loads.xero_cpu_of_loop.append(cpu_seconds(xero.pid) - started)
        loads.dlt.append(await run_peer(bench, DLT_PROGRAM, service, tenant_id))
        loads.copy.append(await copy_invoices(dsn))


def _compare(loads: Loads, invoices: int) -> list[Comparison]:
    def compare(beside: str, theirs: Sequence[Load], target: Target | None) -> Comparison:
        return Comparison(
            row=NAME,
            what=f"first load, {invoices:,} invoices",
            ours=_samples(loads.ours, lambda load: load.rate, "rows/s"),
            beside=beside,
            theirs=_samples(theirs, lambda load: load.rate, "rows/s"),
            target=target,
            our_cpu=tuple(load.cost.cpu for load in loads.ours),
            their_cpu=tuple(load.cost.cpu for load in theirs),
            note=NOTE,
        )

    database = Comparison(
        row=NAME,
        what=f"  PostgreSQL's processor time, {invoices:,}",
        ours=_samples(loads.ours, lambda load: load.cost.database_cpu, "s"),
        beside=LOOP,
        theirs=_samples(loads.loop, lambda load: load.cost.database_cpu, "s"),
    )
    xero = Comparison(
        row=NAME,
        what=f"  the pretend Xero's processor time, {invoices:,}",
        ours=Samples.of(loads.xero_cpu, "s"),
        beside=LOOP,
        theirs=Samples.of(loads.xero_cpu_of_loop, "s"),
    )
    return [
        compare(LOOP, loads.loop, LOOP_TARGET),
        compare("dlt, 1,000 a page", loads.dlt, DLT_TARGET),
        compare("COPY of our invoices", loads.copy, None),
        database,
        xero,
    ]


def _samples(loads: Sequence[Load], pick: Callable[[Load], float], unit: str) -> Samples:
    return Samples.of((pick(load) for load in loads), unit)
