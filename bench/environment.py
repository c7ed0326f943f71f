"""The environment of the benchmarks: a PostgreSQL, a simulated Xero, and the service that is connected to both."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from app.api.auth import mint_token
from app.clock import SystemClock
from app.connections import grants
from app.db import Database, migrate
from app.embedded_postgres import EmbeddedPostgres
from app.main import create_app
from app.settings import Settings
from app.sync.engine import Engine

SECRET = "s" * 32
SIZES = {"contacts": 500, "invoices": 10_000, "payments": 8_000, "credit-notes": 500}
ROWS = sum(SIZES.values())
POLL_SECONDS = 0.01
SERVICE_URL = "http://localhost:8000"
INTEGRATION_PATH = "/api/integrations/xero"
WEBHOOK_KEY = "simulated-webhook-key"


@dataclass(frozen=True)
class Service:
    """The running service: an HTTP client of it, its engine and database, and the simulated Xero's address."""

    client: httpx.AsyncClient
    engine: Engine
    xero_url: str
    db: Database

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Call the service's API as an administrator. Raises httpx.HTTPStatusError."""
        token = mint_token(SECRET, "admin", "bench", hours=1, audience="vectis-billing", now=SystemClock().now())
        response = await self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
        response.raise_for_status()
        return response

    async def control_simulator(self, path: str, body: object) -> None:
        """Post to the simulator's control API."""
        async with httpx.AsyncClient(timeout=600) as client:
            (await client.post(f"{self.xero_url}/_control{path}", json=body)).raise_for_status()

    async def query_value(self, statement: str, **values: object) -> object:
        """Return the first value of a query's result."""
        async with self.db.transaction() as session:
            return (await session.execute(text(statement), values)).scalar()

    async def wait_until(self, condition: str, **values: object) -> None:
        """Poll the database until this query returns true."""
        while not await self.query_value(condition, **values):  # noqa: ASYNC110 - a database has no event to wait for
            await asyncio.sleep(POLL_SECONDS)

    async def access_token(self) -> str:
        """Return the service's access token, with which a baseline reads the simulated Xero."""
        async with self.db.transaction() as session:
            grant = (await grants.list_grants(session, "xero"))[0]
        return await self.engine.tokens.get_access_token(grant.id)

    async def xero_headers(self, tenant_id: str) -> dict[str, str]:
        """Return the headers of a request to Xero's accounting API."""
        token = await self.access_token()
        return {"Authorization": f"Bearer {token}", "xero-tenant-id": tenant_id, "Accept": "application/json"}

    async def connect(self) -> list[str]:
        """Connect the service to Xero and return the ids of the available organisations."""
        started = (await self.call("POST", f"{INTEGRATION_PATH}/connect", {})).json()
        async with httpx.AsyncClient() as browser:
            redirect = await browser.get(started["authorization_url"])
        callback = urlsplit(redirect.headers["location"])
        await self.client.get(f"{callback.path}?{callback.query}")
        return [row["tenant_id"] for row in (await self.call("GET", f"{INTEGRATION_PATH}/tenants")).json()["items"]]


@contextmanager
def run_simulator(organisations: int = 1, sizes: Mapping[str, int] = SIZES) -> Iterator[str]:
    """Run the simulator in a separate process, without rate limits, and yield its address.

    `sizes` are the row counts of each organisation, by the simulator's option names.
    """
    size_arguments = [argument for name, size in sizes.items() for argument in (f"--{name}", str(size))]
    command = [sys.executable, "-m", "simulator", "--auto-consent", "--no-limits", "--until-stdin-closes"]
    command += ["--organisations", str(organisations), "--practices", "0", *size_arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - the arguments are fixed
        yield process.stdout.readline().split()[-1] if process.stdout else ""
        process.terminate()


@asynccontextmanager
async def run_service(xero_url: str) -> AsyncIterator[Service]:
    """Run the service in this process on its own PostgreSQL, whose disk writes are as durable as in production."""
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        with EmbeddedPostgres(Path(folder)) as server:
            dsn = server.start()
            await asyncio.to_thread(migrate, dsn)
            app = create_app(_settings(dsn, xero_url))
            transport = httpx.ASGITransport(app)
            async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
                client.base_url = httpx.URL(SERVICE_URL)
                services = app.state.services
                yield Service(client, services.engines["xero"], xero_url, services.db)


def _settings(dsn: str, xero_url: str) -> Settings:
    values = {
        "database_url": SecretStr(dsn),
        "encryption_keys": SecretStr("bench:" + "QUFB" * 10 + "QUE="),
        "auth_jwt_secret": SecretStr(SECRET),
        "xero_client_id": "SIMULATED-CLIENT",
        "xero_client_secret": SecretStr("simulated-secret"),
        "xero_webhook_key": SecretStr(WEBHOOK_KEY),
        "xero_login_url": xero_url,
        "xero_identity_url": xero_url,
        "xero_api_url": xero_url,
        "xero_requests_per_minute": 100_000,
        "xero_app_requests_per_minute": 1_000_000,
        "scheduler_enabled": False,
    }
    return Settings.model_validate({**Settings.model_construct().model_dump(), **values})
