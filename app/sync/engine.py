"""The engine: one vendor's connections and sync on this replica, put together, and what may be asked of them."""

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar
from uuid import UUID

import structlog

from app import idempotency
from app.billing.alerts import AlertPolicy
from app.billing.maintenance import refresh_derived
from app.clock import Clock
from app.connections import consent, disconnect, grants, status, tenants, vendor_app
from app.connections.errors import UnknownTenant
from app.connections.states import GrantState
from app.connections.status import ConnectionSnapshot
from app.connections.tables import Tenant
from app.connections.tokens import AccessTokens
from app.connections.vendor_app import VendorConfig
from app.connector import AppCredentials, BadSignature, Connector, Notice, NoticeUnreadable
from app.crypto import Sealer
from app.db import APPLICATION_NAME, Database, DatabaseUnavailable, Session, terminate_stuck_transactions
from app.sync import preflight, progress, runs
from app.sync.client import usage
from app.sync.client.rate_limiter import RateLimiter, RateLimits
from app.sync.leases import DEFAULT_TIMINGS, WRITERS, LeaseTimings
from app.sync.pull import reconcile
from app.sync.status.metrics import SyncMetrics, read_sync_metrics
from app.sync.status.overview import Overview
from app.sync.status.tenants import TenantView, views_of
from app.sync.tables import Usage
from app.sync.tenant_runner import RunnerDependencies
from app.sync.webhooks import inbox
from app.sync.worker import Worker

log = structlog.get_logger(__name__)

Stored = TypeVar("Stored")

