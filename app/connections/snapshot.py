"""What the status of a vendor's connection is determined from, and the banners that it is told with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from app.connections.grant_choice import TenantReach
from app.connections.states import BannerCode, Severity
from app.connections.tables import Grant, Tenant
from app.connections.unreadable_secrets import UnreadableSecrets
from app.connections.vendor_app import App


@dataclass(frozen=True, slots=True)
class Action:
    """The request that helps with a banner, and the label of its button."""

    label: str
    method: str
    href: str


@dataclass(frozen=True, slots=True)
class Banner:
    """One message to a person about the connection.

    Attributes:
        code: what it is about.
        severity: how urgent it is.
        title: what happened.
        body: what it means and what to do.
        tenant_id: the organisation it is about; None for the whole connection.
        since: when it began.
        until: when it ends by itself, or when a token expires.
        action: the request that helps, if one does.
        tenant_name: the name of that organisation.
        grant_id: the grant it is about, or through which the organisation is read.
        concerned: the ids of the organisations that it stops, where it is about a grant.
    """

    code: BannerCode
    severity: Severity
    title: str
    body: str
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    action: Action | None = None
    tenant_name: str | None = None
    grant_id: UUID | None = None
    concerned: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FailingAddress:
    """An address at which people cannot be told: its name, which holds no secret, since when, and why."""

    name: str
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """What the status of a connection is determined from, read in one transaction.

    Attributes:
        app: the app registered at the vendor.
        grants: every grant of the vendor.
        tenants: every tenant of the vendor.
        signature_mismatches: webhook deliveries of the last 24 hours whose signature is well formed but fits no key.
        last_good_delivery_at: when the last correctly signed delivery or probe came.
        last_mismatch_at: when the last of these came.
        base_path: the path of the vendor's routes, for the banners' actions.
        vendor_name: the vendor's name for people.
        reach: the grants that reach each tenant, by tenant id.
        unreadable: the stored secrets that cannot be decrypted.
        stale_after: how old the data of an organisation may be before a person is told; None: they are never too old.
        events_given_up: number of webhook events that were given up and that nobody has dismissed.
        first_given_up_at: when the first of them was given up.
        failing_addresses: where people cannot be told.
    """

    app: App
    grants: Sequence[Grant]
    tenants: Sequence[Tenant]
    signature_mismatches: int
    last_good_delivery_at: datetime | None
    last_mismatch_at: datetime | None
    base_path: str
    vendor_name: str
    reach: Mapping[str, TenantReach] = field(default_factory=dict)
    unreadable: UnreadableSecrets = field(default_factory=UnreadableSecrets)
    stale_after: timedelta | None = None
    events_given_up: int = 0
    first_given_up_at: datetime | None = None
    failing_addresses: Sequence[FailingAddress] = ()

    @property
    def reconnect_action(self) -> Action:
        return Action(f"Reconnect {self.vendor_name}", "POST", f"{self.base_path}/connect")
