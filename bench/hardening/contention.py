"""How fast requests are answered while many others want to be."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from statistics import quantiles

import httpx

from bench.deliveries import signed_delivery
from bench.environment import bearer
from bench.hardening.load import run_load
from bench.hardening.result import Result
from bench.hardening.service import ServedProcess
from bench.result import format_figure

FLOOD_CONNECTIONS = 100
READERS = 60
SECONDS = 8.0
MAX_RATIO = 4.0
MAX_DELIVERY_SECONDS = 1.0
SETTLE_SECONDS = 1.5
TENANT_ID = "aef86862-2015-4b6b-88bc-d89032cecc50"


async def measure_flood(served: ServedProcess) -> Result:
    """Call the API with and without connections that send wrong signatures."""
    async with httpx.AsyncClient(base_url=served.url, headers=bearer(), timeout=30) as client:

        async def call() -> int:
            return (await client.get("/api/customers", params={"limit": 50})).status_code

        await _measure(call, 1)
        quiet, _ = await _measure(call, SECONDS / 2)
        async with run_load("wrong-signatures", served.port, FLOOD_CONNECTIONS, SECONDS + SETTLE_SECONDS) as statuses:
            await asyncio.sleep(SETTLE_SECONDS)
            flooded, failures = await _measure(call, SECONDS - 1)
    ratio = flooded / quiet
    measured = (
        f"{format_figure(flooded, 's')}, {ratio:.1f} x the quiet {format_figure(quiet, 's')}; refused {dict(statuses)}"
    )
    is_kept = ratio <= MAX_RATIO and not failures and set(statuses) == {"401"}
    return Result(f"API p95 beside {FLOOD_CONNECTIONS} senders of wrong signatures", measured, "at most 4 x", is_kept)


async def measure_deliveries(served: ServedProcess) -> Result:
    """Deliver webhooks beside clients that read long lists."""
    numbers = itertools.count()
    async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:

        async def deliver() -> int:
            number = next(numbers)
            invoice_id = f"00000000-0000-4000-8000-{number:012d}"
            body, headers = signed_delivery(TENANT_ID, invoice_id, "2026-11-02T00:00:00.000")
            return (await client.post("/api/webhooks/xero", content=body, headers=headers)).status_code

        async with run_load("reads", served.port, READERS, SECONDS + SETTLE_SECONDS) as statuses:
            await asyncio.sleep(SETTLE_SECONDS)
            p95, failures = await _measure(deliver, SECONDS - 1)
    measured = f"{format_figure(p95, 's')}, {failures} failed; readers {dict(statuses)}"
    is_kept = p95 <= MAX_DELIVERY_SECONDS and not failures and set(statuses) == {"200"}
    return Result(f"webhook p95 beside {READERS} readers", measured, "at most 1 s, none fails, no reader 503", is_kept)


async def _measure(call: Callable[[], Awaitable[int]], seconds: float) -> tuple[float, int]:
    """Call again and again; return the 95th percentile of the durations and how many were not answered with 200."""
    durations, failures = [], 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        started = time.perf_counter()
        failures += await call() != httpx.codes.OK
        durations.append(time.perf_counter() - started)
    return quantiles(durations, n=20)[-1], failures