# How much of the time the vendor gives a delivery may pass while the keys are read, and while the events are stored.
# The two together stay below the whole.
KEY_SHARE = 0.3
STORE_SHARE = 0.5
# How long a key deleted on one replica may still be good on another.
KEYS_GOOD_SECONDS = 5.0
RECONCILE_EVERY = timedelta(days=1)
# No transaction of ours lasts so long unless its process stands still.
STANDING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class VendorSettings:
    """The settings one vendor goes by; `is_acknowledged_empty`: webhooks are answered without a body."""

    interval: timedelta
    page_size: int
    limits: RateLimits
    alerts: AlertPolicy
    is_scheduled: bool
    is_acknowledged_empty: bool = False
    timings: LeaseTimings = DEFAULT_TIMINGS


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a webhook delivery: whether it was signed with our key, and how many of its events are new."""

    is_signed: bool
    stored: int = 0


class Engine:
    """One vendor, as routes, jobs and commands use it.

    Args:
        db: the database all replicas share.
        clock: tells and waits.
        sealer: keeps secrets.
        connector: the vendor.
        config: the vendor's app as the environment has it.
        plan: the settings.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - everything one vendor needs meets here, once
        self,
        db: Database,
        clock: Clock,
        sealer: Sealer,
        connector: Connector,
        config: VendorConfig,
        plan: VendorSettings,
    ) -> None:
        self.vendor = connector.vendor
        self.profile = connector.profile
        self.connector = connector
        self.config = config
        self.plan = plan
        self.sealer = sealer
        self.tokens = AccessTokens(db, sealer, connector, config, clock)
        self._db = db
        self._known_keys: Sequence[str] = [config.webhook_key] if config.webhook_key else []
        self._keys_read_at = -math.inf
        self._clock = clock
        rate_limiter = RateLimiter(db, clock, connector.vendor, plan.limits)
        writers = asyncio.Semaphore(WRITERS)
        tools = RunnerDependencies(
            db, clock, connector, self.tokens, rate_limiter, plan.page_size, writers, self.refresh_alerts
        )
        self.worker = Worker(tools, plan.timings)

    async def tick(self) -> UUID | None:
        """Open the tick that is due, if one is and no other replica was faster."""
        async with self._db.transaction() as session:
            await runs.close_orphaned_runs(session, self.vendor)
            tenant_ids = await tenants.list_syncable_ids(session, self.vendor)
            run_id = await runs.open_tick(session, self.vendor, self.plan.interval, tenant_ids)
        if run_id:
            self.worker.wake()
        return run_id

    async def sync_now(self, session: Session, tenant_ids: Sequence[str] | None, actor: str) -> UUID:
        """Open a run by hand, or return the one under way.

        Raises:
            NoTenantSelected: nothing is selected that could be synced.
            UnknownTenant: one of those named is not selected.
        """
        selected = await tenants.require_syncable_ids(session, self.vendor)
        if unknown := sorted(set(tenant_ids or ()) - set(selected)):
            raise UnknownTenant(f"Not among the selected organisations: {', '.join(unknown[:5])}.")
        return await runs.open_run(session, runs.RunRequest(self.vendor, "manual", tenant_ids or selected, actor))

    async def reconcile_now(self, session: Session, actor: str) -> UUID:
        """Open a reconciliation of everything selected, or return the one under way.

        Raises:
            NoTenantSelected: nothing is selected that could be compared.
        """
        selected = await tenants.require_syncable_ids(session, self.vendor)
        return await runs.open_run(session, runs.RunRequest(self.vendor, "reconcile", selected, actor))

    async def reconcile_nightly(self) -> None:
        """Open the reconciliation that is due once a day, if no other replica was faster."""
        async with self._db.transaction() as session:
            selected = await tenants.list_syncable_ids(session, self.vendor)
            await reconcile.open_nightly(session, self.vendor, RECONCILE_EVERY, selected)

    async def sync_added(self, session: Session, tenant_ids: Sequence[str], actor: str) -> None:
        """Begin the first sync of organisations just picked, without waiting for a tick."""
        living = set(await tenants.list_syncable_ids(session, self.vendor))
        if fresh := [tenant_id for tenant_id in tenant_ids if tenant_id in living]:
            await runs.open_run(session, runs.RunRequest(self.vendor, "manual", fresh, actor))

    async def views(self, session: Session, rows: Sequence[Tenant]) -> list[TenantView]:
        """Return how each of these organisations is doing."""
        return await views_of(session, self.vendor, self._clock, self.plan.limits.per_day, rows)

    async def run_maintenance(self) -> None:
        """Do what must be done now and then: forget what is old, refresh idle grants, finish revocations."""
        async with self._db.transaction() as session:
            await terminate_stuck_transactions(session, f"{APPLICATION_NAME}%", STANDING_SECONDS)
            await progress.delete_expired(session)
            await runs.delete_expired(session)
            await idempotency.delete_expired(session)
            await inbox.delete_expired(session)
        await self.tokens.refresh_idle_grants()
        await disconnect.revoke_pending(self._db, self.sealer, self.connector, self.config)

    async def refresh_alerts(self) -> None:
        """Keep alerts, the review queue and other vendors' events equal to what the tables say now."""
        async with self._db.transaction() as session:
            await refresh_derived(session, self._clock.now(), self.plan.alerts)

    async def receive(self, body: bytes, signatures: Sequence[bytes]) -> Receipt:
        """Take a webhook delivery: check it, and store what it tells of before anyone is told that we have it.

        A probe, which carries no events, is answered even when the database is away; a delivery with events is not,
        so that the vendor sends it again.

        Raises:
            DatabaseUnavailable: the events could not be stored.
        """
        try:
            notices = await self._read_notices(body, signatures)
        except BadSignature:
            await self._note(inbox.count_bad_signature)
            return Receipt(is_signed=False)
        except NoticeUnreadable as error:
            reason = str(error)
            await self._store(lambda session: inbox.accept_unreadable(session, self.vendor, body, reason))
            return Receipt(is_signed=True)
        if not notices:
            await self._note(vendor_app.record_probe)
            return Receipt(is_signed=True)
        stored = await self._store(lambda session: inbox.accept(session, self.vendor, notices))
        self.worker.wake()
        return Receipt(is_signed=True, stored=stored)

    async def _store(self, write: Callable[[Session], Awaitable[Stored]]) -> Stored:
        """Write while the vendor still waits for its answer; later than that it takes the delivery for lost."""
        try:
            async with asyncio.timeout(STORE_SHARE * self.profile.delivery_seconds), self._db.transaction() as session:
                return await write(session)
        except TimeoutError as error:
            raise DatabaseUnavailable("The events could not be stored in time; deliver them again.") from error

    async def _read_notices(self, body: bytes, signatures: Sequence[bytes]) -> Sequence[Notice]:
        """Check with the keys read lately; one that does not fit may be signed with a key just set elsewhere."""
        if time.monotonic() - self._keys_read_at < KEYS_GOOD_SECONDS:
            with contextlib.suppress(BadSignature):
                return self.connector.read_notices(body, signatures, self._known_keys)
        return self.connector.read_notices(body, signatures, await self._read_keys())

    async def _read_keys(self) -> Sequence[str]:
        """Return the signing keys; those last read when the database is away, so that a probe can be answered."""
        try:
            async with asyncio.timeout(KEY_SHARE * self.profile.delivery_seconds), self._db.transaction() as session:
                self._known_keys = await vendor_app.signing_keys(session, self.sealer, self.config)
            self._keys_read_at = time.monotonic()
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("signing_keys_not_read", error=str(error))
        return self._known_keys

    def forget_keys(self) -> None:
        """Read the signing keys anew at the next delivery, because they were just changed."""
        self._keys_read_at = -math.inf

    async def _note(self, note: Callable[[Session, str], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(KEY_SHARE * self.profile.delivery_seconds), self._db.transaction() as session:
                await note(session, self.vendor)
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("delivery_not_noted", error=str(error))

    async def disconnect(self, actor: str) -> None:
        await disconnect.disconnect(self._db, self.sealer, self.connector, self.config, actor)

    async def finish_consent(self, callback: consent.Callback) -> consent.ConsentOutcome:
        """Take the browser back from the vendor; a consent that connected makes the next tick due at once."""
        outcome = await consent.finish_consent(self._db, self.sealer, self.connector, self.config, callback)
        if outcome.is_connected:
            async with self._db.transaction() as session:
                await runs.schedule_tick_now(session, self.vendor)
        return outcome

    async def overview(self, session: Session) -> Overview:
        """Read the card."""
        app = await vendor_app.load_app(session, self.sealer, self.config)
        found = await grants.list_grants(session, self.vendor)
        reached = await tenants.list_all_tenants(session, self.vendor)
        state = await inbox.inbox_state(session, self.vendor)
        schedule = await runs.schedule_of(session, self.vendor)
        probed_at = await vendor_app.last_probe_at(session, self.vendor)
        snapshot = ConnectionSnapshot(
            app=app,
            grants=found,
            tenants=reached,
            signature_failures=state.signature_failures,
            last_good_delivery_at=max(filter(None, (state.last_event_at, probed_at)), default=None),
            last_bad_delivery_at=state.last_signature_failure_at,
            base_path=f"/api/integrations/{self.vendor}",
            vendor_name=self.profile.name,
        )
        return Overview(
            state=status.determine_state(snapshot),
            app=app,
            scopes_requested=sorted(self.connector.scopes(app.scope_set)),
            grant=next((grant for grant in found if grant.state != GrantState.DISCONNECTED), None),
            tenants=reached,
            inbox=state,
            is_webhook_configured=bool(await vendor_app.signing_keys(session, self.sealer, self.config)),
            last_probe_at=probed_at,
            last_tick_at=schedule.last_at if schedule else None,
            next_tick_at=schedule.due_at if schedule and self.plan.is_scheduled else None,
            is_running=await runs.is_running(session, self.vendor),
            banners=status.list_banners(snapshot, self._clock.now()),
        )

    async def sync_metrics(self, session: Session) -> SyncMetrics:
        return await read_sync_metrics(session, self.vendor)

    async def usage(self, session: Session, days: int) -> tuple[Sequence[Usage], dict[str, int]]:
        """Return the days' costs and the month's bytes by organisation."""
        month = await usage.month_of_usage(session, self.vendor, self._clock.now())
        return await usage.usage_since(session, self.vendor, days), month

    # What routes use instead of the engine's own parts.

    @property
    def redirect_uri(self) -> str:
        """The URI to register at the vendor, where it sends browsers back to after a consent."""
        return self.config.redirect_uri

    @property
    def webhook_url(self) -> str:
        """The URL to register at the vendor, where it delivers webhooks to."""
        return self.config.webhook_url

    @property
    def signature_header(self) -> str:
        """The header, in lower case, that carries the signature of a webhook delivery."""
        return self.connector.signature_header

    @property
    def is_acknowledged_empty(self) -> bool:
        """Whether webhook deliveries are answered without a body."""
        return self.plan.is_acknowledged_empty

    @property
    def is_scheduled(self) -> bool:
        """Whether this replica runs scheduled syncs."""
        return self.plan.is_scheduled

    @property
    def interval(self) -> timedelta:
        """The time between two ticks."""
        return self.plan.interval

    async def check(self) -> preflight.Preflight:
        """Run the pre-flight check."""
        return await preflight.check(self._db, self.sealer, self.connector, self.config, self.tokens)

    async def save_credentials(self, session: Session, credentials: AppCredentials, scope_set: str | None) -> None:
        """Store the app's client id and secret, and the scope set where one is given.

        Raises:
            ManagedByEnvironment: the environment sets them.
        """
        # A new secret alone must not undo the scope set that was chosen before.
        scope_set = scope_set or (await vendor_app.load_app(session, self.sealer, self.config)).scope_set
        await vendor_app.save_credentials(session, self.sealer, self.config, credentials, scope_set)

    async def start_consent(self, session: Session, request: consent.ConnectRequest) -> consent.StartedConsent:
        """Prepare a consent and return where to send the browser.

        Raises:
            NotConfigured: the client id or secret is missing.
            InvalidReturnPath: `return_to` is not a plain path.
        """
        return await consent.start_consent(session, self.sealer, self.connector, self.config, request)

    def return_url(self, outcome: consent.ConsentOutcome) -> str:
        """Return the frontend's address to send the browser to after a consent."""
        return consent.return_url(self.config, outcome)

    async def save_signing_key(self, session: Session, key: str) -> None:
        """Store a new key that webhooks are signed with; those before it stay valid for 24 hours.

        Raises:
            ManagedByEnvironment: the environment sets the key.
        """
        await vendor_app.save_signing_key(session, self.sealer, self.config, key)
        self.forget_keys()

    async def delete_signing_keys(self, session: Session) -> None:
        """Delete every key that webhooks are signed with.

        Raises:
            ManagedByEnvironment: the environment sets the key.
        """
        await vendor_app.delete_signing_keys(session, self.config)
        self.forget_keys()
