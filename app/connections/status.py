"""The card: what is connected, what is wrong and what to do, decided here so that every page says the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import and_, func, select

from app.connections.tables import Grant, Tenant
from app.connections.vendor_app import App
from app.db import Session

State = Literal[
    "not_configured", "not_connected", "choose_tenants", "connected", "reconnect_required", "needs_permission"
]
Severity = Literal["info", "warning", "critical"]
WARN_DAYS: tuple[tuple[int, Severity], ...] = ((2, "critical"), (7, "warning"))


@dataclass(frozen=True, slots=True)
class Action:
    label: str
    method: str
    href: str


@dataclass(frozen=True, slots=True)
class Banner:
    """One thing a person should know. `since` and `until` are instants; `action` is what helps, if anything does."""

    code: str
    severity: Severity
    title: str
    body: str
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything the card is decided from, read in one transaction."""

    app: App
    grants: Sequence[Grant]
    tenants: Sequence[Tenant]
    signature_failures: int
    last_good_delivery_at: datetime | None
    last_bad_delivery_at: datetime | None
    base_path: str
    vendor_name: str

    @property
    def reconnect(self) -> Action:
        return Action(f"Reconnect {self.vendor_name}", "POST", f"{self.base_path}/connect")


def state_of(snapshot: Snapshot) -> State:
    living = [grant for grant in snapshot.grants if grant.state != "disconnected"]
    if not (snapshot.app.client_id and snapshot.app.client_secret):
        return "not_configured"
    if not living:
        return "not_connected"
    if _dead_grants(snapshot):
        return "reconnect_required"
    if any(grant.missing_scopes for grant in living):
        return "needs_permission"
    return "connected" if any(tenant.is_selected for tenant in snapshot.tenants) else "choose_tenants"


def banners_of(snapshot: Snapshot, now: datetime) -> list[Banner]:
    """Return what a person should know, the gravest first; a hundred organisations of one grant make one banner."""
    found = [*_grant_banners(snapshot, now), *_tenant_banners(snapshot, now), *_webhook_banners(snapshot)]
    rank = {"critical": 0, "warning": 1, "info": 2}
    return sorted(found, key=lambda banner: rank[banner.severity])


def _dead_grants(snapshot: Snapshot) -> list[Grant]:
    """Return the grants a person must renew: dead ones that picked organisations hang on, or the only one there is."""
    dead = [grant for grant in snapshot.grants if grant.state == "reconnect_required"]
    needed = {tenant.grant_id for tenant in snapshot.tenants if tenant.is_selected and tenant.removed_at is None}
    if any(grant.state == "active" for grant in snapshot.grants):
        return [grant for grant in dead if grant.id in needed]
    return dead


def _grant_banners(snapshot: Snapshot, now: datetime) -> Iterable[Banner]:
    name = snapshot.vendor_name
    for grant in _dead_grants(snapshot):
        yield Banner(
            "reconnect_required",
            "critical",
            f"{name} needs reconnecting",
            f"Disconnect and connect {name} again. {grant.reason or ''} Your data is safe and stays readable.".strip(),
            since=grant.state_since,
            action=snapshot.reconnect,
        )
    for grant in snapshot.grants:
        if grant.state == "active" and grant.missing_scopes:
            yield Banner(
                "needs_permission",
                "critical",
                "One more permission needed",
                f"The connection lacks: {', '.join(grant.missing_scopes)}. Access stays read-only.",
                since=grant.connected_at,
                action=Action("Review permissions", "POST", f"{snapshot.base_path}/connect"),
            )
        if grant.state == "active" and grant.refresh_expires_at:
            yield from _expiry_banner(snapshot, grant.refresh_expires_at, now)


def _expiry_banner(snapshot: Snapshot, expires_at: datetime, now: datetime) -> Iterable[Banner]:
    for days, severity in WARN_DAYS:
        if expires_at - now <= timedelta(days=days):
            yield Banner(
                f"token_expiring_{days}d",
                severity,
                f"{snapshot.vendor_name} connection expires on {expires_at:%d %b}",
                "Reconnect before then and nothing is interrupted. Takes about 10 seconds.",
                until=expires_at,
                action=snapshot.reconnect,
            )
            return


TENANT_BANNERS: dict[str, tuple[Severity, str]] = {
    "rate_limited_minute": ("info", "{name} is waiting for {vendor}'s minute limit"),
    "rate_limited_day": ("warning", "{name} has used its {vendor} calls for today"),
    "tenant_forbidden": ("critical", "{name} no longer grants access"),
    "tenant_removed": ("critical", "{name} was removed in {vendor}"),
    "xero_unavailable": ("warning", "{vendor} is not answering for {name}"),
    "partial_sync": ("warning", "{name}: some records need a look"),
}


def _tenant_banners(snapshot: Snapshot, now: datetime) -> Iterable[Banner]:
    for tenant in snapshot.tenants:
        if not tenant.is_selected:
            continue
        code = "tenant_removed" if tenant.removed_at else tenant.reason_code
        # A pause that was under way when the organisation was removed says nothing about the removal.
        until = None if tenant.removed_at else tenant.paused_until
        if code in TENANT_BANNERS and not (until and until <= now):
            severity, title = TENANT_BANNERS[code]
            yield Banner(
                code,
                severity,
                title.format(name=tenant.name, vendor=snapshot.vendor_name),
                REMOVED.format(vendor=snapshot.vendor_name) if tenant.removed_at else tenant.reason_message or "",
                tenant_id=tenant.tenant_id,
                since=tenant.removed_at or tenant.reason_since,
                until=until,
                action=snapshot.reconnect if code in {"tenant_forbidden", "tenant_removed"} else None,
            )
        elif tenant.data_as_of is None:
            yield Banner(
                "first_sync",
                "info",
                f"Bringing in the history of {tenant.name}",
                "You can use the rest meanwhile; figures are complete once this is done.",
                tenant_id=tenant.tenant_id,
                since=tenant.created_at,
            )


REMOVED = "Somebody de-selected this organisation in {vendor}. Disconnect and reconnect to refresh the list."


def _webhook_banners(snapshot: Snapshot) -> Iterable[Banner]:
    good, bad = snapshot.last_good_delivery_at, snapshot.last_bad_delivery_at
    # Xero sends wrongly signed probes on purpose, so failures alone say nothing while good deliveries keep coming.
    if bad and (good is None or bad > good + timedelta(hours=1)):
        yield Banner(
            "webhook_signature_mismatch",
            "warning",
            "Webhook deliveries are not signed with our key",
            f"{snapshot.signature_failures} deliveries were refused in 24 hours. The signing key here is not the one "
            f"{snapshot.vendor_name} signs with: copy it again. The scheduled sync goes on meanwhile.",
            since=bad,
            action=Action("Set webhook key", "PUT", f"{snapshot.base_path}/webhook-key"),
        )


@dataclass(frozen=True, slots=True)
class ConnectionPresence:
    """`is_connected`: some picked organisation's grant was not ended. `vendors`: those with organisations here."""

    is_connected: bool
    vendors: frozenset[str]


async def read_connection_presence(session: Session) -> ConnectionPresence:
    """Return what is connected; a grant that must be renewed still counts, because its data is still shown."""
    is_connected = and_(Tenant.is_selected, Tenant.removed_at.is_(None), Grant.state != "disconnected")
    statement = select(func.bool_or(is_connected), func.array_agg(Tenant.vendor.distinct()))
    connected, vendors = (await session.execute(statement.join(Grant, Grant.id == Tenant.grant_id))).one()
    return ConnectionPresence(bool(connected), frozenset(vendors or ()))
