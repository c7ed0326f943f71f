"""The service as benchmarks use it: in this process or in one of its own, connected to the pretend Xero."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from app.api.auth import mint_token
from app.clock import SystemClock
from app.connections import grants
from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.sync import runs
from app.sync.engine import Engine

SECRET = "s" * 32
POLL_SECONDS = 0.002
START_SECONDS = 60
EXIT_SECONDS = 30
SERVICE_URL = "http://localhost:8000"
INTEGRATION_PATH = "/api/integrations/xero"
WEBHOOK_KEY = "simulated-webhook-key"
WITHOUT_LIMITS = 1_000_000
IS_IDLE = "SELECT NOT EXISTS (SELECT FROM sync_runs WHERE status = 'running')"


def bearer() -> dict[str, str]:
    """Return the headers of an administrator."""
    token = mint_token(SECRET, "admin", "bench", hours=1, audience="vectis-billing", now=SystemClock().now())
    return {"Authorization": f"Bearer {token}"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        client: an HTTP client of it.
        db: its database.
        xero_url: where its Xero is.
        pid: the id of its process.
    """

    client: httpx.AsyncClient
    db: Database
    xero_url: str
    pid: int

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Call the service's API as an administrator. Raises httpx.HTTPStatusError."""
        # In a task of its own, as a server would: a request binds its id and its deadline to the context it runs in.
        request = self.client.request(method, path, json=body, headers=bearer())
        response = await asyncio.create_task(request)
        response.raise_for_status()
        return response

    async def query_value(self, statement: str, **values: object) -> object:
        """Return the first value of a query's result."""
        async with self.db.transaction() as session:
            return (await session.execute(text(statement), values)).scalar()

    async def execute(self, statement: str, **values: object) -> None:
        """Execute a statement that returns nothing."""
        async with self.db.transaction() as session:
            await session.execute(text(statement), values)

    async def wait_until(self, condition: str, **values: object) -> None:
        """Poll the database until this query returns true."""
        while not await self.query_value(condition, **values):  # noqa: ASYNC110 - a database has no event to wait for
            await asyncio.sleep(POLL_SECONDS)

    async def connect(self) -> list[str]:
        """Connect the service to Xero and return the ids of the available organisations."""
        started = (await self.call("POST", f"{INTEGRATION_PATH}/connect", {})).json()
        async with httpx.AsyncClient() as browser:
            redirect = await browser.get(started["authorization_url"])
        callback = urlsplit(redirect.headers["location"])
        await asyncio.create_task(self.client.get(f"{callback.path}?{callback.query}"))
        return await self._list_tenants()

    async def select(self, tenant_ids: list[str]) -> None:
        """Pick these organisations, which opens the first run of those that were not picked before."""
        await self.call("PUT", f"{INTEGRATION_PATH}/tenants", {"tenant_ids": tenant_ids})

    async def _list_tenants(self) -> list[str]:
        found: list[str] = []
        query = "?limit=200"
        while query:
            page = (await self.call("GET", f"{INTEGRATION_PATH}/tenants{query}")).json()
            found += [row["tenant_id"] for row in page["items"]]
            query = f"?limit=200&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        return found


@dataclass(frozen=True)
class LocalService(Service):
    """A service in this process, whose worker works when it is told to.

    Attributes:
        engine: the sync of Xero.
        databases: every pool of connections that the service has; `db` is the one of the API's requests.
    """

    engine: Engine
    databases: tuple[Database, ...]

    async def work(self) -> None:
        """Do all work that is due."""
        await self.engine.worker.run_until_idle()

    async def tick(self) -> None:
        """Open a tick now and do its work."""
        async with self.db.transaction() as session:
            await runs.schedule_tick_now(session, self.engine.vendor)
        if await self.engine.tick() is None:
            raise RuntimeError("No tick was opened, so nothing was measured.")
        await self.work()

    async def access_token(self) -> str:
        """Return the service's access token, with which a baseline reads the pretend Xero."""
        async with self.db.transaction() as session:
            grant = (await grants.list_grants(session, "xero"))[0]
        return await self.engine.tokens.get_access_token(grant.id)

    async def xero_headers(self, tenant_id: str) -> dict[str, str]:
        """Return the headers of a request to Xero's accounting API."""
        token = await self.access_token()
        return {"Authorization": f"Bearer {token}", "xero-tenant-id": tenant_id, "Accept": "application/json"}


@asynccontextmanager
async def run_service(dsn: str, xero_url: str, **settings: object) -> AsyncIterator[LocalService]:
    """Run the service in this process; its limits are lifted unless `settings`, by their lower-case names, set some."""
    app = create_app(_settings(dsn, xero_url, settings))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=SERVICE_URL) as client,
    ):
        services = app.state.services
        engine, databases = services.engines["xero"], services.databases
        yield LocalService(client, services.db, xero_url, os.getpid(), engine, databases)


@asynccontextmanager
async def serve(dsn: str, xero_url: str = "http://127.0.0.1:9", **settings: object) -> AsyncIterator[Service]:
    """Run `vectis-xero serve` in a process of its own; see `run_service` for the settings."""
    port = free_port()
    values = _values(dsn, xero_url) | {"scheduler_enabled": True, "log_level": "error"} | settings
    environment = {**os.environ, **{name.upper(): str(value) for name, value in values.items()}}
    command = [sys.executable, "-m", "app.cli.commands", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)  # noqa: ASYNC220, S603 - our own program
    db = Database(dsn)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_end, process)
        stack.push_async_callback(db.close)
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60)
        await stack.enter_async_context(client)
        await wait_until_ready(client)
        yield Service(client, db, xero_url, process.pid)


async def wait_until_ready(client: httpx.AsyncClient) -> None:
    """Return when the service answers that it is ready. Raises RuntimeError after a minute."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if (await client.get("/health/ready")).is_success:
                return
        except httpx.TransportError:
            pass
        await asyncio.sleep(0.05)
    raise RuntimeError(f"The service did not start within {START_SECONDS} seconds.")


async def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        await asyncio.to_thread(process.wait, EXIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        await asyncio.to_thread(process.wait)


def _settings(dsn: str, xero_url: str, given: dict[str, object]) -> Settings:
    values = _values(dsn, xero_url) | given
    secrets = {"database_url", "encryption_keys", "auth_jwt_secret", "xero_client_secret", "xero_webhook_key"}
    hidden = {name: SecretStr(str(value)) if name in secrets else value for name, value in values.items()}
    return Settings.model_validate({**Settings.model_construct().model_dump(), **hidden})


def _values(dsn: str, xero_url: str) -> dict[str, object]:
    return {
        "database_url": dsn,
        "encryption_keys": "bench:" + "QUFB" * 10 + "QUE=",
        "auth_jwt_secret": SECRET,
        "public_url": SERVICE_URL,
        "xero_client_id": "SIMULATED-CLIENT",
        "xero_client_secret": "simulated-secret",
        "xero_webhook_key": WEBHOOK_KEY,
        "xero_login_url": xero_url,
        "xero_identity_url": xero_url,
        "xero_api_url": xero_url,
        "xero_requests_per_minute": WITHOUT_LIMITS,
        "xero_app_requests_per_minute": WITHOUT_LIMITS,
        "xero_daily_cap": WITHOUT_LIMITS,
        "scheduler_enabled": False,
    }
