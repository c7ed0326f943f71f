"""Seconds of a first load of 20 calls against a Xero that takes 300 ms a call and allows 60 a minute."""

import asyncio
import os

import httpx

from bench.context import Bench, tell
from bench.environment import LocalService
from bench.loading import LIST_QUERIES, Load, load_first
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.processes import Cost, measure_cost
from bench.result import Comparison, Samples, Target

NAME = "paced-load"
LATENCY_MS = 300
CALLS_A_MINUTE = 60
IN_FLIGHT = 4
CALLS = 20
# Of customers 10,000 invoices and 8,000 payments, so that there are about as many pages as calls.
ROWS = {"contacts": 500, "invoices": 14_500, "payments": 11_900, "credit_notes": 500}
NOTE = (
    f"The floor: {CALLS} calls for pages of the same lists, {IN_FLIGHT} in flight, without reading the answers. The "
    f"service's own limit is {CALLS_A_MINUTE} calls a minute, which so few calls do not reach."
)


async def measure(bench: Bench) -> list[Comparison]:
    """Measure both in turn; the first repetition only warms up."""
    ours: list[Load] = []
    floor: list[Cost] = []
    with run_pretend_xero({"organisations": 1, **ROWS}, latency_ms=LATENCY_MS) as xero:
        for number in range(bench.sizes.repetitions + 1):
            tell(f"repetition {number} of {bench.sizes.repetitions}, of which 0 only warms up")
            async with bench.fresh_service(xero, xero_requests_per_minute=CALLS_A_MINUTE) as (service, _):
                [tenant_id] = await service.connect()
                floor.append(await _call_pages(xero, service, tenant_id))
                ours.append(await load_first(bench, service, tenant_id))
    return [_compare(ours[1:], floor[1:])]


def _compare(ours: list[Load], floor: list[Cost]) -> Comparison:
    return Comparison(
        row=NAME,
        what=f"first load, {ours[0].rows:,} rows in {ours[0].calls} calls, paced like Xero",
        ours=Samples.of((load.cost.seconds for load in ours), "s"),
        beside=f"{CALLS} calls, {IN_FLIGHT} in flight",
        theirs=Samples.of((cost.seconds for cost in floor), "s"),
        target=Target(2, 1.3, is_higher_better=False),
        our_cpu=tuple(load.cost.cpu for load in ours),
        their_cpu=tuple(cost.cpu for cost in floor),
        note=NOTE,
    )


async def _call_pages(xero: PretendXero, service: LocalService, tenant_id: str) -> Cost:
    """Request so many pages at once as may be in flight, of the lists by turns."""
    headers = await service.xero_headers(tenant_id)
    slots = asyncio.Semaphore(IN_FLIGHT)
    async with httpx.AsyncClient(base_url=xero.url, headers=headers) as client:

        async def call(number: int) -> None:
            resource, query = list(LIST_QUERIES.items())[1 + number % 3]
            params: dict[str, str | int] = {**query, "page": 1 + number // 3, "pageSize": 1000}
            async with slots:
                (await client.get(f"/api.xro/2.0/{resource}", params=params)).raise_for_status()

        with measure_cost(os.getpid()) as cost:
            await asyncio.gather(*(call(number) for number in range(CALLS)))
    return cost
