"""The service and the pretend Xero on sockets of their own, as a browser meets them."""

import asyncio
import base64
import hmac
import json
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import uvicorn

from app.api.auth import Role, mint_token
from app.clock import SystemClock
from app.main import create_app
from simulator import main as simulator
from simulator.options import SimulatorOptions
from tests.support.service import INTEGRATION, JWT_SECRET, settings_for

PATIENCE = 15
WEBHOOK_KEY = b"simulated-webhook-key"
# Every call takes a tenth of a second, so that there is progress to watch.
BOOKS = SimulatorOptions(contacts=12, invoices=60, payments=30, credit_notes=6, auto_consent=True, latency_ms=100)


class Site:
    """Where the service is, and a client of it that acts as `admin`."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.client = client

    def link(self, path: str = "/console", role: Role = "admin") -> str:
        """Return an address that opens the console signed in."""
        return f"{self.url}{path}#token={token(role)}"

    async def read(self, path: str, **params: Any) -> Any:
        response = await self.client.get(path, params=params)
        assert response.is_success, response.text
        return response.json()

    async def send(self, method: str, path: str, body: Any) -> Any:
        response = await self.client.request(method, path, json=body)
        assert response.is_success, response.text
        return response.json()

    async def connect(self) -> list[str]:
        """Go through the consent and return the ids of what may be picked."""
        started = await self.send("POST", f"{INTEGRATION}/connect", {})
        consent = await self.client.get(started["authorization_url"])
        back = await self.client.get(consent.headers["location"])
        assert back.headers["location"].endswith("?xero=connected")
        return [tenant["tenant_id"] for tenant in (await self.read(f"{INTEGRATION}/tenants"))["items"]]

    async def deliver(self, tenant_id: str, category: str) -> str:
        """Send a signed webhook about something unheard of and return its id."""
        resource_id = str(uuid4())
        told = {"tenantId": tenant_id, "resourceId": resource_id, "eventCategory": category, "eventType": "UPDATE"}
        event = {**told, "tenantType": "ORGANISATION", "resourceUrl": "", "eventDateUtc": "2026-11-23T10:00:00.000"}
        body = json.dumps({"events": [event], "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "x"}).encode()
        signature = base64.b64encode(hmac.digest(WEBHOOK_KEY, body, "sha256")).decode()
        response = await self.client.post("/api/webhooks/xero", content=body, headers={"x-xero-signature": signature})
        assert response.json() == {"stored": 1}, response.text
        return resource_id

    async def sync(self) -> None:
        """Connect, pick everything and follow the stream until it is here."""
        await self.send("PUT", f"{INTEGRATION}/tenants", {"tenant_ids": await self.connect()})
        async with self.client.stream("GET", f"{INTEGRATION}/progress", headers={"Last-Event-ID": "0"}) as steps:
            async for line in steps.aiter_lines():
                if line == "event: run_finished":
                    break
        assert (await self.read(INTEGRATION))["data_as_of"] is not None


def token(role: Role) -> str:
    now = SystemClock().now()
    return mint_token(JWT_SECRET, role, "tester", hours=1, audience="vectis-billing", now=now)


@asynccontextmanager
async def open_site(dsn: str, books: SimulatorOptions = BOOKS, **settings: Any):
    """Serve both on free ports, the service with its schedule on."""
    async with _running(simulator.create_app(books)) as xero_port:
        xero_url = f"http://127.0.0.1:{xero_port}"
        listener = simulator.listen("127.0.0.1", 0)
        url = f"http://localhost:{listener.getsockname()[1]}"
        places = {"xero_login_url": xero_url, "xero_identity_url": xero_url, "xero_api_url": xero_url}
        app = create_app(settings_for(dsn, public_url=url, scheduler_enabled=True, **places, **settings))
        headers = {"Authorization": f"Bearer {token('admin')}"}
        async with (
            _running(app, listener),
            httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE) as client,
        ):
            yield Site(url, client)


@asynccontextmanager
async def _running(app: Any, listener: Any = None):
    listener = listener or simulator.listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    # Whoever calls before it is up waits in the socket's queue.
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()
