"""The pre-flight check: tests everything a sync needs without changing anything, and says how to fix what fails."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.connections import grants, tenants, vendor_app
from app.connections.states import GrantState
from app.connections.tables import Grant, Tenant
from app.connections.tokens import AccessTokens
from app.connections.vendor_app import App, VendorConfig
from app.connector import Connector, ConnectorError
from app.crypto import SealBroken, Sealer
from app.db import Database


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
    db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, tokens: AccessTokens
) -> Preflight:
    """Check credentials, redirect URI, connection, scopes, organisations and webhook key, in the order of the set-up.

    Args:
        db: where the set-up is stored.
        sealer: decrypts the credentials and keys.
        connector: the vendor, which is asked for its organisations.
        config: the vendor's app as the environment describes it.
        tokens: the access tokens of the vendor's grants.
    """
    try:
        async with db.transaction() as session:
            app = await vendor_app.load_app(session, sealer, config)
            found = await grants.list_grants(session, connector.vendor)
            reached = await tenants.list_all_tenants(session, connector.vendor)
            keys = await vendor_app.signing_keys(session, sealer, config)
    except SealBroken as error:
        broken = Check(
            "encryption_keys", ok=False, detail=str(error), fix="Put the missing key back into ENCRYPTION_KEYS."
        )
        return Preflight(ok=False, summary=broken.detail, checks=[broken])
    visible = await _visible(connector, tokens, found)
    checks = [
        _credentials(app),
        _redirect(config.redirect_uri),
        visible,
        _scopes(found),
        _selection(reached),
        _webhook(keys),
    ]
    failed = [one for one in checks if not one.ok]
    return Preflight(not failed, failed[0].detail if failed else visible.detail, checks)


def _credentials(app: App) -> Check:
    ok = bool(app.client_id and app.client_secret)
    detail = f"Client id and secret are set ({app.managed_by})." if ok else "Client id and secret are missing."
    return Check("credentials", ok, detail, None if ok else "Enter those of your app on the set-up page.")


def _redirect(uri: str) -> Check:
    """Check that browsers are sent back over https; vendors accept http for `localhost` alone."""
    parts = urlsplit(uri)
    ok = parts.scheme == "https" or parts.hostname == "localhost"
    detail = f"The redirect URI is {uri}."
    fix = "Set PUBLIC_URL to an https address, or to http://localhost for a trial."
    return Check("redirect_uri", ok, detail, None if ok else fix)


async def _visible(connector: Connector, tokens: AccessTokens, found: Sequence[Grant]) -> Check:
    """Check that the vendor answers every active grant with its organisations."""
    name = connector.profile.name
    active = [grant for grant in found if grant.state == GrantState.ACTIVE]
    if not active:
        return Check("connection", ok=False, detail=f"{name} is not connected.", fix=f"Press Connect {name}.")
    seen: set[str] = set()
    try:
        for grant in active:
            token = await tokens.access(grant.id)
            organisations = await connector.list_organisations(token)
            seen |= {organisation.tenant_id for organisation in organisations if organisation.has_billing}
    except ConnectorError as error:
        return Check("connection", ok=False, detail=error.detail, fix=f"If it lasts, press Reconnect {name}.")
    return Check("connection", ok=True, detail=f"Connected to {name}: {len(seen)} organisations visible.")


def _scopes(found: Sequence[Grant]) -> Check:
    missing = sorted({scope for grant in found if grant.state == GrantState.ACTIVE for scope in grant.missing_scopes})
    detail = f"Missing: {', '.join(missing)}." if missing else "Every scope that is needed was granted."
    return Check("scopes", not missing, detail, "Review permissions: connect again." if missing else None)


def _selection(reached: Sequence[Tenant]) -> Check:
    count = sum(tenant.is_selected and tenant.removed_at is None for tenant in reached)
    fix = None if count else "Pick at least one; nothing syncs before."
    return Check("organisations", bool(count), f"{count} organisations are selected.", fix)


def _webhook(keys: Sequence[str]) -> Check:
    """Report the key, which is optional: without it changes come with the next tick instead of within seconds."""
    if keys:
        return Check("webhook_key", ok=True, detail="A webhook signing key is set.")
    fix = "Copy the key from the app's Webhooks page to see changes within seconds."
    return Check(
        "webhook_key", ok=True, detail="No webhook signing key is set; changes come with the next tick.", fix=fix
    )
