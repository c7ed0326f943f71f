"""Organisations that one core can load at the full rate of 30 calls a minute with 1,000 rows each.

It follows from the processor time of one call and its page, measured while an organisation is loaded for the first
time, which is the dearest work that calls bring.
"""

from bench.context import Bench, tell
from bench.loading import Load, load_first, warm_up
from bench.pretend_xero import run_pretend_xero
from bench.result import Comparison, Relation, Samples, Target
from bench.sizes import simulated_rows

NAME = "capacity"
CALLS_A_MINUTE = 30
ROWS_A_CALL = 1_000
SECONDS_A_MINUTE = 60
TARGET = Target(40)
NOTE = (
    "60 s by 30 times the processor time of 1,000 rows. The first counts the service alone, as where PostgreSQL has "
    "a machine of its own; the second counts PostgreSQL too."
)


async def measure(bench: Bench) -> list[Comparison]:
    """Measure the cost of a page in first loads of the smaller size."""
    loads: list[Load] = []
    with run_pretend_xero({"organisations": 1, **simulated_rows(bench.sizes.first_loads[0])}) as xero:
        await warm_up(xero, bench)
        for number in range(bench.sizes.repetitions):
            tell(f"repetition {number + 1} of {bench.sizes.repetitions}")
            async with bench.fresh_service(xero) as (service, _):
                [tenant_id] = await service.connect()
                loads.append(await load_first(bench, service, tenant_id))
    alone = [_organisations(load.cost.cpu, load.rows) for load in loads]
    together = [_organisations(load.cost.cpu + load.cost.database_cpu, load.rows) for load in loads]
    return [_compare("per core of the service", alone), _compare("per core of service and PostgreSQL", together)]


def _organisations(cpu: float, rows: int) -> float:
    page_cpu = cpu * ROWS_A_CALL / rows
    return SECONDS_A_MINUTE / (CALLS_A_MINUTE * page_cpu)


def _compare(what: str, organisations: list[float]) -> Comparison:
    return Comparison(
        row=NAME,
        what=f"organisations at full rate {what}",
        ours=Samples.of(organisations, "organisations"),
        relation=Relation.ITSELF,
        target=TARGET,
        note=NOTE,
    )
