"""How long small organisations wait beside a very large one, and a changed row after the vendor told of it."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx

from bench.environment import CARD, Service, pretend_xero, service
from bench.measurement import Figure, ms, p95

SMALL = {"contacts": 10, "invoices": 25, "payments": 12, "credit-notes": 3}
MANY = 30
LARGE_ROWS = 200_000
AT_A_TIME = 20_000
EVENTS = 100
KEY = b"simulated-webhook-key"
WHOLE = "SELECT bool_and(data_as_of IS NOT NULL) FROM tenants WHERE tenant_id = ANY(:ids)"


async def measure() -> list[Figure]:
    with pretend_xero(1 + 2 * MANY, SMALL) as xero_url:
        async with service(xero_url) as running, working(running):
            large, *small = await running.connect()
            return [await _starvation(running, large, small), await _freshness(running, small[0])]


@asynccontextmanager
async def working(running: Service) -> AsyncIterator[None]:
    """Have the worker at work meanwhile."""
    worker = asyncio.create_task(running.engine.worker.run())
    try:
        yield
    finally:
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)


async def _starvation(running: Service, large: str, small: list[str]) -> Figure:
    """Sync thirty small organisations for the first time alone, and thirty like them while a large one is read."""
    for _ in range(LARGE_ROWS // AT_A_TIME):
        edit = {"edit": "bulk_insert", "resource": "Invoices", "count": AT_A_TIME}
        await running.control(f"/tenants/{large}/edits", edit)
    alone = await _sync(running, [], small[:MANY])
    await running.call("PUT", f"{CARD}/tenants", {"tenant_ids": [*small[:MANY], large]})
    await running.until("SELECT EXISTS (SELECT FROM sync_cursors WHERE tenant_id = :t AND rows_read > 5000)", t=large)
    beside = await _sync(running, [*small[:MANY], large], small[MANY:])
    if await running.ask(WHOLE, ids=[large]):
        raise RuntimeError("The large organisation was done first, so nothing was measured; give it more rows.")
    what = f"{MANY} small first syncs beside {LARGE_ROWS:,} rows"
    return Figure(what, ms(beside), "alone", ms(alone), beside / alone)


async def _sync(running: Service, picked: list[str], added: list[str]) -> float:
    began = time.perf_counter()
    await running.call("PUT", f"{CARD}/tenants", {"tenant_ids": [*picked, *added]})
    await running.until(WHOLE, ids=added)
    return time.perf_counter() - began


async def _freshness(running: Service, tenant_id: str) -> Figure:
    """Tell of a changed invoice and wait until the change is here, beside reading that invoice alone."""
    await running.call("PUT", f"{CARD}/tenants", {"tenant_ids": [tenant_id]})
    await running.until("SELECT NOT EXISTS (SELECT FROM sync_runs WHERE status = 'running')")
    query = "SELECT external_id FROM billing_invoices WHERE source_tenant_id = :t AND status = 'open' LIMIT 1"
    invoice = str(await running.ask(query, t=tenant_id))
    is_newer = "SELECT vendor_updated_at > :before FROM billing_invoices WHERE external_id = :i"

    async def tell(_number: int) -> None:
        before = datetime.now(UTC)
        await running.control(f"/tenants/{tenant_id}/edits", {"edit": "stamp", "resource": "Invoices", "id": invoice})
        await _deliver(running, tenant_id, invoice)
        await running.until(is_newer, before=before, i=invoice)

    headers = {"Authorization": f"Bearer {await running.access_token()}", "xero-tenant-id": tenant_id}
    async with httpx.AsyncClient(base_url=running.xero_url, headers=headers) as client:
        theirs = await p95(lambda _number: client.get(f"/api.xro/2.0/Invoices/{invoice}"), EVENTS)
    ours = await p95(tell, EVENTS)
    return Figure("webhook to visible row, p95", ms(ours), "reading that row", ms(theirs), ours / theirs)


async def _deliver(running: Service, tenant_id: str, invoice: str) -> None:
    event = {
        "resourceId": invoice,
        "tenantId": tenant_id,
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
        "eventDateUtc": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds"),
    }
    body = json.dumps({"events": [event], "entropy": "X"}).encode()
    signature = base64.b64encode(hmac.digest(KEY, body, hashlib.sha256)).decode()
    answer = await running.client.post("/api/webhooks/xero", content=body, headers={"x-xero-signature": signature})
    answer.raise_for_status()
