"""Two benchmarks of a worker that syncs many organisations, in milliseconds; ratios are our time by the baseline's.

- First syncs of thirty small organisations while a very large one is being synced, beside thirty without it.
- Time from a webhook delivery until the changed row is visible (95th percentile), beside one request for that row.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from bench.environment import INTEGRATION_PATH, Service, run_service, run_simulator
from bench.measurement import Measurement, format_ms, measure_p95
from bench.webhooks import send_delivery

SMALL_SIZES = {"contacts": 10, "invoices": 25, "payments": 12, "credit-notes": 3}
SMALL_COUNT = 30
LARGE_ROWS = 200_000
ROWS_PER_EDIT = 20_000
EVENTS = 100
ARE_COMPLETE = "SELECT bool_and(data_as_of IS NOT NULL) FROM tenants WHERE tenant_id = ANY(:ids)"


async def measure() -> list[Measurement]:
    """Run both benchmarks on one service with a running worker."""
    with run_simulator(1 + 2 * SMALL_COUNT, SMALL_SIZES) as xero_url:
        async with run_service(xero_url) as service, run_worker(service):
            large, *small = await service.connect()
            return [await _measure_small_syncs(service, large, small), await _measure_freshness(service, small[0])]


@asynccontextmanager
async def run_worker(service: Service) -> AsyncIterator[None]:
    """Run the service's worker until the context ends."""
    worker = asyncio.create_task(service.engine.worker.run())
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def _measure_small_syncs(service: Service, large: str, small: list[str]) -> Measurement:
    await _add_rows(service, large)
    alone = await _sync(service, [], small[:SMALL_COUNT])
    selected = [*small[:SMALL_COUNT], large]
    await service.call("PUT", f"{INTEGRATION_PATH}/tenants", {"tenant_ids": selected})
    is_reading = "SELECT EXISTS (SELECT FROM sync_cursors WHERE tenant_id = :t AND rows_read > 5000)"
    await service.wait_until(is_reading, t=large)
    beside_large = await _sync(service, selected, small[SMALL_COUNT:])
    if await service.query_value(ARE_COMPLETE, ids=[large]):
        raise RuntimeError("The large organisation was synced first, so nothing was measured; give it more rows.")
    benchmark = f"{SMALL_COUNT} small first syncs beside {LARGE_ROWS:,} rows"
    return Measurement(benchmark, format_ms(beside_large), "without them", format_ms(alone), beside_large / alone)


async def _add_rows(service: Service, tenant_id: str) -> None:
    for _ in range(LARGE_ROWS // ROWS_PER_EDIT):
        edit = {"edit": "bulk_insert", "resource": "Invoices", "count": ROWS_PER_EDIT}
        await service.control_simulator(f"/tenants/{tenant_id}/edits", edit)


async def _sync(service: Service, selected: list[str], added: list[str]) -> float:
    """Return the seconds from the selection of more organisations until all of these are synced."""
    started = time.perf_counter()
    await service.call("PUT", f"{INTEGRATION_PATH}/tenants", {"tenant_ids": [*selected, *added]})
    await service.wait_until(ARE_COMPLETE, ids=added)
    return time.perf_counter() - started


async def _measure_freshness(service: Service, tenant_id: str) -> Measurement:
    await service.call("PUT", f"{INTEGRATION_PATH}/tenants", {"tenant_ids": [tenant_id]})
    await service.wait_until("SELECT NOT EXISTS (SELECT FROM sync_runs WHERE status = 'running')")
    query = "SELECT external_id FROM billing_invoices WHERE source_tenant_id = :t AND status = 'open' LIMIT 1"
    invoice = str(await service.query_value(query, t=tenant_id))
    headers = {"Authorization": f"Bearer {await service.access_token()}", "xero-tenant-id": tenant_id}
    async with httpx.AsyncClient(base_url=service.xero_url, headers=headers) as client:
        baseline = await measure_p95(lambda _number: client.get(f"/api.xro/2.0/Invoices/{invoice}"), EVENTS)
    ours = await measure_p95(lambda _number: _change_invoice(service, tenant_id, invoice), EVENTS)
    return Measurement(
        "webhook to visible row, p95", format_ms(ours), "request for that row", format_ms(baseline), ours / baseline
    )


async def _change_invoice(service: Service, tenant_id: str, invoice: str) -> None:
    """Change an invoice at Xero, deliver the webhook, and wait until the service has the change."""
    before = datetime.now(UTC)
    edit = {"edit": "stamp", "resource": "Invoices", "id": invoice}
    await service.control_simulator(f"/tenants/{tenant_id}/edits", edit)
    event_at = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
    await send_delivery(service.client, tenant_id, invoice, event_at)
    is_newer = "SELECT vendor_updated_at > :before FROM billing_invoices WHERE external_id = :i"
    await service.wait_until(is_newer, before=before, i=invoice)
