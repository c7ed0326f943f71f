"""Deliveries per second that the webhook receiver stores, beside a route that only responds.

Each delivery holds one new event. The ratio is our time divided by the baseline's.
"""

import base64
import hashlib
import hmac
import json
import time
from uuid import uuid4

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.environment import SERVICE_URL, WEBHOOK_KEY, Service
from bench.measurement import Measurement, format_rate

WEBHOOK_PATH = "/api/webhooks/xero"
DELIVERIES = 400


async def measure(service: Service, tenant_id: str) -> Measurement:
    """Send the same number of deliveries to the service and to the baseline."""
    baseline = await _measure_baseline(tenant_id)
    ours = await _send_deliveries(service.client, tenant_id)
    return Measurement(
        "store a delivery",
        format_rate(DELIVERIES, ours),
        "a route that only responds",
        format_rate(DELIVERIES, baseline),
        ours / baseline,
    )


async def send_delivery(client: httpx.AsyncClient, tenant_id: str, invoice_id: str, event_at: str) -> None:
    """Send one signed delivery; see `signed_delivery`."""
    body, headers = signed_delivery(tenant_id, invoice_id, event_at)
    response = await client.post(WEBHOOK_PATH, content=body, headers=headers)
    response.raise_for_status()


def signed_delivery(tenant_id: str, invoice_id: str, event_at: str) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of a delivery with one event.

    Args:
        tenant_id: the organisation.
        invoice_id: the invoice that was updated.
        event_at: when it was, an ISO time without a zone.
    """
    event = {
        "resourceId": invoice_id,
        "tenantId": tenant_id,
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
        "eventDateUtc": event_at,
    }
    body = json.dumps({"events": [event], "entropy": "X"}).encode()
    signature = base64.b64encode(hmac.digest(WEBHOOK_KEY.encode(), body, hashlib.sha256)).decode()
    return body, {"x-xero-signature": signature}


async def _measure_baseline(tenant_id: str) -> float:
    async def respond(_request: Request) -> JSONResponse:
        return JSONResponse({"stored": 0})

    transport = httpx.ASGITransport(Starlette(routes=[Route(WEBHOOK_PATH, respond, methods=["POST"])]))
    async with httpx.AsyncClient(transport=transport, base_url=SERVICE_URL) as client:
        return await _send_deliveries(client, tenant_id)


async def _send_deliveries(client: httpx.AsyncClient, tenant_id: str) -> float:
    started = time.perf_counter()
    for number in range(DELIVERIES):
        await send_delivery(client, tenant_id, str(uuid4()), f"2026-11-02T00:00:00.{number % 1000:03}")
    return time.perf_counter() - started
