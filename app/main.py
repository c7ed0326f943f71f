"""The composition root: makes the service from its settings; the only module that names a vendor."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import structlog
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from app.api import health, metrics, setup
from app.api.auth import KeySet, TokenVerifier
from app.api.billing import (
    alerts,
    credit_memos,
    customers,
    history,
    invoices,
    matches,
    payments,
    psa,
    summary,
    timeline,
)
from app.api.deps import Services
from app.api.integrations import audit_log, connection, notifications, runs, status, tenants, webhooks
from app.api.metrics import Metrics, find_shared_folder
from app.api.openapi import include_vendor
from app.api.pages import include_pages
from app.api.pagination import CursorSigner
from app.api.server.draining import DrainingSignals
from app.billing.alerts import AlertPolicy
from app.clock import Clock, SystemClock
from app.concurrency import within
from app.connections.vendor_app import VendorConfig
from app.connector import Connector, VendorProfile
from app.crypto import Sealer
from app.db import POOL_SIZE, Database, DatabaseUnavailable, migrate
from app.db_connection import POOL_SECONDS
from app.embedded_postgres import EmbeddedPostgres
from app.generated_secrets import generate_secrets
from app.http_client import make_http_client
from app.log import configure_logging
from app.scheduler import Scheduler
from app.settings import KEY_BYTES, Settings, SettingsError, load_settings, parse_keys
from app.sync.client.rate_limiter import RateLimits
from app.sync.engine import Engine, VendorSettings
from app.sync.leases import DEFAULT_TIMINGS, LeaseTimings
from app.sync.notifications.addresses import AddressUnusable, NotifyAddress, parse_addresses
from app.sync.notifications.sender import Sender
from app.version import VERSION
from app.xero.connector import XeroConnector
from app.xero.profile import XERO_PROFILE

log = structlog.get_logger(__name__)

# How long each part may take to stop, in seconds: a database that hangs must not keep the process alive.
STOP_SECONDS = 1.0
# The connections of the pool that only webhook deliveries use, so that reads cannot keep them waiting; as many again
# may be opened under load.
DELIVERY_CONNECTIONS = 2
# Many organisations at once use the connections of the sync in turn, each for milliseconds. None fails because others
# are before it, unless the wait comes near to the end of a lease.
SYNC_CONNECTIONS = 6
SYNC_POOL_SECONDS = 8.0
# How long a start waits for the database to tell whether every secret can be decrypted.
START_CHECK_SECONDS = 5.0
BILLING_MODULES = (customers, summary, history, invoices, payments, credit_memos, timeline, alerts, matches, psa)
INTEGRATION_MODULES = (status, connection, tenants, runs, webhooks, notifications, audit_log)


@dataclass(frozen=True, slots=True)
class Vendor:
    """One vendor of this installation.

    Attributes:
        connector: the implementation of the port, with the vendor's profile.
        config: the app registered at the vendor, as the environment describes it.
        settings: how the vendor's organisations are synced.
    """

    connector: Connector
    config: VendorConfig
    settings: VendorSettings


VendorFactory = Callable[[Settings, httpx.AsyncClient], Sequence[Vendor]]


@dataclass(frozen=True, slots=True)
class PreparedSettings:
    """Complete settings, and the function that stops what was started for them."""

    settings: Settings
    close: Callable[[], None]


def prepare_settings(settings: Settings) -> PreparedSettings:
    """Start the embedded PostgreSQL when no database is configured, and generate the secrets a trial needs.

    Raises:
        SettingsError: settings cannot be used, or are missing.
    """
    if problems := [problem for check in SETTINGS_CHECKS for problem in check(settings)]:
        raise SettingsError("\n".join(problems))
    if settings.database_url is None:
        server = EmbeddedPostgres(settings.data_dir)
        dsn = server.start()
        return PreparedSettings(generate_secrets(settings, dsn), server.stop)
    return PreparedSettings(settings, lambda: None)


def build() -> FastAPI:
    """Make the application from the environment, in each worker process of `serve`.

    Raises:
        SettingsError: a variable has a value that cannot be used.
    """
    settings = read_settings()
    configure_logging(settings.log_level, settings.log_format)
    prepared = prepare_settings(settings)
    return create_app(prepared.settings, when_closed=prepared.close, is_served=True)


def create_app(  # noqa: PLR0913 - each is replaced by some test
    settings: Settings,
    *,
    clock: Clock | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    when_closed: Callable[[], None] | None = None,
    vendors: VendorFactory | None = None,
    timings: LeaseTimings = DEFAULT_TIMINGS,
    is_served: bool = False,
) -> FastAPI:
    """Make the application with everything it consists of.

    Args:
        settings: complete: with database, encryption keys and a way to check tokens. No connection is opened before
            start-up.
        clock: the system's clock unless given.
        transport: what vendors are called through; the network unless given.
        when_closed: called last at shutdown.
        vendors: returns the vendors; `make_vendors` unless given.
        timings: the timings of leases; the default ones unless given.
        is_served: whether the process serves nothing else, so that its signals to stop are the application's.
    """
    clock = clock or SystemClock()
    http = make_http_client(transport)
    services = make_services(settings, clock, http, vendors or make_vendors, timings)
    scheduler = Scheduler(list(services.engines.values()))
    if settings.scheduler_enabled:
        services = replace(services, is_alive=scheduler.is_alive)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await check_secrets(services)
        if settings.scheduler_enabled:
            scheduler.start()
        try:
            with DrainingSignals(services.drain) if is_served else nullcontext():
                yield
        finally:
            if settings.scheduler_enabled:
                await within(STOP_SECONDS, scheduler.stop(), "scheduler")
            await http.aclose()
            await within(STOP_SECONDS, services.close(), "database")
            if when_closed:
                when_closed()

    app = FastAPI(
        title="Vectis Xero connector",
        version=VERSION,
        description="Connects Xero organisations and answers what they bill. Read-only towards Xero.",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    app.state.services = services
    setup.configure_api(app, is_https=settings.public_url.startswith("https:"))
    _include_routers(app, services)
    return app


def describe() -> str:
    """Return the OpenAPI schema as text; opens no connection, and does not depend on the environment."""
    key = f"described:{base64.b64encode(bytes(KEY_BYTES)).decode()}"
    settings = Settings.model_construct(
        database_url=SecretStr("postgresql+asyncpg://nobody@localhost/nothing"),
        encryption_keys=SecretStr(key),
        auth_jwt_secret=SecretStr("0" * KEY_BYTES),
    )
    return json.dumps(create_app(settings).openapi(), indent=2, ensure_ascii=False) + "\n"


def make_vendors(settings: Settings, http: httpx.AsyncClient) -> list[Vendor]:
    """Return every vendor of the service; a second one needs a package beside `app.xero` and an entry here."""
    urls = (settings.xero_login_url, settings.xero_identity_url, settings.xero_api_url)
    return [Vendor(XeroConnector(http, *urls), _xero_config(settings), _xero_settings(settings))]


def check_xero_settings(settings: Settings, profile: VendorProfile = XERO_PROFILE) -> Iterator[str]:
    """Yield what is wrong with the settings of Xero that depend on what Xero allows."""
    if settings.xero_scope_set not in profile.scope_sets:
        names = " or ".join(map(repr, profile.scope_sets))
        yield f"XERO_SCOPE_SET: must be {names}, and is {settings.xero_scope_set[:80]!r}."
    if settings.xero_page_size > profile.largest_page:
        yield f"XERO_PAGE_SIZE: must be at most {profile.largest_page}, and is '{settings.xero_page_size}'."


def check_addresses(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the addresses at which people are told."""
    try:
        read_addresses(settings)
    except SettingsError as error:
        yield str(error)


