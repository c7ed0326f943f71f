"""Signed webhook deliveries of the pretend Xero."""

import base64
import hashlib
import hmac
import json

import httpx

from bench.environment import WEBHOOK_KEY

WEBHOOK_PATH = "/api/webhooks/xero"


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
