"""The service and the simulated Xero in one process: a test calls either, and runs the worker when it says so."""

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
from tests.support.documented_responses import assert_documented

JWT_SECRET = "a secret of at least thirty-two bytes"
ENCRYPTION_KEYS = "test:" + "QUFB" * 10 + "QUE="
XERO_URL = "http://xero.test"
PUBLIC_URL = "http://localhost:8000"
# The path of every route about the integration with Xero starts with this.
INTEGRATION = "/api/integrations/xero"
SMALL_BOOKS = {"contacts": 12, "invoices": 60, "payments": 30, "credit_notes": 6, "auto_consent": True}
# How long the worker may take until nothing is left to do; a limit of Xero's takes it a minute of real time.
IDLE_TIMEOUT_SECONDS = 120


class ShortWaitClock(SystemClock):
    """Tells real time, but sleeps for a twentieth of what is asked for and for 0.05 seconds at most.

    A test without limits waits only for other work of the same process, which needs no longer.
    """

    @override
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds / 20, 0.05))


def settings_for(dsn: str, **more: Any) -> Settings:
    """Return settings for the simulated Xero at `XERO_URL`; `more` are settings by their lower-case names."""
    values = {
        "database_url": SecretStr(dsn),
        "encryption_keys": SecretStr(ENCRYPTION_KEYS),
        "auth_jwt_secret": SecretStr(JWT_SECRET),
        "xero_client_id": "SIMULATED-CLIENT",
        "xero_client_secret": SecretStr("simulated-secret"),
        "xero_webhook_key": SecretStr("simulated-webhook-key"),
        "xero_login_url": XERO_URL,
        "xero_identity_url": XERO_URL,
        "xero_api_url": XERO_URL,
        "xero_requests_per_minute": 6000,
        "scheduler_enabled": False,
    }
    return Settings.model_validate({**Settings.model_construct().model_dump(), **values, **more})


