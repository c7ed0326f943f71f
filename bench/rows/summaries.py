"""Latency of a customer's billing summary, beside its SQL alone and beside fewer rows; and of 500 in one call."""

import time
from collections.abc import Awaitable, Callable, Sequence

from bench.captured_sql import capture_statements, execute_captured
from bench.context import Bench, tell
from bench.database import connect
from bench.environment import Service, run_service, serve
from bench.http_client import open_client
from bench.processes import Cost, measure_cost
from bench.result import Comparison, Relation, Samples, Target, percentile
from bench.seed import list_customer_ids

NAME = "summaries"
NOWHERE = "http://127.0.0.1:9"
CUSTOMERS_IN_ONE_CALL = 500
SQL_TARGET = Target(3, 2, is_higher_better=False)
GROWTH_TARGET = Target(1.3, is_higher_better=False)
BULK_TARGET = Target(20)
NOTE = (
    "Through HTTP, one request after the other on one connection. The SQL: the statements of such a request, executed "
    "by asyncpg, prepared, without a transaction around them."
)


async def measure(bench: Bench) -> list[Comparison]:
    """Serve both databases at once, and measure them in turn."""
    many_dsn = await bench.seeded_database(bench.sizes.invoices)
    few_dsn = await bench.seeded_database(bench.sizes.few_invoices)
    async with serve(many_dsn, scheduler_enabled=False) as many, serve(few_dsn, scheduler_enabled=False) as few:
        latencies = await _measure_latencies(bench, (many_dsn, port_of(many)), (few_dsn, port_of(few)))
        bulk = await _measure_bulk(bench, many_dsn, many)
    return [*_compare_latencies(bench, latencies), bulk]


def port_of(service: Service) -> int:
    return service.client.base_url.port or 0


async def _measure_latencies(bench: Bench, many: tuple[str, int], few: tuple[str, int]) -> dict[str, list[list[float]]]:
    """Return the latencies of each repetition by what was asked; the first repetition only warms up.

    `many` and `few` are the DSN of a database and the port of the service on it.
    """
    many_ids, few_ids = [await list_customer_ids(dsn, bench.sizes.requests) for dsn, _ in (many, few)]
    few_ids = (few_ids * (bench.sizes.requests // len(few_ids) + 1))[: bench.sizes.requests]
    found: dict[str, list[list[float]]] = {"many": [], "few": [], "sql": []}
    async with run_service(many[0], NOWHERE) as local:
        statements = await capture_statements(local, _path(many_ids[0]), many_ids[0])
    async with connect(many[0]) as connection:
        for number in range(bench.sizes.repetitions + 1):
            tell(f"repetition {number} of {bench.sizes.repetitions}, of which 0 only warms up")
            found["sql"].append(await _time_each(many_ids, lambda each: execute_captured(connection, statements, each)))
            found["many"].append(await _time_requests(many[1], many_ids))
            found["few"].append(await _time_requests(few[1], few_ids))
    return {name: repetitions[1:] for name, repetitions in found.items()}


async def _time_requests(port: int, ids: Sequence[str]) -> list[float]:
    """Request the summaries one after the other on a new connection, because an idle one is closed by the service."""
    async with open_client(port) as client:
        return await _time_each(ids, lambda each: client.request("GET", _path(each)))


async def _time_each(ids: Sequence[str], ask: Callable[[str], Awaitable[object]]) -> list[float]:
    durations = []
    for each in ids:
        started = time.perf_counter()
        await ask(each)
        durations.append(time.perf_counter() - started)
    return durations


async def _measure_bulk(bench: Bench, dsn: str, service: Service) -> Comparison:
    ids = await list_customer_ids(dsn, CUSTOMERS_IN_ONE_CALL)
    one_call: list[Cost] = []
    single_calls: list[Cost] = []
    for _ in range(bench.sizes.repetitions):
        async with open_client(port_of(service)) as client:
            with measure_cost(service.pid) as cost:
                await client.request("POST", "/api/billing/summaries", {"customer_ids": ids})
        one_call.append(cost)
        with measure_cost(service.pid) as cost:
            await _time_requests(port_of(service), ids)
        single_calls.append(cost)
    return Comparison(
        row=NAME,
        what=f"{len(ids)} summaries in one call",
        ours=Samples.of((cost.seconds for cost in one_call), "s"),
        beside=f"{len(ids)} single ones",
        theirs=Samples.of((cost.seconds for cost in single_calls), "s"),
        target=BULK_TARGET,
        is_inverted=True,
        our_cpu=tuple(cost.cpu for cost in one_call),
        their_cpu=tuple(cost.cpu for cost in single_calls),
    )


def _path(customer_id: str) -> str:
    return f"/api/customers/{customer_id}/billing"


def _compare_latencies(bench: Bench, latencies: dict[str, list[list[float]]]) -> list[Comparison]:
    def samples(name: str, percent: int) -> Samples:
        return Samples.of((percentile(durations, percent) for durations in latencies[name]), "s")

    what = f"a customer's summary, {bench.sizes.invoices:,} invoices"
    fewer = f"{bench.sizes.few_invoices:,} invoices"
    return [
        Comparison(
            row=NAME,
            what=f"{what}, p50",
            ours=samples("many", 50),
            beside="its SQL on asyncpg",
            theirs=samples("sql", 50),
            target=SQL_TARGET,
            note=NOTE,
        ),
        Comparison(
            row=NAME,
            what=f"{what}, p99",
            ours=samples("many", 99),
            beside=fewer,
            theirs=samples("few", 99),
            target=GROWTH_TARGET,
        ),
        Comparison(
            row=NAME,
            what=f"{what}, p99",
            ours=samples("many", 99),
            beside="its SQL on asyncpg",
            theirs=samples("sql", 99),
            relation=Relation.RATIO,
        ),
    ]
