"""The status of a vendor's connection: its state and the banners that say what is wrong and what to do."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, func, select

from app.connections.grant_choice import Candidate, TenantReach, find_last_to_expire
from app.connections.reach import candidate_of, is_connected
from app.connections.sealed_columns import SecretKind
from app.connections.states import BannerCode, ConnectionState, GrantState, Severity
from app.connections.tables import Grant, Tenant
from app.connections.unreadable_secrets import UnreadableSecrets
from app.connections.vendor_app import App
from app.db import Session

# How long before a refresh token expires its banner appears; the most urgent comes first.
EXPIRY_BANNERS = (
    (timedelta(days=2), BannerCode.TOKEN_EXPIRING_2D, Severity.CRITICAL),
    (timedelta(days=7), BannerCode.TOKEN_EXPIRING_7D, Severity.WARNING),
)
TENANT_BANNERS: Mapping[str, tuple[Severity, str]] = {
    BannerCode.RATE_LIMITED_MINUTE: (Severity.INFO, "{name} is waiting for {vendor}'s minute limit"),
    BannerCode.RATE_LIMITED_DAY: (Severity.WARNING, "{name} has used its {vendor} calls for today"),
    BannerCode.TENANT_FORBIDDEN: (Severity.CRITICAL, "{name} no longer grants access"),
    BannerCode.TENANT_REMOVED: (Severity.CRITICAL, "{name} was removed in {vendor}"),
    BannerCode.VENDOR_UNAVAILABLE: (Severity.WARNING, "{vendor} is not answering for {name}"),
    BannerCode.PARTIAL_SYNC: (Severity.WARNING, "{name}: some records need a look"),
}
RECONNECT_CODES = frozenset({BannerCode.TENANT_FORBIDDEN, BannerCode.TENANT_REMOVED})
REMOVED_MESSAGE = (
    "Nobody who connected {vendor} has access to this organisation any more. Connect again to refresh the list."
)
# Xero sends wrongly signed probes on purpose, so failures alone mean nothing while correctly signed deliveries arrive.
SIGNATURE_FAILURE_DELAY = timedelta(hours=1)


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
    """

    code: BannerCode
    severity: Severity
    title: str
    body: str
    tenant_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    action: Action | None = None


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

    @property
    def reconnect_action(self) -> Action:
        return Action(f"Reconnect {self.vendor_name}", "POST", f"{self.base_path}/connect")


def determine_state(snapshot: ConnectionSnapshot) -> ConnectionState:
    """Return the first step of the set-up that is not done, or the problem that stops the connection."""
    if not (snapshot.app.client_id and snapshot.app.client_secret):
        return ConnectionState.NOT_CONFIGURED
    if not _connected_grants(snapshot):
        return ConnectionState.NOT_CONNECTED
    if _grants_to_renew(snapshot):
        return ConnectionState.RECONNECT_REQUIRED
    if any(grant.missing_scopes for grant in _grants_in_use(snapshot)):
        return ConnectionState.NEEDS_PERMISSION
    is_any_selected = any(tenant.is_selected for tenant in snapshot.tenants)
    return ConnectionState.CONNECTED if is_any_selected else ConnectionState.CHOOSE_TENANTS


def find_main_grant(snapshot: ConnectionSnapshot) -> Grant | None:
    """Return the grant whose user, scopes and expiry the status shows: first one with a problem, then one in use."""
    in_use = _grants_in_use(snapshot)
    lacking = [grant for grant in in_use if grant.missing_scopes]
    others = sorted(_connected_grants(snapshot), key=lambda grant: grant.state != GrantState.ACTIVE)
    return next(iter([*_grants_to_renew(snapshot), *lacking, *in_use, *others]), None)


def list_banners(snapshot: ConnectionSnapshot, now: datetime) -> list[Banner]:
    """Return the banners, the most severe first; a problem of a grant is one banner, however many tenants it has."""
    banners = [
        *_secret_banners(snapshot),
        *_grant_banners(snapshot, now),
        *_tenant_banners(snapshot, now),
        *_webhook_banners(snapshot),
    ]
    rank = {Severity.CRITICAL: 0, Severity.WARNING: 1, Severity.INFO: 2}
    return sorted(banners, key=lambda banner: rank[banner.severity])


def _connected_grants(snapshot: ConnectionSnapshot) -> list[Grant]:
    return [grant for grant in snapshot.grants if grant.state != GrantState.DISCONNECTED]


