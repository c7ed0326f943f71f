"""Webhook deliveries as Xero signs and sends them."""

import base64
import hashlib
import hmac
import json

HOOK = "/api/webhooks/xero"
KEY = "simulated-webhook-key"
PROBE = b'{"events":[],"firstEventSequence": 0,"lastEventSequence": 0, "entropy": "LUWDSUDGSWNZVALZXBEV"}'


def sign(body: bytes, key: str = KEY) -> str:
    return base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()


def delivery(tenant_id="aef86862-2015-4b6b-88bc-d89032cecc50", number=1, **more):
    event = {
        "resourceUrl": "http://169.254.169.254/latest",
        "resourceId": f"00000000-0000-4000-8000-{number:012d}",
        "tenantId": tenant_id,
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "Update",
        "eventDateUtc": "2026-11-02T00:44:09.923",
        **more,
    }
    return json.dumps({"events": [event], "lastEventSequence": 1, "firstEventSequence": 1, "entropy": "X"}).encode()
