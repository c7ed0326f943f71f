"""The composition root: settings in, running service out; the only file that names a vendor."""

import base64
import json
import os
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.responses import FileResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from pydantic import SecretStr

from app.api import health, metrics, setup
from app.api.auth import KeySet, TokenVerifier
from app.api.billing import alerts, credit_memos, customers, invoices, matches, payments, psa, summary, timeline
from app.api.deps import Services
from app.api.integrations import connection, runs, status, tenants, webhooks
from app.api.metrics import Metrics
from app.api.pagination import CursorSigner
from app.billing.alerts import AlertPolicy
from app.clock import Clock, SystemClock
from app.connections.vendor_app import VendorConfig
from app.connector import Connector
from app.crypto import Sealer
from app.db import Database
from app.embedded_postgres import EmbeddedPostgres
from app.log import configure_logging
from app.scheduler import Scheduler
from app.settings import KEY_BYTES, Settings, SettingsError, load_settings, parse_keys
from app.sync.client.rate_limiter import RateLimits
from app.sync.engine import Engine, VendorSettings
from app.sync.leases import DEFAULT_TIMINGS, LeaseTimings
from app.xero.connector import XeroConnector

CONSOLE = Path(__file__).parent / "console"
VendorFactory = Callable[[Settings, httpx.AsyncClient], Sequence[tuple[Connector, VendorConfig]]]
BILLING_ROUTERS = (customers, summary, invoices, payments, credit_memos, timeline, alerts, matches, psa)


@dataclass(frozen=True, slots=True)
class Ready:
    """Settings with nothing left open, and what must be closed when they are done with."""

    settings: Settings
    close: Callable[[], None]


def make_ready(settings: Settings) -> Ready:
    """Start the embedded PostgreSQL when no database is named, and make the secrets a trial needs.

    Raises:
        SettingsError: a database is named, but not the secrets that belong to it.
    """
    if settings.database_url is None:
        server = EmbeddedPostgres(settings.data_dir)
        dsn = server.start()
        return Ready(_with_generated_secrets(settings, dsn), server.stop)
    if settings.encryption_keys is None:
        raise SettingsError("ENCRYPTION_KEYS is not set; with a DATABASE_URL of your own it is required.")
    if settings.auth_jwt_secret is None and settings.auth_jwks_url is None:
        raise SettingsError("AUTH_JWT_SECRET or AUTH_JWKS_URL must be set; without one nobody could sign in.")
    return Ready(settings, lambda: None)


def build() -> FastAPI:
    """Make the application from the environment; each worker process of `serve` calls this.

    Raises:
        SettingsError: a variable has a value that cannot be used.
    """
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    ready = make_ready(settings)
    return create_app(ready.settings, when_closed=ready.close)


