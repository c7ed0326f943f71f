"""Reads everything that the integration's status shows, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.clock import Clock
from app.connections import grants, reach, status, tenants, vendor_app
from app.connections.snapshot import Banner, ConnectionSnapshot
from app.connections.states import ConnectionState
from app.connections.tables import Grant, Tenant
from app.connections.unreadable_secrets import find_unreadable
from app.connections.vendor_app import VendorConfig
from app.connector import Connector
from app.crypto import Sealer
from app.db import Session
from app.sync import runs
from app.sync.client import usage
from app.sync.notifications import outbox
from app.sync.notifications.addresses import NotifyAddress
from app.sync.notifications.incidents import ConnectionView
from app.sync.status.metrics import SyncMetrics, read_sync_metrics
from app.sync.status.tenants import STALE_BANNER_INTERVALS, TenantView, read_tenant_views
from app.sync.tables import Usage
from app.sync.webhooks import inbox
from app.sync.webhooks.inbox import InboxState


@dataclass(frozen=True, slots=True)
class Overview:
    """What the integration's status shows."""

    state: ConnectionState
    app: vendor_app.App
    scopes_requested: Sequence[str]
    grant: Grant | None
    tenants: Sequence[Tenant]
    inbox: InboxState
    is_webhook_configured: bool
    last_probe_at: datetime | None
    last_tick_at: datetime | None
    next_tick_at: datetime | None
    is_running: bool
    is_any_syncable: bool
    banners: Sequence[Banner]

    @property
    def data_as_of(self) -> datetime | None:
        """Return the instant of the stalest selected tenant's data; None when one of them never synced."""
        instants = [tenant.data_as_of for tenant in self.tenants if tenant.is_selected and not tenant.removed_at]
        known = [instant for instant in instants if instant]
        return min(known) if known and len(known) == len(instants) else None


class StatusReader:
    """Answers how one vendor's connection and sync stand.

    Args:
        clock: says what time it is.
        sealer: opens the vendor app's secrets.
        connector: the vendor.
        config: the vendor app as the environment has it.
        daily_cap: calls per tenant and day.
        interval: the time between two ticks.
        addresses: where people are told.
        is_scheduled: whether this replica's scheduler runs, so that a next tick can be told.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is shown
        self,
        clock: Clock,
        sealer: Sealer,
        connector: Connector,
        config: VendorConfig,
        daily_cap: int,
        interval: timedelta,
        addresses: Sequence[NotifyAddress] = (),
        *,
        is_scheduled: bool,
    ) -> None:
        self._clock = clock
        self._sealer = sealer
        self._connector = connector
        self._config = config
        self._vendor = connector.vendor
        self._daily_cap = daily_cap
        self._interval = interval
        self._addresses = addresses
        self._is_scheduled = is_scheduled

    async def read_overview(self, session: Session) -> Overview:
        """Return the state of the connection, with its banners."""
        app = await vendor_app.load_app(session, self._sealer, self._config)
        found_grants = await grants.list_grants(session, self._vendor)
        reached = await tenants.list_all_tenants(session, self._vendor)
        inbox_state = await inbox.inbox_state(session, self._vendor)
        schedule = await runs.schedule_of(session, self._vendor)
        unreadable = await find_unreadable(session, self._sealer, self._config)
        probed_at = await vendor_app.last_probe_at(session, self._vendor)
        snapshot = ConnectionSnapshot(
            app=app,
            grants=found_grants,
            tenants=reached,
            signature_mismatches=inbox_state.signature_mismatches,
            last_good_delivery_at=max(filter(None, (inbox_state.last_event_at, probed_at)), default=None),
            last_mismatch_at=inbox_state.last_mismatch_at,
            base_path=f"/api/integrations/{self._vendor}",
            vendor_name=self._connector.profile.name,
            reach=await reach.read_reach(session, self._vendor, unreadable=unreadable.grant_ids),
            unreadable=unreadable,
            stale_after=STALE_BANNER_INTERVALS * self._interval,
            events_given_up=inbox_state.given_up,
            first_given_up_at=inbox_state.first_given_up_at,
            failing_addresses=await outbox.list_failing(session, self._vendor, self._addresses),
        )
        return Overview(
            state=status.determine_state(snapshot),
            app=app,
            scopes_requested=sorted(self._connector.scopes(app.scope_set)),
            grant=status.find_main_grant(snapshot),
            tenants=reached,
            inbox=inbox_state,
            is_webhook_configured=bool(await vendor_app.signing_keys(session, self._sealer, self._config)),
            last_probe_at=probed_at,
            last_tick_at=schedule.last_at if schedule else None,
            next_tick_at=schedule.due_at if schedule and self._is_scheduled else None,
            is_running=await runs.is_running(session, self._vendor),
            is_any_syncable=bool(await tenants.list_syncable_ids(session, self._vendor)),
            banners=status.list_banners(snapshot, self._clock.now()),
        )

    async def read_connection(self, session: Session) -> ConnectionView:
        """Return the connection as notifications describe it."""
        overview = await self.read_overview(session)
        left_out = frozenset(tenant.tenant_id for tenant in overview.tenants if not tenant.is_selected)
        is_connected = overview.state not in {ConnectionState.NOT_CONFIGURED, ConnectionState.NOT_CONNECTED}
        return ConnectionView(overview.banners, is_connected, left_out)

    async def read_tenants(self, session: Session, rows: Sequence[Tenant]) -> list[TenantView]:
        """Return how the sync of each of these tenants stands."""
        return await read_tenant_views(session, self._vendor, self._clock, self._daily_cap, self._interval, rows)

    async def read_metrics(self, session: Session) -> SyncMetrics:
        """Return the metrics of this vendor's sync."""
        fingerprints = [address.fingerprint for address in self._addresses]
        return await read_sync_metrics(session, self._vendor, self._interval, self._daily_cap, fingerprints)

    async def read_usage(self, session: Session, days: int) -> tuple[Sequence[Usage], dict[str, int]]:
        """Return the usage of the last days, and the bytes of the current month by tenant."""
        month = await usage.bytes_of_month(session, self._vendor, self._clock.now())
        return await usage.usage_since(session, self._vendor, days), month