def list_needed_reach(
    grants: Sequence[Grant],
    tenants: Sequence[Tenant],
    reach: Mapping[str, TenantReach],
    unreadable: Collection[UUID] = (),
) -> list[TenantReach]:
    """Return the grants of each selected tenant; a grant on which none of them depends concerns nobody.

    Where no tenant is selected the connection as a whole is as good as its best grant.

    Args:
        grants: every grant of the vendor.
        tenants: every tenant of the vendor.
        reach: the grants that reach each tenant, by tenant id.
        unreadable: grants whose tokens cannot be decrypted.
    """
    selected = [tenant.tenant_id for tenant in tenants if tenant.is_selected and tenant.removed_at is None]
    if selected:
        return [reach[tenant_id] for tenant_id in selected if tenant_id in reach]
    connected = [grant for grant in grants if grant.state != GrantState.DISCONNECTED]
    return [TenantReach(None, [candidate_of(grant, is_readable=grant.id not in unreadable) for grant in connected])]


def _needed_reach(snapshot: ConnectionSnapshot) -> list[TenantReach]:
    return list_needed_reach(snapshot.grants, snapshot.tenants, snapshot.reach, snapshot.unreadable.grant_ids)


def _grants_to_renew(snapshot: ConnectionSnapshot) -> list[Grant]:
    """Return the grants that need a new consent because a tenant depends on them and no other reaches it."""
    if not _connected_grants(snapshot):
        return []
    return _grants_of(snapshot, [reach.choose_to_renew() for reach in _needed_reach(snapshot)])


def _grants_in_use(snapshot: ConnectionSnapshot) -> list[Grant]:
    return _grants_of(snapshot, [reach.choose() for reach in _needed_reach(snapshot)])


def _grants_to_expire(snapshot: ConnectionSnapshot) -> list[Grant]:
    """Return the last grant to expire of each tenant, after which it cannot be read any more."""
    chosen = [(reach, reach.choose()) for reach in _needed_reach(snapshot)]
    return _grants_of(snapshot, [best and find_last_to_expire(reach.candidates, best) for reach, best in chosen])


def _grants_of(snapshot: ConnectionSnapshot, candidates: Iterable[Candidate | None]) -> list[Grant]:
    """Return the grants of these candidates, each once, the newest consent first."""
    ids = {candidate.grant_id for candidate in candidates if candidate}
    return [grant for grant in snapshot.grants if grant.id in ids]


def _secret_banners(snapshot: ConnectionSnapshot) -> Iterable[Banner]:
    """Yield a banner for missing keys, and one for secrets that were altered or sealed with another key of the id."""
    missing, altered = snapshot.unreadable.of_missing_keys(), snapshot.unreadable.of_known_keys()
    title = f"Encryption key missing: {', '.join(missing.missing_keys)}"
    for found, code, text in (
        (missing, BannerCode.ENCRYPTION_KEY_MISSING, title),
        (altered, BannerCode.SECRETS_UNREADABLE, "Stored secrets cannot be decrypted"),
    ):
        if found.secrets:
            severity = Severity.INFO if found.is_transient else Severity.CRITICAL
            yield Banner(code, severity, text, found.describe(), action=_repair_action(snapshot, found))


def _repair_action(snapshot: ConnectionSnapshot, found: UnreadableSecrets) -> Action | None:
    """Return the first step of the repair where the right key is lost."""
    actions = {
        SecretKind.CLIENT_SECRET: Action("Enter client secret", "PUT", f"{snapshot.base_path}/credentials"),
        SecretKind.TOKENS: snapshot.reconnect_action,
        SecretKind.SIGNING_KEY: Action("Set webhook key", "PUT", f"{snapshot.base_path}/webhook-key"),
    }
    return next((action for kind, action in actions.items() if kind in found.kinds), None)


def _grant_banners(snapshot: ConnectionSnapshot, now: datetime) -> Iterable[Banner]:
    name = snapshot.vendor_name
    for grant in _grants_to_renew(snapshot):
        is_unreadable = grant.state == GrantState.ACTIVE
        reason = "The stored tokens cannot be decrypted." if is_unreadable else grant.reason or ""
        yield Banner(
            BannerCode.RECONNECT_REQUIRED,
            Severity.CRITICAL,
            f"{name} needs reconnecting",
            f"Connect {name} again. {reason} Your data is safe and stays readable.",
            since=None if is_unreadable else grant.state_since,
            action=snapshot.reconnect_action,
        )
    for grant in _grants_in_use(snapshot):
        if grant.missing_scopes:
            yield Banner(
                BannerCode.NEEDS_PERMISSION,
                Severity.CRITICAL,
                "One more permission needed",
                f"The connection lacks: {', '.join(grant.missing_scopes)}. Access stays read-only.",
                since=grant.connected_at,
                action=Action("Review permissions", "POST", f"{snapshot.base_path}/connect"),
            )
    for grant in _grants_to_expire(snapshot):
        if grant.refresh_expires_at:
            yield from _expiry_banner(snapshot, grant.refresh_expires_at, now)


