"""The status of a vendor's connection: its state and the banners that say what is wrong and what to do."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from uuid import UUID

from sqlalchemy import Select, and_, func, select

from app.connections.grant_choice import Candidate, TenantReach, find_last_to_expire
from app.connections.reach import candidate_of, is_connected
from app.connections.sealed_columns import SecretKind
from app.connections.snapshot import Action, Banner, ConnectionSnapshot
from app.connections.states import BannerCode, ConnectionState, GrantState, Severity
from app.connections.tables import Grant, Tenant
from app.connections.unreadable_secrets import UnreadableSecrets
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
        *_notification_banners(snapshot),
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
            grant_id=grant.id,
            concerned=_tenants_to_renew(snapshot, grant),
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
                grant_id=grant.id,
            )
    for grant in _grants_to_expire(snapshot):
        if grant.refresh_expires_at:
            yield from _expiry_banner(snapshot, grant, grant.refresh_expires_at, now)


def _tenants_to_renew(snapshot: ConnectionSnapshot, grant: Grant) -> frozenset[str]:
    """Return the ids of the selected tenants that cannot be read until this grant is renewed."""
    to_renew = {tenant_id: reach.choose_to_renew() for tenant_id, reach in snapshot.reach.items()}
    selected = {tenant.tenant_id for tenant in snapshot.tenants if tenant.is_selected}
    return frozenset(
        tenant_id for tenant_id in selected if (one := to_renew.get(tenant_id)) and one.grant_id == grant.id
    )


def _expiry_banner(snapshot: ConnectionSnapshot, grant: Grant, expires_at: datetime, now: datetime) -> Iterable[Banner]:
    for remaining, code, severity in EXPIRY_BANNERS:
        if expires_at - now <= remaining:
            yield Banner(
                code,
                severity,
                f"{snapshot.vendor_name} connection expires on {expires_at:%d %b}",
                "Reconnect before then and nothing is interrupted. Takes about 10 seconds.",
                until=expires_at,
                action=snapshot.reconnect_action,
                grant_id=grant.id,
            )
            return


def _tenant_banners(snapshot: ConnectionSnapshot, now: datetime) -> Iterable[Banner]:
    """Yield the banners of each selected tenant: what holds its sync up, and that its data are old."""
    for tenant in snapshot.tenants:
        if not tenant.is_selected:
            continue
        if banner := _problem_banner(snapshot, tenant, now):
            yield banner
        elif tenant.data_as_of is None:
            yield _first_sync_banner(tenant)
        if _is_stale(snapshot, tenant, now) and not (banner and banner.code in RECONNECT_CODES):
            yield _stale_banner(tenant)


def _is_stale(snapshot: ConnectionSnapshot, tenant: Tenant, now: datetime) -> bool:
    """Return whether a tenant that can be read was not synced whole for too long.

    After a reconnect the time counts from there, so that nobody is notified of old data while they are being read.
    """
    best = snapshot.reach.get(tenant.tenant_id, TenantReach()).choose()
    if snapshot.stale_after is None or tenant.data_as_of is None or best is None:
        return False
    return now - max(tenant.data_as_of, best.connected_at) > snapshot.stale_after


def _stale_banner(tenant: Tenant) -> Banner:
    return Banner(
        BannerCode.DATA_STALE,
        Severity.WARNING,
        f"{tenant.name}: the figures are of {tenant.data_as_of:%d %b %Y, %H:%M} UTC",
        "No sync has come to its end for a while, so the newest invoices and payments are missing. Press Sync now; if"
        " that does not help, Recent runs show what stops it.",
        tenant_id=tenant.tenant_id,
        since=tenant.data_as_of,
        tenant_name=tenant.name,
        grant_id=tenant.grant_id,
    )


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
        tenant_name=tenant.name,
        grant_id=tenant.grant_id,
    )


def _first_sync_banner(tenant: Tenant) -> Banner:
    return Banner(
        BannerCode.FIRST_SYNC,
        Severity.INFO,
        f"Bringing in the history of {tenant.name}",
        "You can use the rest meanwhile; figures are complete once this is done.",
        tenant_id=tenant.tenant_id,
        since=tenant.created_at,
        tenant_name=tenant.name,
    )


def _notification_banners(snapshot: ConnectionSnapshot) -> Iterable[Banner]:
    if not snapshot.failing_addresses:
        return
    failures = " ".join(f"{one.name}: {one.reason}" for one in snapshot.failing_addresses)
    yield Banner(
        BannerCode.NOTIFICATIONS_FAILING,
        Severity.WARNING,
        "Messages to people cannot be delivered",
        f"{failures} They are tried again for three days. Correct the address in NOTIFY_URLS and restart, or wait where"
        " the server is only away.",
        since=min(one.since for one in snapshot.failing_addresses),
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
    if snapshot.events_given_up:
        yield Banner(
            BannerCode.WEBHOOK_EVENTS_GIVEN_UP,
            Severity.WARNING,
            f"Webhook events that were given up: {snapshot.events_given_up}",
            f"The records that they name could not be read from {snapshot.vendor_name}. The scheduled sync reads the"
            " same changes, so the figures are most likely complete. Look at the events, and replay or dismiss them.",
            since=snapshot.first_given_up_at,
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
    connected, vendors = (await session.execute(_presence_statement())).one()
    return ConnectionPresence(bool(connected), frozenset(vendors or ()))


@cache
def _presence_statement() -> Select[bool | None, Sequence[str] | None]:
    synced = and_(Tenant.is_selected, Tenant.removed_at.is_(None), is_connected())
    return select(func.bool_or(synced), func.array_agg(Tenant.vendor.distinct()))