def check_required_settings(settings: Settings) -> Iterator[str]:
    """Yield what is missing; the embedded database brings it along."""
    if settings.database_url is None:
        return
    if settings.encryption_keys is None:
        yield "ENCRYPTION_KEYS is not set; with a DATABASE_URL of your own it is required."
    if settings.auth_jwt_secret is None and settings.auth_jwks_url is None:
        yield "AUTH_JWT_SECRET or AUTH_JWKS_URL must be set; without one nobody could sign in."


SETTINGS_CHECKS = (check_xero_settings, check_addresses, check_required_settings)


def read_settings() -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: some cannot be used, or are missing; the message names all of them.
    """
    return load_settings(checks=SETTINGS_CHECKS)


def read_addresses(settings: Settings) -> list[NotifyAddress]:
    """Return the addresses at which people are told.

    Raises:
        SettingsError: one of them cannot be used; the message names its position and scheme.
    """
    try:
        return parse_addresses(_reveal(settings.notify_urls))
    except AddressUnusable as error:
        raise SettingsError(f"NOTIFY_URLS: {error}.") from None


def open_database(settings: Settings, pool_size: int = POOL_SIZE, pool_seconds: float = POOL_SECONDS) -> Database:
    """Return a connection pool of complete settings; it opens no connection before it is used."""
    return Database(_reveal(settings.database_url), pool_size, settings.database_pooler, pool_seconds)


def migrate_database(settings: Settings) -> None:
    """Migrate the schema of the database of complete settings to the newest version. Blocks.

    Raises:
        DatabaseUnavailable: the server cannot be reached, or refuses the user or the database.
    """
    migrate(_reveal(settings.database_url), pooler=settings.database_pooler)


def make_services(
    settings: Settings,
    clock: Clock,
    http: httpx.AsyncClient,
    vendors: VendorFactory = make_vendors,
    timings: LeaseTimings = DEFAULT_TIMINGS,
) -> Services:
    """Make what routes, scheduled jobs and commands share."""
    db = open_database(settings)
    deliveries_db = open_database(settings, DELIVERY_CONNECTIONS)
    sync_db = open_database(settings, SYNC_CONNECTIONS, SYNC_POOL_SECONDS)
    pools = {"api": db, "sync": sync_db, "deliveries": deliveries_db}
    own_metrics = Metrics(pools, find_shared_folder())
    sender = Sender(read_addresses(settings))
    keys = parse_keys(_reveal(settings.encryption_keys))
    sealer = Sealer(keys)
    engines = [
        Engine(
            sync_db,
            clock,
            sealer,
            vendor.connector,
            vendor.config,
            replace(vendor.settings, timings=timings),
            deliveries_db,
            own_metrics.observe_run,
            sender,
        )
        for vendor in vendors(settings, http)
    ]
    return Services(
        settings=settings,
        db=db,
        deliveries_db=deliveries_db,
        sync_db=sync_db,
        clock=clock,
        sealer=sealer,
        verifier=_make_verifier(settings, clock, http),
        cursors=CursorSigner(next(reversed(keys.values()))),
        metrics=own_metrics,
        engines={engine.vendor: engine for engine in engines},
    )


async def check_secrets(services: Services) -> None:
    """Log which stored secrets cannot be decrypted.

    Whatever is wrong with the database does not keep a replica down: it tells by its readiness, and the set-up page
    looks the secrets up again.
    """
    try:
        async with asyncio.timeout(START_CHECK_SECONDS):
            if await services.db.is_ready():
                for engine in services.engines.values():
                    await engine.log_unreadable_secrets()
    except (DatabaseUnavailable, TimeoutError, DBAPIError, asyncpg.PostgresError) as error:
        log.warning("secrets_not_checked", kind=type(error).__name__)


def _include_routers(app: FastAPI, services: Services) -> None:
    app.include_router(health.router)
    app.include_router(metrics.router)
    for engine in services.engines.values():
        include_vendor(app, engine, [module.router for module in INTEGRATION_MODULES], webhooks.deliveries)
    for module in BILLING_MODULES:
        app.include_router(module.router)
    include_pages(app)


def _xero_config(settings: Settings) -> VendorConfig:
    return VendorConfig(
        vendor="xero",
        redirect_uri=settings.redirect_uri("xero"),
        return_url=settings.return_url,
        webhook_url=settings.webhook_url("xero"),
        scope_set=settings.xero_scope_set,
        client_id=settings.xero_client_id,
        client_secret=_reveal(settings.xero_client_secret) or None,
        webhook_key=_reveal(settings.xero_webhook_key) or None,
        previous_webhook_key=_reveal(settings.xero_webhook_key_previous) or None,
    )


def _xero_settings(settings: Settings) -> VendorSettings:
    limits = RateLimits(
        per_minute=settings.xero_requests_per_minute,
        max_concurrent=settings.xero_concurrent_requests,
        per_day=settings.xero_daily_cap,
        pause_at=settings.xero_daily_cap_pause_at,
        app_per_minute=settings.xero_app_requests_per_minute,
        vendor_per_day=XERO_PROFILE.requests_per_day,
    )
    return make_vendor_settings(
        settings,
        limits,
        page_size=settings.xero_page_size,
        is_acknowledged_empty=settings.xero_webhook_ack == "empty",
    )


def make_vendor_settings(
    settings: Settings, limits: RateLimits, *, page_size: int, is_acknowledged_empty: bool = False
) -> VendorSettings:
    """Return the settings of one vendor: its own, given here, and those that hold for every vendor.

    Args:
        settings: the service's settings.
        limits: how often the vendor may be called.
        page_size: rows asked for at a time.
        is_acknowledged_empty: whether its webhook deliveries are answered without a body.
    """
    alerts = AlertPolicy(
        timezone=settings.billing_timezone,
        grace_days=settings.overdue_grace_days,
        critical_days=settings.overdue_critical_days,
        gap_days=settings.service_gap_days,
    )
    return VendorSettings(
        interval=timedelta(seconds=settings.sync_interval_seconds),
        page_size=page_size,
        limits=limits,
        alerts=alerts,
        is_scheduled=settings.scheduler_enabled,
        is_acknowledged_empty=is_acknowledged_empty,
        webhook_event_lifetime=timedelta(days=settings.webhook_event_days),
    )


def _make_verifier(settings: Settings, clock: Clock, http: httpx.AsyncClient) -> TokenVerifier:
    async def fetch_json(url: str) -> Mapping[str, Any]:
        try:
            response = await http.get(url, timeout=5)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise OSError(f"The key set cannot be read: {type(error).__name__}.") from error
        keys: Mapping[str, Any] = response.json()
        return keys

    keys = KeySet(settings.auth_jwks_url, fetch_json, clock) if settings.auth_jwks_url else None
    return TokenVerifier(_reveal(settings.auth_jwt_secret) or None, keys, settings.auth_jwt_audience, clock)


def _reveal(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""
