"""The pre-flight check: tests everything a sync needs without changing anything, and says how to fix what fails."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import UUID

from app.connections import grants, reach, status, tenants, vendor_app
from app.connections.grant_choice import TenantReach
from app.connections.reach_reader import ReachReader
from app.connections.states import GrantState
from app.connections.tables import Grant, Tenant
from app.connections.vendor_app import App, VendorConfig
from app.connector import Connector, ConnectorError
from app.crypto import SealBroken, Sealer
from app.db import Database, Session


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `fix` says what to do when it failed."""

    name: str
    ok: bool
    detail: str
    fix: str | None = None


@dataclass(frozen=True, slots=True)
class Preflight:
    """The results of all checks; `summary` is the first failure, or what the vendor lets us see."""

    ok: bool
    summary: str
    checks: Sequence[Check]


async def check(
    db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, reach_reader: ReachReader
) -> Preflight:
    """Check credentials, redirect URI, connections, scopes, organisations and webhook key, in the order of the set-up.

    Args:
        db: where the set-up is stored.
        sealer: decrypts the credentials and keys.
        connector: the vendor, which is asked for its organisations.
        config: the vendor's app as the environment describes it.
        reach_reader: reads which organisations each of the vendor's grants reaches.
    """
    try:
        async with db.transaction() as session:
            app = await vendor_app.load_app(session, sealer, config)
            found = await grants.list_grants(session, connector.vendor)
            keys = await vendor_app.signing_keys(session, sealer, config)
    except SealBroken as error:
        broken = Check(
            "encryption_keys", ok=False, detail=str(error), fix="Put the missing key back into ENCRYPTION_KEYS."
        )
        return Preflight(ok=False, summary=broken.detail, checks=[broken])
    answers = await _ask_each(found, reach_reader)
    async with db.transaction() as session:
        connection = await _read_connection(session, connector.vendor, answers)
    visible = _check_connection(connector.profile.name, connection)
    checks = [
        _check_credentials(app),
        _check_redirect_uri(config.redirect_uri),
        visible,
        *_each_grant(connector.profile.name, connection),
        _check_scopes(connection),
        _check_selection(connection),
        _check_webhook_key(keys),
    ]
    failed = [one for one in checks if not one.ok]
    return Preflight(not failed, failed[0].detail if failed else visible.detail, checks)


@dataclass(frozen=True, slots=True)
class StoredConnection:
    """What the vendor answered, and what is stored after it.

    Attributes:
        grants: the grants that are not disconnected, the newest consent first.
        tenants: every tenant.
        reach: the grants of each tenant, by tenant id.
        answers: of each grant that was asked, the ids of its organisations or why they could not be read.
    """

    grants: Sequence[Grant]
    tenants: Sequence[Tenant]
    reach: Mapping[str, TenantReach]
    answers: Mapping[UUID, AbstractSet[str] | str]

    def unread_tenants(self) -> list[Tenant]:
        """Return the selected tenants that no living grant reaches."""
        selected = [tenant for tenant in self.tenants if tenant.is_selected]
        return [tenant for tenant in selected if self.reach.get(tenant.tenant_id, TenantReach()).choose() is None]


async def _ask_each(found: Sequence[Grant], reach_reader: ReachReader) -> dict[UUID, AbstractSet[str] | str]:
    """Return, of each active grant, the organisations it reaches, or why the vendor did not say."""
    answers: dict[UUID, AbstractSet[str] | str] = {}
    for grant in found:
        if grant.state == GrantState.ACTIVE:
            try:
                answers[grant.id] = {organisation.tenant_id for organisation in await reach_reader.read(grant.id)}
            except (ConnectorError, SealBroken) as error:
                answers[grant.id] = str(error)
    return answers


async def _read_connection(
    session: Session, vendor: str, answers: Mapping[UUID, AbstractSet[str] | str]
) -> StoredConnection:
    connected = [row for row in await grants.list_grants(session, vendor) if row.state != GrantState.DISCONNECTED]
    rows = await tenants.list_all_tenants(session, vendor)
    return StoredConnection(connected, rows, await reach.read_reach(session, vendor), answers)


def _check_credentials(app: App) -> Check:
    ok = bool(app.client_id and app.client_secret)
    detail = f"Client id and secret are set ({app.managed_by})." if ok else "Client id and secret are missing."
    return Check("credentials", ok, detail, None if ok else "Enter those of your app on the set-up page.")