def _expiry_banner(snapshot: ConnectionSnapshot, expires_at: datetime, now: datetime) -> Iterable[Banner]:
    for remaining, code, severity in EXPIRY_BANNERS:
        if expires_at - now <= remaining:
            yield Banner(
                code,
                severity,
                f"{snapshot.vendor_name} connection expires on {expires_at:%d %b}",
                "Reconnect before then and nothing is interrupted. Takes about 10 seconds.",
                until=expires_at,
                action=snapshot.reconnect_action,
            )
            return


def _tenant_banners(snapshot: ConnectionSnapshot, now: datetime) -> Iterable[Banner]:
    """Yield at most one banner for each selected tenant."""
    for tenant in snapshot.tenants:
        if not tenant.is_selected:
            continue
        if banner := _problem_banner(snapshot, tenant, now):
            yield banner
        elif tenant.data_as_of is None:
            yield _first_sync_banner(tenant)


def _problem_banner(snapshot: ConnectionSnapshot, tenant: Tenant, now: datetime) -> Banner | None:
    """Return the banner of what is wrong with a tenant; None when nothing is, or only a pause was that has ended."""
    code = BannerCode.TENANT_REMOVED if tenant.removed_at else tenant.reason_code
    # A pause that began before the organisation was removed does not end the removal.
    until = None if tenant.removed_at else tenant.paused_until
    if code is None or code not in TENANT_BANNERS or (until and until <= now):
        return None
    severity, title = TENANT_BANNERS[code]
    removed = REMOVED_MESSAGE.format(vendor=snapshot.vendor_name)
    return Banner(
        BannerCode(code),
        severity,
        title.format(name=tenant.name, vendor=snapshot.vendor_name),
        removed if tenant.removed_at else tenant.reason_message or "",
        tenant_id=tenant.tenant_id,
        since=tenant.removed_at or tenant.reason_since,
        until=until,
        action=snapshot.reconnect_action if code in RECONNECT_CODES else None,
    )


def _first_sync_banner(tenant: Tenant) -> Banner:
    return Banner(
        BannerCode.FIRST_SYNC,
        Severity.INFO,
        f"Bringing in the history of {tenant.name}",
        "You can use the rest meanwhile; figures are complete once this is done.",
        tenant_id=tenant.tenant_id,
        since=tenant.created_at,
    )


def _webhook_banners(snapshot: ConnectionSnapshot) -> Iterable[Banner]:
    good, bad = snapshot.last_good_delivery_at, snapshot.last_mismatch_at
    if bad and (good is None or bad > good + SIGNATURE_FAILURE_DELAY):
        yield Banner(
            BannerCode.WEBHOOK_SIGNATURE_MISMATCH,
            Severity.WARNING,
            "Webhook deliveries are not signed with our key",
            f"{snapshot.signature_mismatches} deliveries were refused in 24 hours. The signing key here is not the one "
            f"{snapshot.vendor_name} signs with: copy it again. The scheduled sync goes on meanwhile.",
            since=bad,
            action=Action("Set webhook key", "PUT", f"{snapshot.base_path}/webhook-key"),
        )


@dataclass(frozen=True, slots=True)
class ConnectionPresence:
    """Whether anything is connected, and what.

    Attributes:
        is_connected: at least one selected tenant has a grant that is not disconnected.
        vendors: the vendors that have tenants.
    """

    is_connected: bool
    vendors: frozenset[str]


async def read_connection_presence(session: Session) -> ConnectionPresence:
    """Return what is connected; a grant that needs a reconnect still counts, because its data is still shown."""
    synced = and_(Tenant.is_selected, Tenant.removed_at.is_(None), is_connected())
    statement = select(func.bool_or(synced), func.array_agg(Tenant.vendor.distinct()))
    connected, vendors = (await session.execute(statement)).one()
    return ConnectionPresence(bool(connected), frozenset(vendors or ()))