def create_app(  # noqa: PLR0913 - what a test may put in another's place
    settings: Settings,
    *,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    when_closed: Callable[[], None] | None = None,
    vendors: VendorFactory | None = None,
    timings: LeaseTimings = DEFAULT_TIMINGS,
) -> FastAPI:
    """Put the service together.

    Args:
        settings: with database, encryption keys and a way to check tokens; nothing is connected to before start-up.
        clock: the machine's, unless a test brings its own.
        transport: how vendors are reached, unless by the network.
        when_closed: called last at shutdown.
        vendors: makes the vendors' connectors; Xero's, unless told otherwise.
        timings: of the leases; the default ones unless given.
    """
    clock = clock or SystemClock()
    http = httpx.AsyncClient(transport=transport, limits=httpx.Limits(max_connections=100), follow_redirects=False)
    services = make_services(settings, clock, http, vendors or make_vendors, timings)
    scheduler = Scheduler(list(services.engines.values()))
    if settings.scheduler_enabled:
        services = replace(services, is_alive=scheduler.is_alive)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        if settings.scheduler_enabled:
            scheduler.start()
        try:
            yield
        finally:
            if settings.scheduler_enabled:
                await scheduler.stop()
            await http.aclose()
            await services.db.close()
            if when_closed:
                when_closed()

    app = FastAPI(
        title="Vectis Xero connector",
        version="0.1.0",
        description="Connects Xero organisations and answers what they bill. Read-only towards Xero.",
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.services = services
    setup.configure_api(app, is_https=settings.public_url.startswith("https:"))
    _include(app, services)
    return app


def describe() -> str:
    """Return the OpenAPI schema as text; nothing is connected to, and no setting of the environment shows in it."""
    key = f"described:{base64.b64encode(bytes(KEY_BYTES)).decode()}"
    settings = Settings.model_construct(
        database_url=SecretStr("postgresql+asyncpg://nobody@localhost/nothing"),
        encryption_keys=SecretStr(key),
        auth_jwt_secret=SecretStr("0" * KEY_BYTES),
    )
    return json.dumps(create_app(settings).openapi(), indent=2, ensure_ascii=False) + "\n"


def make_vendors(settings: Settings, http: httpx.AsyncClient) -> list[tuple[Connector, VendorConfig]]:
    """Return every vendor there is: another one is one folder and one line here."""
    urls = (settings.xero_login_url, settings.xero_identity_url, settings.xero_api_url)
    return [(XeroConnector(http, *urls), _xero_config(settings))]


def make_services(
    settings: Settings,
    clock: Clock,
    http: httpx.AsyncClient,
    vendors: VendorFactory = make_vendors,
    timings: LeaseTimings = DEFAULT_TIMINGS,
) -> Services:
    """Make what routes, jobs and commands share."""
    db = Database(_secret(settings.database_url))
    keys = parse_keys(_secret(settings.encryption_keys))
    sealer = Sealer(keys)
    plan = _plan(settings, timings)
    engines = [Engine(db, clock, sealer, connector, config, plan) for connector, config in vendors(settings, http)]
    return Services(
        settings=settings,
        db=db,
        clock=clock,
        sealer=sealer,
        verifier=_verifier(settings, clock, http),
        cursors=CursorSigner(next(reversed(keys.values()))),
        metrics=Metrics(),
        engines={engine.vendor: engine for engine in engines},
    )


def _include(app: FastAPI, services: Services) -> None:
    app.include_router(health.router)
    app.include_router(metrics.router)
    for vendor in services.engines:
        for router in (status.router, connection.router, tenants.router, runs.router, webhooks.router):
            app.include_router(router, prefix=f"/api/integrations/{vendor}")
        app.include_router(webhooks.deliveries, prefix=f"/api/webhooks/{vendor}")
    for room in BILLING_ROUTERS:
        app.include_router(room.router)
    app.mount("/console", StaticFiles(directory=CONSOLE, html=True), name="console")

    @app.get("/", include_in_schema=False)
    async def show_console() -> RedirectResponse:
        return RedirectResponse("/console/")

    # The callback sends the browser to `/console?xero=<outcome>`, where a mount does not match and no redirect helps.
    @app.get("/console", include_in_schema=False)
    async def show_console_without_slash() -> FileResponse:
        return FileResponse(CONSOLE / "index.html")


def _xero_config(settings: Settings) -> VendorConfig:
    return VendorConfig(
        vendor="xero",
        redirect_uri=settings.redirect_uri,
        return_url=settings.return_url,
        webhook_url=settings.webhook_url,
        scope_set=settings.xero_scope_set,
        client_id=settings.xero_client_id,
        client_secret=_secret(settings.xero_client_secret) or None,
        webhook_key=_secret(settings.xero_webhook_key) or None,
    )


def _plan(settings: Settings, timings: LeaseTimings) -> VendorSettings:
    limits = RateLimits(
        per_minute=settings.xero_requests_per_minute,
        max_concurrent=settings.xero_concurrent_requests,
        per_day=settings.xero_daily_cap,
        pause_at=settings.xero_daily_cap_pause_at,
        app_per_minute=settings.xero_app_requests_per_minute,
    )
    policy = AlertPolicy(
        timezone=settings.billing_timezone,
        grace_days=settings.overdue_grace_days,
        critical_days=settings.overdue_critical_days,
        gap_days=settings.service_gap_days,
    )
    interval = timedelta(seconds=settings.sync_interval_seconds)
    is_empty = settings.xero_webhook_ack == "empty"
    return VendorSettings(
        interval, settings.xero_page_size, limits, policy, settings.scheduler_enabled, is_empty, timings
    )


def _verifier(settings: Settings, clock: Clock, http: httpx.AsyncClient) -> TokenVerifier:
    async def fetch_json(url: str) -> Mapping[str, Any]:
        try:
            response = await http.get(url, timeout=5)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise OSError(f"The key set cannot be read: {type(error).__name__}.") from error
        keys: Mapping[str, Any] = response.json()
        return keys

    keys = KeySet(settings.auth_jwks_url, fetch_json, clock) if settings.auth_jwks_url else None
    return TokenVerifier(_secret(settings.auth_jwt_secret) or None, keys, settings.auth_jwt_audience, clock)


def _with_generated_secrets(settings: Settings, dsn: str) -> Settings:
    def make_key() -> str:
        return f"dev:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"

    made: dict[str, Any] = {"database_url": SecretStr(dsn)}
    if settings.encryption_keys is None:
        made["encryption_keys"] = SecretStr(_generated(settings.data_dir / "encryption_keys", make_key))
    if settings.auth_jwt_secret is None and settings.auth_jwks_url is None:
        made["auth_jwt_secret"] = SecretStr(generated_jwt_secret(settings.data_dir))
    return settings.model_copy(update=made)


def generated_jwt_secret(data_dir: Path) -> str:
    """Return the secret a trial's tokens are signed with; the first caller makes it."""
    return _generated(data_dir / "auth_jwt_secret", lambda: secrets.token_urlsafe(KEY_BYTES))


def _generated(path: Path, make: Callable[[], str]) -> str:
    """Return what the file holds, writing it first when it is not there; of two processes at once, one writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(make(), encoding="utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="utf-8")


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""