def _check_redirect_uri(uri: str) -> Check:
    """Check that browsers are sent back over https; vendors accept http for `localhost` alone."""
    parts = urlsplit(uri)
    ok = parts.scheme == "https" or parts.hostname == "localhost"
    detail = f"The redirect URI is {uri}."
    fix = "Set PUBLIC_URL to an https address, or to http://localhost for a trial."
    return Check("redirect_uri", ok, detail, None if ok else fix)


def _check_connection(name: str, connection: StoredConnection) -> Check:
    """Check that the vendor lists organisations for at least one grant."""
    lists = [answer for answer in connection.answers.values() if not isinstance(answer, str)]
    if lists:
        seen: set[str] = set().union(*lists)
        return Check("connection", ok=True, detail=f"Connected to {name}: {len(seen)} organisations visible.")
    if reasons := [answer for answer in connection.answers.values() if isinstance(answer, str)]:
        return Check("connection", ok=False, detail=reasons[0], fix=f"If it lasts, press Reconnect {name}.")
    return Check("connection", ok=False, detail=f"{name} is not connected.", fix=f"Press Connect {name}.")


def _each_grant(name: str, connection: StoredConnection) -> list[Check]:
    """Say of each grant, where there are several, what it reaches or why it cannot be used."""
    if len(connection.grants) < 2:  # noqa: PLR2004 - the check of the connection says it all
        return []
    return [_one_grant(name, connection, grant) for grant in connection.grants]


def _one_grant(name: str, connection: StoredConnection, grant: Grant) -> Check:
    """A grant that cannot be used fails only if a selected organisation can be read through no other."""
    who = f"Connected by {grant.connected_by} on {grant.connected_at:%d %b %Y}"
    answer = connection.answers.get(grant.id, grant.reason or f"{name} no longer accepts it.")
    if not isinstance(answer, str):
        return Check("grant", ok=True, detail=f"{who}: {len(answer)} organisations visible.")
    waiting = [tenant.name for tenant in connection.tenants if tenant.is_selected and _needs(connection, tenant, grant)]
    detail = f"{who}: it cannot be used. {answer}"
    if not waiting:
        return Check("grant", ok=True, detail=f"{detail} No picked organisation depends on it.")
    fix = f"Have the same user of {name} connect again, or another one who has access to {', '.join(waiting[:5])}."
    return Check("grant", ok=False, detail=detail, fix=fix)


def _needs(connection: StoredConnection, tenant: Tenant, grant: Grant) -> bool:
    """Return whether a tenant that this grant reaches can be read through no other grant."""
    known = connection.reach.get(tenant.tenant_id, TenantReach())
    reaches = any(one.grant_id == grant.id and one.is_listed for one in known.candidates)
    return reaches and known.choose([grant.id]) is None


def _check_scopes(connection: StoredConnection) -> Check:
    """Check the grants that selected organisations are read through, each the best one that reaches it."""
    needed = status.list_needed_reach(connection.grants, connection.tenants, connection.reach)
    chosen = [best for known in needed if (best := known.choose())]
    missing = sorted({scope for best in chosen for scope in best.missing_scopes})
    detail = f"Missing: {', '.join(missing)}." if missing else "Every scope that is needed was granted."
    return Check("scopes", not missing, detail, "Review permissions: connect again." if missing else None)


def _check_selection(connection: StoredConnection) -> Check:
    if unread := connection.unread_tenants():
        names = ", ".join(tenant.name for tenant in unread[:5])
        detail = f"{len(unread)} picked organisations cannot be read, because no connection reaches them: {names}."
        fix = "Connect again as a user who has access to them, or pick others."
        return Check("organisations", ok=False, detail=detail, fix=fix)
    count = sum(tenant.is_selected for tenant in connection.tenants)
    hint = None if count else "Pick at least one; nothing syncs before."
    return Check("organisations", bool(count), f"{count} organisations are selected.", hint)


def _check_webhook_key(keys: Sequence[str]) -> Check:
    """Report the key, which is optional: without it changes come with the next tick instead of within seconds."""
    if keys:
        return Check("webhook_key", ok=True, detail="A webhook signing key is set.")
    fix = "Copy the key from the app's Webhooks page to see changes within seconds."
    return Check(
        "webhook_key", ok=True, detail="No webhook signing key is set; changes come with the next tick.", fix=fix
    )
