"""Seconds of a tick over many quiet organisations, beside a tenth of them, and the statements per organisation."""

from bench.context import Bench, tell
from bench.quiet_organisations import SMALL, Tick, measure_tick, run_quiet, sync_first
from bench.result import Comparison, Samples, Target

NAME = "tick-growth"
TARGET, STATEMENTS_TARGET = Target(11, is_higher_better=False), Target(1.05, is_higher_better=False)
NOTE = "Statements that SQLAlchemy executes, transactions' beginnings and ends not among them."


async def measure(bench: Bench) -> list[Comparison]:
    """Tick over the few first, then pick the many and tick over those."""
    few_count, many_count = bench.sizes.few_organisations, bench.sizes.many_organisations
    async with run_quiet(bench, many_count, SMALL) as (service, _, tenant_ids):
        ticks: dict[int, list[Tick]] = {few_count: [], many_count: []}
        for count, found in ticks.items():
            tell(f"first syncs of {count} organisations")
            await sync_first(service, tenant_ids[:count])
            for number in range(bench.sizes.repetitions + 1):
                tell(f"{count}: repetition {number} of {bench.sizes.repetitions}, of which 0 only warms up")
                found.append(await measure_tick(bench, service))
    return _compare(ticks[many_count][1:], ticks[few_count][1:], many_count, few_count)


def _compare(many: list[Tick], few: list[Tick], many_count: int, few_count: int) -> list[Comparison]:
    seconds = Comparison(
        row=NAME,
        what=f"a tick over {many_count:,} quiet organisations",
        ours=Samples.of((tick.cost.seconds for tick in many), "s"),
        beside=f"over {few_count:,}",
        theirs=Samples.of((tick.cost.seconds for tick in few), "s"),
        target=TARGET,
        our_cpu=tuple(tick.cost.cpu for tick in many),
        their_cpu=tuple(tick.cost.cpu for tick in few),
    )
    statements = Comparison(
        row=NAME,
        what="  its statements per organisation",
        ours=Samples.of((tick.statements / many_count for tick in many), "statements"),
        beside=f"over {few_count:,}",
        theirs=Samples.of((tick.statements / few_count for tick in few), "statements"),
        target=STATEMENTS_TARGET,
        note=NOTE,
    )
    return [seconds, statements]
