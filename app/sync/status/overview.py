"""Reads what the status card shows, in one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.connections import vendor_app
from app.connections.states import ConnectionState
from app.connections.status import Banner
from app.connections.tables import Grant, Tenant
from app.sync.webhooks.inbox import InboxState


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the card shows, read in one transaction."""

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
    banners: Sequence[Banner]

    @property
    def data_as_of(self) -> datetime | None:
        """Return how fresh the stalest picked organisation is; None when one of them never synced."""
        stamps = [tenant.data_as_of for tenant in self.tenants if tenant.is_selected and not tenant.removed_at]
        known = [stamp for stamp in stamps if stamp]
        return min(known) if known and len(known) == len(stamps) else None
