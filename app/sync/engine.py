"""The engine: one vendor's connections and sync on this replica, composed, and the actions on them."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.audit import append_audit_entry
from app.billing.alerts import AlertPolicy
from app.clock import Clock
from app.connections import consent, disconnect, tenants, vendor_app
from app.connections.errors import UnknownTenant
from app.connections.reach_reader import ReachReader
from app.connections.tokens import AccessTokens
from app.connections.unreadable_secrets import find_unreadable, log_unreadable
from app.connections.vendor_app import VendorConfig
from app.connector import AppCredentials, Connector
from app.crypto import Sealer
from app.db import Database, Session
from app.sync import preflight, runs
from app.sync.client.rate_limiter import RateLimiter, RateLimits
from app.sync.leases import DEFAULT_TIMINGS, MAX_CONCURRENT_WRITES, LeaseTimings
from app.sync.maintenance import Maintenance
from app.sync.notifications.messages import Texts
from app.sync.notifications.notifier import Notifier
from app.sync.notifications.sender import Sender
from app.sync.pull import reconcile
from app.sync.run_execution import RunnerDependencies
from app.sync.runs import FinishedRun
from app.sync.status.overview import StatusReader
from app.sync.tables import RunTrigger
from app.sync.webhooks.receiver import WebhookReceiver
from app.sync.worker import Worker

RECONCILE_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class VendorSettings:
    """The settings of one vendor's sync.

    Attributes:
        interval: the time between two ticks.
        page_size: rows asked for at a time.
        limits: how often the vendor may be called.
        alerts: when an alert is opened.
        is_scheduled: whether this replica runs scheduled syncs.
        is_acknowledged_empty: whether webhook deliveries are answered without a body.
        webhook_event_lifetime: how long closed webhook events are kept.
        timings: of the leases.
    """

    interval: timedelta
    page_size: int
    limits: RateLimits
    alerts: AlertPolicy
    is_scheduled: bool
    is_acknowledged_empty: bool = False
    webhook_event_lifetime: timedelta = timedelta(days=90)
    timings: LeaseTimings = DEFAULT_TIMINGS


def ignore_run(_run: FinishedRun) -> None:
    """Do nothing with a finished run: nobody counts them."""


class Engine:
    """One vendor, as routes, scheduled jobs and commands use it.

    Args:
        db: the database that all replicas share.
        clock: tells the time and waits.
        sealer: seals and opens secrets.
        connector: the vendor.
        config: the vendor app as the environment has it.
        settings: the settings of the sync.
        deliveries_db: the database as webhook deliveries use it, with connections that nothing else takes; `db` unless
            given.
        on_run_finished: called with each run that this replica has closed.
        sender: sends messages to people; to nobody unless given.

    Attributes:
        vendor: the vendor's word in `source` and in URLs.
        profile: the vendor's facts.
        worker: does the work that is due on this replica.
        receiver: takes webhook deliveries.
        status: reads how connection and sync stand.
        maintenance: what is done now and then.
        notifier: tells people what is wrong.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - everything one vendor needs meets here, once
        self,
        db: Database,
        clock: Clock,
        sealer: Sealer,
        connector: Connector,
        config: VendorConfig,
        settings: VendorSettings,
        deliveries_db: Database | None = None,
        on_run_finished: Callable[[FinishedRun], None] = ignore_run,
        sender: Sender | None = None,
    ) -> None:
        self.vendor = connector.vendor
        self.profile = connector.profile
        self.connector = connector
        self._config = config
        self._settings = settings
        self._sealer = sealer
        self._db = db
        self._on_run_finished = on_run_finished
        self.tokens = AccessTokens(db, sealer, connector, config, clock)
        self._reach_reader = ReachReader(db, connector, self.tokens)
        self.maintenance = Maintenance(
            db, clock, sealer, connector, config, self.tokens, settings.alerts, settings.webhook_event_lifetime
        )
        self._dependencies = self._runner_dependencies(clock)
        self.worker = Worker(self._dependencies, settings.timings)
        is_empty = settings.is_acknowledged_empty
        self.receiver = WebhookReceiver(
            deliveries_db or db, sealer, connector, config, self.worker.wake, answers_empty=is_empty
        )
        sender = sender or Sender()
        self.status = StatusReader(
            clock,
            sealer,
            connector,
            config,
            settings.limits.per_day,
            settings.interval,
            sender.addresses,
            is_scheduled=settings.is_scheduled,
        )
        texts = Texts(connector.profile.name, config.return_url)
        self.notifier = Notifier(db, self.vendor, sender, texts, self.status.read_connection)

    def _runner_dependencies(self, clock: Clock) -> RunnerDependencies:
        return RunnerDependencies(
            db=self._db,
            clock=clock,
            connector=self.connector,
            tokens=self.tokens,
            reach_reader=self._reach_reader,
            rate_limiter=RateLimiter(self._db, clock, self.vendor, self._settings.limits),
            page_size=self._settings.page_size,
            write_slots=asyncio.Semaphore(MAX_CONCURRENT_WRITES),
            before_run_ends=self.maintenance.refresh_derived,
            on_run_finished=self._on_run_finished,
        )

    async def tick(self) -> UUID | None:
        """Open the tick that is due, unless another replica did; return its run's id.

        Before it, look for a grant that reaches the tenants that have none.
        """
        await self._reach_reader.read_due(self._settings.interval)
        async with self._db.transaction() as session:
            closed = await runs.close_orphaned_runs(session, self.vendor)
            tenant_ids = await tenants.list_syncable_ids(session, self.vendor)
            run_id = await runs.open_tick(session, self.vendor, self._settings.interval, tenant_ids)
        for run in closed:
            self._on_run_finished(run)
        if run_id:
            self.worker.wake()
        return run_id

    async def sync_now(self, session: Session, tenant_ids: Sequence[str] | None, actor: str) -> UUID:
        """Open a manual run, or return the run under way.

        Raises:
            NoTenantSelected: nothing is selected that could be synced.
            ReconnectRequired: the connection is dead for everything that is selected.
            UnknownTenant: one of those named is not selected.
        """
        selected = await tenants.require_syncable_ids(session, self.vendor)
        if unknown := sorted(set(tenant_ids or ()) - set(selected)):
            raise UnknownTenant(f"Not among the selected organisations: {', '.join(unknown[:5])}.")
        chosen = tenant_ids or selected
        run_id = await runs.open_run(session, runs.RunRequest(self.vendor, RunTrigger.MANUAL, chosen, actor))
        await append_audit_entry(session, actor, "sync_started", str(run_id), {"organisations": len(chosen)})
        return run_id

    async def sync_added(self, session: Session, tenant_ids: Sequence[str], actor: str) -> None:
        """Open the first run of tenants that were just selected, without waiting for a tick."""
        readable = set(await tenants.list_syncable_ids(session, self.vendor))
        if added := [tenant_id for tenant_id in tenant_ids if tenant_id in readable]:
            await runs.open_run(session, runs.RunRequest(self.vendor, RunTrigger.MANUAL, added, actor))

    async def reconcile_now(self, session: Session, actor: str) -> UUID:
        """Open a reconciliation of every selected tenant, or return the one under way.

        Raises:
            NoTenantSelected: nothing is selected that could be compared.
            ReconnectRequired: the connection is dead for everything that is selected.
        """
        selected = await tenants.require_syncable_ids(session, self.vendor)
        run_id = await runs.open_run(session, runs.RunRequest(self.vendor, RunTrigger.RECONCILE, selected, actor))
        await append_audit_entry(
            session, actor, "reconciliation_started", str(run_id), {"organisations": len(selected)}
        )
        return run_id

    async def reconcile_nightly(self) -> None:
        """Open the daily reconciliation if it is due, unless another replica did."""
        async with self._db.transaction() as session:
            selected = await tenants.list_syncable_ids(session, self.vendor)
            await reconcile.open_nightly(session, self.vendor, RECONCILE_EVERY, selected)

    async def finish_consent(self, callback: consent.Callback) -> consent.ConsentOutcome:
        """Finish the consent that the browser brings back; one that connected makes the next tick due at once."""
        outcome = await consent.finish_consent(self._db, self._sealer, self.connector, self._config, callback)
        if outcome.is_connected:
            async with self._db.transaction() as session:
                await runs.schedule_tick_now(session, self.vendor)
        return outcome

    async def disconnect(self, actor: str) -> None:
        """Wipe the tokens and revoke them at the vendor; billing data and the selection stay."""
        await disconnect.disconnect(self._db, self._sealer, self.connector, self._config, actor)

    @property
    def redirect_uri(self) -> str:
        """The URI to register at the vendor, where it sends browsers back to after a consent."""
        return self._config.redirect_uri

    @property
    def webhook_url(self) -> str:
        """The URL to register at the vendor, where it delivers webhooks to."""
        return self._config.webhook_url

    @property
    def is_webhook_key_managed(self) -> bool:
        """Whether the environment sets the key that webhooks are signed with."""
        return self._config.webhook_key is not None

    @property
    def is_scheduled(self) -> bool:
        """Whether this replica runs scheduled syncs."""
        return self._settings.is_scheduled

    @property
    def interval(self) -> timedelta:
        """The time between two ticks."""
        return self._settings.interval

    async def log_unreadable_secrets(self) -> None:
        """Log which stored secrets cannot be decrypted, and the ids of the keys that are missing."""
        async with self._db.transaction() as session:
            found = await find_unreadable(session, self._sealer, self._config)
        log_unreadable(self.vendor, found)

    async def check(self) -> preflight.Preflight:
        """Run the pre-flight check."""
        return await preflight.check(self._db, self._sealer, self._config, self._dependencies)

    async def save_credentials(self, session: Session, credentials: AppCredentials, scope_set: str | None) -> None:
        """Store the app's client id and secret, and the scope set where one is given.

        Raises:
            ManagedByEnvironment: the environment sets them.
        """
        # A new secret alone must not undo the scope set that was chosen before.
        scope_set = scope_set or (await vendor_app.load_app(session, self._sealer, self._config)).scope_set
        await vendor_app.save_credentials(session, self._sealer, self._config, credentials, scope_set)

    async def start_consent(self, session: Session, request: consent.ConnectRequest) -> consent.StartedConsent:
        """Prepare a consent and return where to send the browser.

        Raises:
            NotConfigured: the client id or secret is missing.
            InvalidReturnPath: `return_to` is not a plain path.
        """
        return await consent.start_consent(session, self._sealer, self.connector, self._config, request)

    def return_url(self, outcome: consent.ConsentOutcome) -> str:
        """Return the frontend's address to send the browser to after a consent."""
        return consent.return_url(self._config, outcome)

    async def save_signing_key(self, session: Session, key: str) -> None:
        """Store a new key that webhooks are signed with; those before it stay valid for 24 hours.

        Raises:
            ManagedByEnvironment: the environment sets the key.
        """
        await vendor_app.save_signing_key(session, self._sealer, self._config, key)
        self.receiver.clear_key_cache()

    async def delete_signing_keys(self, session: Session) -> None:
        """Delete every key that webhooks are signed with.

        Raises:
            ManagedByEnvironment: the environment sets the key.
        """
        await vendor_app.delete_signing_keys(session, self._config)
        self.receiver.clear_key_cache()