class InterceptingTransport(httpx.AsyncBaseTransport):
    """Sends requests to the simulated Xero and lets a test act before the service sees an accounting response.

    Attributes:
        after_call: awaited with the request once Xero has answered it; None to do nothing.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner
        self.after_call: Callable[[httpx.Request], Awaitable[Any]] | None = None

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if self.after_call and "/api.xro/" in request.url.path:
            await self.after_call(request)
        return response


class ServiceHarness:
    """One service, the simulated Xero it reads, and the calls a test makes to both.

    Attributes:
        app: the service's application.
        services: what its routes depend on.
        engine: the engine of Xero.
        client: an HTTP client of the service, without a token.
        simulator: the simulated Xero's application.
        xero: an HTTP client of the simulated Xero.
        transport: carries the service's requests to the simulated Xero.
        jwt_secret: what the tokens of `call` are signed with.
    """

    def __init__(self, app, simulator_app, client, xero, transport):
        self.app = app
        self.services = app.state.services
        self.engine = self.services.engines["xero"]
        self.client = client
        self.simulator = simulator_app
        self.xero = xero
        self.transport = transport
        self.jwt_secret = JWT_SECRET

    async def call(self, method: str, path: str, *, role: Any = "admin", headers=None, **given: Any) -> httpx.Response:
        """Call the service with a token of this role; `given` goes to httpx."""
        now = self.services.clock.now()
        token = mint_token(self.jwt_secret, role, "tester", hours=1, audience="vectis-billing", now=now)
        sent = {"Authorization": f"Bearer {token}", **(headers or {})}
        response: httpx.Response = await self.client.request(method, path, headers=sent, **given)
        return response

    async def read(self, path: str, **params: Any) -> Any:
        """GET a path as an administrator and return the decoded body of the 200."""
        response = await self.call("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def integration_status(self) -> Any:
        return await self.read(INTEGRATION)

    async def banner_codes(self) -> list[str]:
        return [banner["code"] for banner in (await self.integration_status())["banners"]]

    async def selected_tenants(self) -> dict[str, Any]:
        """Return the selected organisations as the API lists them, by tenant id."""
        listed = (await self.read(f"{INTEGRATION}/tenants"))["items"]
        return {tenant["tenant_id"]: tenant for tenant in listed if tenant["selected"]}

    async def give_consent(self, **wanted: Any) -> str:
        """Go through the consent as a browser does; return the URL it ends at. `wanted` is the body of `/connect`."""
        started = await self.call("POST", f"{INTEGRATION}/connect", json=wanted)
        assert started.status_code == 200, started.text
        page = await self.xero.get(started.json()["authorization_url"])
        back = await self.client.get(page.headers["location"])
        assert back.status_code == 303, back.text
        return str(back.headers["location"])

    async def connect(self) -> list[str]:
        """Give consent and return the tenant ids that may be selected."""
        assert (await self.give_consent()).endswith("?xero=connected")
        return [tenant["tenant_id"] for tenant in (await self.read(f"{INTEGRATION}/tenants"))["items"]]

    async def select_tenants(self, *tenant_ids: str) -> None:
        response = await self.call("PUT", f"{INTEGRATION}/tenants", json={"tenant_ids": list(tenant_ids)})
        assert response.status_code == 200, response.text

    async def run_until_idle(self) -> None:
        """Run the worker until nothing is left to do now."""
        async with asyncio.timeout(IDLE_TIMEOUT_SECONDS):
            await self.engine.worker.run_until_idle()

    async def start_sync(self) -> str:
        """Open a manual run and return its URL; `run_until_idle` executes it."""
        started = await self.call("POST", f"{INTEGRATION}/sync")
        assert started.status_code == 202, started.text
        return str(started.headers["location"])

    async def sync(self) -> Any:
        """Open a manual run, execute it and return it as the API shows it."""
        run = await self.start_sync()
        await self.run_until_idle()
        return await self.read(run)

    async def connect_and_sync(self, organisations: int = 1) -> list[str]:
        """Connect, select so many organisations and sync them for the first time; return their tenant ids."""
        tenant_ids = (await self.connect())[:organisations]
        await self.select_tenants(*tenant_ids)
        await self.run_until_idle()
        return tenant_ids

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        """Call the simulated Xero's control API and return the decoded body of the 200."""
        response = await self.xero.request(method, f"/_control{path}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def edit_books(self, tenant_id: str, **edit: Any) -> Any:
        """Change an organisation's books at Xero and return the changes."""
        return await self.control("POST", f"/tenants/{tenant_id}/edits", edit)

    async def add_fault(self, kind: str, **matching: Any) -> None:
        """Make Xero answer the requests that match with this fault, once unless `times` says otherwise."""
        await self.control("POST", "/faults", {"kind": kind, **matching})

    async def xero_rows(self, tenant_id: str, resource: str) -> list[dict[str, Any]]:
        """Return the rows that Xero holds of one resource, such as `Invoices`, payables included."""
        found = await self.control("GET", f"/tenants/{tenant_id}/state?resource={resource}")
        return list(found[resource])

    async def xero_calls(self) -> list[dict[str, Any]]:
        """Return the accounting calls that Xero logged, oldest first."""
        return [call for call in await self.control("GET", "/ledger") if "/api.xro/" in call["path"]]

    async def query(self, statement: str, **values: Any) -> list[Any]:
        """Return the rows that a statement finds in the service's database."""
        async with self.services.db.transaction() as session:
            return list((await session.execute(text(statement), values)).mappings().all())

    async def execute(self, statement: str, **values: Any) -> None:
        async with self.services.db.transaction() as session:
            await session.execute(text(statement), values)


@asynccontextmanager
async def open_harness(
    dsn: str,
    *,
    options: dict[str, Any] | None = None,
    vendors: Any = None,
    clock: SystemClock | None = None,
    **settings: Any,
):
    """Open a harness over the database of this DSN.

    Args:
        dsn: a migrated database.
        options: of the simulated Xero, in place of `SMALL_BOOKS`' where they name the same.
        vendors: what `create_app` is given to make the vendors with.
        clock: of the service and of the simulated Xero.
        settings: the service's, by their lower-case names.
    """
    # Xero delivers webhooks to the service, which is made after it because it is given Xero's transport.
    deliveries: dict[str, Any] = {}
    clock = clock or ShortWaitClock()

    async def deliver(request: httpx.Request) -> httpx.Response:
        response: httpx.Response = await deliveries["transport"].handle_async_request(request)
        return response

    simulator_app = simulator.create_app(
        SimulatorOptions(**{**SMALL_BOOKS, **(options or {}), "webhook_url": f"{PUBLIC_URL}/api/webhooks/xero"}),
        clock.now,
        webhook_transport=httpx.MockTransport(deliver),
    )
    transport = InterceptingTransport(httpx.ASGITransport(simulator_app))
    app = create_app(settings_for(dsn, **settings), clock=clock, transport=transport, vendors=vendors)
    deliveries["transport"] = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=PUBLIC_URL, event_hooks={"response": [assert_documented]}
        ) as client,
        httpx.AsyncClient(transport=httpx.ASGITransport(simulator_app), base_url=XERO_URL) as xero,
    ):
        yield ServiceHarness(app, simulator_app, client, xero, transport)


def money(value: Any) -> Decimal:
    """Return an amount as a decimal that compares equal however many zeros it is written with."""
    return Decimal(str(value)).normalize()
