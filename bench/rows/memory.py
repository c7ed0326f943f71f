"""Peak resident memory of the served process while it loads an organisation, beside one with fewer invoices."""

import sys

from bench.context import Bench, tell
from bench.environment import serve
from bench.pretend_xero import run_pretend_xero
from bench.processes import peak_memory, reset_peak_memory
from bench.result import Comparison, Samples, Target

NAME = "memory"
TARGET = Target(1.2, is_higher_better=False)
REPETITIONS = 2
FEW_ROWS = {"contacts": 20, "invoices": 40, "payments": 20, "credit_notes": 2}
IS_COMPLETE = "SELECT coalesce(bool_and(data_as_of IS NOT NULL), false) FROM tenants WHERE is_selected"
NOTE = "Invoices alone; each load is done by a process that was just started."


async def measure(bench: Bench) -> list[Comparison]:
    """Load each size in turn. Raises RuntimeError where the system does not tell a process's peak."""
    if sys.platform != "linux":
        raise RuntimeError("The peak of a process's memory is read from /proc, which this system has not.")
    many_count, few_count = bench.sizes.memory_invoices, bench.sizes.few_invoices
    many: list[float] = []
    few: list[float] = []
    for number in range(REPETITIONS):
        tell(f"repetition {number + 1} of {REPETITIONS}")
        few.append(await _load(bench, few_count))
        many.append(await _load(bench, many_count))
    return [
        Comparison(
            row=NAME,
            what=f"peak memory of loading {many_count:,} invoices",
            ours=Samples.of(many, "MiB"),
            beside=f"{few_count:,} invoices",
            theirs=Samples.of(few, "MiB"),
            target=TARGET,
            note=NOTE,
        )
    ]


async def _load(bench: Bench, invoices: int) -> float:
    """Return the peak in MiB."""
    with run_pretend_xero({"organisations": 1, **FEW_ROWS}, generated_invoices=invoices) as xero:
        async with bench.postgres.database() as dsn, serve(dsn, xero.url) as service:
            tenant_ids = await service.connect()
            reset_peak_memory(service.pid)
            await service.select(tenant_ids)
            await service.wait_until(IS_COMPLETE)
            if await service.query_value("SELECT count(*) FROM billing_invoices") != invoices:
                raise RuntimeError("Not every invoice was loaded, so nothing is compared.")
            return peak_memory(service.pid)
