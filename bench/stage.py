"""What the benchmarks stand on: a PostgreSQL and a pretend Xero of their own, and the service connected to it."""

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
CARD = "/api/integrations/xero"


@dataclass(frozen=True)
class Service:
    """The service as a client sees it, and its engine."""

    client: httpx.AsyncClient
    engine: Engine
    xero_url: str
    db: Database

    async def call(self, method: str, path: str, body: object = None) -> httpx.Response:
        token = mint_token(SECRET, "admin", "bench", hours=1, audience="vectis-billing", now=SystemClock().now())
        response = await self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})
        response.raise_for_status()
        return response

    async def control(self, path: str, body: object) -> None:
        """Change something at the pretend Xero."""
        async with httpx.AsyncClient(timeout=600) as client:
            (await client.post(f"{self.xero_url}/_control{path}", json=body)).raise_for_status()

    async def ask(self, statement: str, **values: object) -> object:
        """Return the one value the database answers with."""
        async with self.db.transaction() as session:
            return (await session.execute(text(statement), values)).scalar()

    async def until(self, is_so: str, **values: object) -> None:
        """Return once the database says that it is so."""
        while True:
            if await self.ask(is_so, **values):
                return
            await asyncio.sleep(POLL_SECONDS)

    async def access_token(self) -> str:
        """Return the access token the service holds, for reading the pretend Xero beside it."""
        async with self.db.transaction() as session:
            grant = (await grants.list_grants(session, "xero"))[0]
        return await self.engine.tokens.access(grant.id)

    async def connect(self) -> list[str]:
        """Consent, and return what may be picked."""
        started = (await self.call("POST", f"{CARD}/connect", {})).json()
        async with httpx.AsyncClient() as browser:
            page = await browser.get(started["authorization_url"])
        back = urlsplit(page.headers["location"])
        await self.client.get(f"{back.path}?{back.query}")
        return [row["tenant_id"] for row in (await self.call("GET", f"{CARD}/tenants")).json()["items"]]


@contextmanager
def pretend_xero(organisations: int = 1, sizes: Mapping[str, int] = SIZES) -> Iterator[str]:
    """Run a pretend Xero of such organisations, without limits, in a process of its own; yield its address."""
    words = [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
    command = [sys.executable, "-m", "simulator", "--auto-consent", "--no-limits", "--until-stdin-closes"]
    command += ["--organisations", str(organisations), "--practices", "0", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - fixed words
        yield process.stdout.readline().split()[-1] if process.stdout else ""
        process.terminate()


@asynccontextmanager
async def service(xero_url: str) -> AsyncIterator[Service]:
    """Run the service in this process over a PostgreSQL of its own, its disk writes as safe as in production."""
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.to_thread(Path(folder).chmod, 0o755)
        with EmbeddedPostgres(Path(folder)) as server:
            dsn = server.start()
            await asyncio.to_thread(migrate, dsn)
            app = create_app(_settings(dsn, xero_url))
            transport = httpx.ASGITransport(app)
            async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport) as client:
                client.base_url = httpx.URL("http://localhost:8000")
                services = app.state.services
                yield Service(client, services.engines["xero"], xero_url, services.db)


def _settings(dsn: str, xero_url: str) -> Settings:
    given = {
        "database_url": SecretStr(dsn),
        "encryption_keys": SecretStr("bench:" + "QUFB" * 10 + "QUE="),
        "auth_jwt_secret": SecretStr(SECRET),
        "xero_client_id": "SIMULATED-CLIENT",
        "xero_client_secret": SecretStr("simulated-secret"),
        "xero_webhook_key": SecretStr("simulated-webhook-key"),
        "xero_login_url": xero_url,
        "xero_identity_url": xero_url,
        "xero_api_url": xero_url,
        "xero_requests_per_minute": 100_000,
        "xero_app_requests_per_minute": 1_000_000,
        "scheduler_enabled": False,
    }
    return Settings.model_validate({**Settings.model_construct().model_dump(), **given})
