"""Starts the service and the Xero simulator on sockets of their own, for a browser to use."""

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

TIMEOUT_SECONDS = 60
WEBHOOK_KEY = b"simulated-webhook-key"
# Every call takes a tenth of a second, so that the progress of a sync is visible.
SIMULATOR_OPTIONS = SimulatorOptions(
    contacts=12, invoices=60, payments=30, credit_notes=6, auto_consent=True, latency_ms=100
)


class Site:
    """The URLs of a running service and of its simulated Xero, and a client of the API with the role `admin`."""

    def __init__(self, url: str, xero_url: str, client: httpx.AsyncClient) -> None:
        self.url = url
        self.xero_url = xero_url
        self.client = client

    def link(self, path: str = "/console", role: Role = "admin") -> str:
        """Return a URL that opens the console and signs in."""
        return f"{self.url}{path}#token={token(role)}"

    async def read(self, path: str, **params: Any) -> Any:
        response = await self.client.get(path, params=params)
        assert response.is_success, response.text
        return response.json()

    async def send(self, method: str, path: str, body: Any) -> Any:
        response = await self.client.request(method, path, json=body)
        assert response.is_success, response.text
        return response.json()

    async def control(self, method: str, path: str, body: Any) -> Any:
        """Call the control API of the simulated Xero."""
        return await self.send(method, f"{self.xero_url}/_control{path}", body)

    async def connect(self) -> list[str]:
        """Go through the consent and return the ids of the organisations that can be selected."""
        started = await self.send("POST", f"{INTEGRATION}/connect", {})
        consent = await self.client.get(started["authorization_url"])
        callback = await self.client.get(consent.headers["location"])
        assert callback.headers["location"].endswith("?xero=connected")
        return [tenant["tenant_id"] for tenant in (await self.read(f"{INTEGRATION}/tenants"))["items"]]

    async def deliver(self, tenant_id: str, category: str) -> str:
        """Deliver a signed webhook event of an unknown record and return the record's id."""
        resource_id = str(uuid4())
        ids = {"tenantId": tenant_id, "resourceId": resource_id, "eventCategory": category, "eventType": "UPDATE"}
        event = {**ids, "tenantType": "ORGANISATION", "resourceUrl": "", "eventDateUtc": "2026-11-23T10:00:00.000"}
        body = json.dumps({"events": [event], "firstEventSequence": 1, "lastEventSequence": 1, "entropy": "x"}).encode()
        assert await self._post_signed(body) == {"stored": 1}
        return resource_id

    async def deliver_unreadable(self) -> None:
        """Deliver something signed that is no delivery, which is stored as an event that was given up."""
        assert await self._post_signed(b"not json") == {"stored": 0}

    async def _post_signed(self, body: bytes) -> Any:
        signature = base64.b64encode(hmac.digest(WEBHOOK_KEY, body, "sha256")).decode()
        response = await self.client.post("/api/webhooks/xero", content=body, headers={"x-xero-signature": signature})
        return response.json()

    async def sync(self) -> None:
        """Connect, select every organisation, and wait for the end of the first run."""
        await self.send("PUT", f"{INTEGRATION}/tenants", {"tenant_ids": await self.connect()})
        async with self.client.stream("GET", f"{INTEGRATION}/progress", headers={"Last-Event-ID": "0"}) as stream:
            async for line in stream.aiter_lines():
                if line == "event: run_finished":
                    break
        assert (await self.read(INTEGRATION))["data_as_of"] is not None


def token(role: Role) -> str:
    now = SystemClock().now()
    return mint_token(JWT_SECRET, role, "tester", hours=1, audience="vectis-billing", now=now)


@asynccontextmanager
async def open_site(dsn: str, simulator_options: SimulatorOptions = SIMULATOR_OPTIONS, **settings: Any):
    """Serve both on free ports, with the scheduler enabled."""
    async with _running(simulator.create_app(simulator_options)) as xero_port:
        xero_url = f"http://127.0.0.1:{xero_port}"
        listener = simulator.listen("127.0.0.1", 0)
        url = f"http://localhost:{listener.getsockname()[1]}"
        xero_urls = {"xero_login_url": xero_url, "xero_identity_url": xero_url, "xero_api_url": xero_url}
        app = create_app(settings_for(dsn, public_url=url, scheduler_enabled=True, **xero_urls, **settings))
        headers = {"Authorization": f"Bearer {token('admin')}"}
        async with (
            _running(app, listener),
            httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as client,
        ):
            yield Site(url, xero_url, client)


@asynccontextmanager
async def _running(app: Any, listener: Any = None):
    listener = listener or simulator.listen("127.0.0.1", 0)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    # A request that arrives before the server has started waits in the socket's queue.
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()
