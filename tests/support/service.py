"""The whole service with the pretend Xero at its transport, driven by hand: consent, tick, webhook, answer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import httpx
from pydantic import SecretStr
from sqlalchemy import text
from typing_extensions import override

from app.api.auth import mint_token
from app.clock import SystemClock
from app.main import create_app
from app.settings import Settings
from simulator import main as simulator
from simulator.options import SimulatorOptions

SECRET = "a secret of at least thirty-two bytes"
KEYS = "test:" + "QUFB" * 10 + "QUE="
XERO = "http://xero.test"
HOME = "http://localhost:8000"
PATIENCE = 120
CARD = "/api/integrations/xero"
SMALL = {"contacts": 12, "invoices": 60, "payments": 30, "credit_notes": 6, "auto_consent": True}


class QuickClock(SystemClock):
    """Real time, but no wait is longer than a twentieth of a second: what is waited for here is other work."""

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds / 20, 0.05))


def settings_for(dsn: str, **more: Any) -> Settings:
    values = {
        "database_url": SecretStr(dsn),
        "encryption_keys": SecretStr(KEYS),
        "auth_jwt_secret": SecretStr(SECRET),
        "xero_client_id": "SIMULATED-CLIENT",
        "xero_client_secret": SecretStr("simulated-secret"),
        "xero_webhook_key": SecretStr("simulated-webhook-key"),
        "xero_login_url": XERO,
        "xero_identity_url": XERO,
        "xero_api_url": XERO,
        "xero_requests_per_minute": 6000,
        "scheduler_enabled": False,
    }
    return Settings.model_validate({**Settings.model_construct().model_dump(), **values, **more})


class Between(httpx.AsyncBaseTransport):
    """The pretend Xero's transport with a moment after each accounting call, in which a test may do something."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.act: Callable[[httpx.Request], Awaitable[Any]] | None = None

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if self.act and "/api.xro/" in request.url.path:
            await self.act(request)
        return response


class World:
    """One service and one pretend Xero. Calls are made as `admin` unless told otherwise."""

    def __init__(self, app, xero_app, client, xero, between):
        self.app = app
        self.between = between
        self.services = app.state.services
        self.engine = self.services.engines["xero"]
        self.xero_app = xero_app
        self.client = client
        self.xero = xero

    async def call(self, method: str, path: str, *, role: Any = "admin", headers=None, **given: Any) -> httpx.Response:
        now = self.services.clock.now()
        token = mint_token(SECRET, role, "tester", hours=1, audience="vectis-billing", now=now)
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        response: httpx.Response = await self.client.request(method, path, headers=sent, **given)
        return response

    async def read(self, path: str, **params: Any) -> Any:
        response = await self.call("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def card(self) -> Any:
        return await self.read(CARD)

    async def banner_codes(self) -> list[str]:
        return [banner["code"] for banner in (await self.card())["banners"]]

    async def consent(self, **wanted: Any) -> str:
        """Go through the consent as a browser would; return where it ends."""
        started = await self.call("POST", f"{CARD}/connect", json=wanted)
        assert started.status_code == 200, started.text
        page = await self.xero.get(started.json()["authorization_url"])
        back = await self.client.get(page.headers["location"])
        assert back.status_code == 303, back.text
        return str(back.headers["location"])

    async def connect(self) -> list[str]:
        """Consent and return the ids of what may be picked."""
        assert (await self.consent()).endswith("?xero=connected")
        return [tenant["tenant_id"] for tenant in (await self.read(f"{CARD}/tenants"))["items"]]

    async def pick(self, *tenant_ids: str) -> None:
        response = await self.call("PUT", f"{CARD}/tenants", json={"tenant_ids": list(tenant_ids)})
        assert response.status_code == 200, response.text

    async def work(self) -> None:
        """Do whatever is to be done now, as the worker would."""
        async with asyncio.timeout(PATIENCE):
            await self.engine.worker.run_until_idle()

    async def begin_sync(self) -> str:
        """Ask for one pass by hand and return where its run is told."""
        started = await self.call("POST", f"{CARD}/sync")
        assert started.status_code == 202, started.text
        return str(started.headers["location"])

    async def sync(self) -> Any:
        """Run one pass by hand and return its run."""
        run = await self.begin_sync()
        await self.work()
        return await self.read(run)

    async def ready(self, organisations: int = 1) -> list[str]:
        """Connect, pick and sync that many organisations; return their ids."""
        tenant_ids = (await self.connect())[:organisations]
        await self.pick(*tenant_ids)
        await self.work()
        return tenant_ids

    async def edit(self, tenant_id: str, **edit: Any) -> Any:
        return await self.control("POST", f"/tenants/{tenant_id}/edits", edit)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        response = await self.xero.request(method, f"/_control{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def fault(self, kind: str, **matching: Any) -> None:
        await self.control("POST", "/faults", {"kind": kind, **matching})

    async def state(self, tenant_id: str, resource: str) -> list[dict[str, Any]]:
        found = await self.control("GET", f"/tenants/{tenant_id}/state?resource={resource}")
        return list(found[resource])

    async def ledger(self) -> list[dict[str, Any]]:
        return [call for call in await self.control("GET", "/ledger") if "/api.xro/" in call["path"]]

    async def rows(self, statement: str, **values: Any) -> list[Any]:
        async with self.services.db.transaction() as session:
            return list((await session.execute(text(statement), values)).mappings().all())

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.services.db.transaction() as session:
            await session.execute(text(statement), values)


@asynccontextmanager
async def open_world(
    dsn: str,
    *,
    options: dict[str, Any] | None = None,
    vendors: Any = None,
    clock: SystemClock | None = None,
    **settings: Any,
):
    """Open a world; settings by their lower-case names. The pretend Xero goes by the same clock."""
    wired: dict[str, Any] = {}
    clock = clock or QuickClock()

    async def deliver(request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await wired["webhooks"].handle_async_request(request)
        return response

    xero_app = simulator.create_app(
        SimulatorOptions(**{**SMALL, **(options or {}), "webhook_url": f"{HOME}/api/webhooks/xero"}),
        clock.now,
        webhook_transport=httpx.MockTransport(deliver),
    )
    between = Between(httpx.ASGITransport(xero_app))
    app = create_app(settings_for(dsn, **settings), clock=clock, transport=between, vendors=vendors)
    wired["webhooks"] = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOME) as client,
        httpx.AsyncClient(transport=httpx.ASGITransport(xero_app), base_url=XERO) as xero,
    ):
        yield World(app, xero_app, client, xero, between)


def money(value: Any) -> Decimal:
    return Decimal(str(value)).normalize()
