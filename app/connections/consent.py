"""The consent: one attempt to connect, from the button to the redirect back, bound to the browser that began it."""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import delete, func, select, update

from app.audit import append_audit_entry
from app.connections.errors import InvalidReturnPath
from app.connections.grants import Identity, grants_of, save_grant
from app.connections.tables import Consent
from app.connections.tenants import save_organisations, tenants_of
from app.connections.vendor_app import VendorConfig, load_app, save_scope_set
from app.connector import Connector, ConnectorError, ConsentRequest, Organisation, TokenSet
from app.crypto import Sealer
from app.db import Database, Session

log = structlog.get_logger(__name__)

LIFETIME = timedelta(minutes=10)
RETURN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
LONGEST_RETURN_PATH = 200


@dataclass(frozen=True, slots=True)
class StartedConsent:
    authorization_url: str
    expires_at: datetime
    browser: str = field(repr=False)
    cookie_name: str


@dataclass(frozen=True, slots=True)
class Callback:
    """What the vendor sent the browser back with, and the cookie it carried."""

    state: str | None
    code: str | None = field(repr=False)
    error: str | None
    browser: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a consent ended: a code of the contract, and the path to send the browser back to."""

    code: str
    return_to: str = ""
    is_connected: bool = False


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What the person who pressed the button asked for."""

    actor: str
    return_to: str | None = None
    scope_set: str | None = None


async def start_consent(
    session: Session, sealer: Sealer, connector: Connector, config: VendorConfig, asked: ConnectRequest
) -> StartedConsent:
    """Prepare an attempt: 256-bit state and browser secrets, kept as hashes, and a PKCE verifier, kept sealed.

    Raises:
        NotConfigured: the client id or secret is missing.
        InvalidReturnPath: `return_to` is not a plain path.
    """
    if asked.scope_set:
        await save_scope_set(session, config.vendor, asked.scope_set)
    app = await load_app(session, sealer, config)
    credentials = app.credentials()
    state, browser, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    consent_id = uuid4()
    expires_at: datetime = (await session.scalars(select(func.wall_clock() + LIFETIME))).one()
    await session.execute(delete(Consent).where(Consent.expires_at < func.wall_clock() - LIFETIME))
    session.add(
        Consent(
            id=consent_id,
            vendor=config.vendor,
            state_hash=_digest(state),
            browser_hash=_digest(browser),
            verifier_sealed=sealer.seal(verifier, _verifier_place(consent_id)),
            scope_set=app.scope_set,
            return_to=_checked_path(asked.return_to),
            started_by=asked.actor,
            expires_at=expires_at,
        )
    )
    await session.flush()
    request = ConsentRequest(credentials.client_id, config.redirect_uri, app.scope_set, state, verifier)
    return StartedConsent(connector.authorization_url(request), expires_at, browser, cookie_name(state))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A consent taken up by its callback; nobody else can take it up again."""

    return_to: str
    scope_set: str
    started_by: str
    verifier: str = field(repr=False)
    is_expired: bool


async def finish_consent(
    db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, callback: Callback
) -> Outcome:
    """Take the browser back: check the state, trade the code, look which organisations were granted, keep it all.

    Nothing is kept unless the whole of it is good.
    """
    async with db.transaction() as session:
        attempt = await _consume_state(session, sealer, config.vendor, callback)
    if attempt is None:
        return Outcome("invalid_state")
    if attempt.is_expired:
        return Outcome("expired_state", attempt.return_to)
    if callback.error or not callback.code:
        return Outcome("denied" if callback.error == "access_denied" else "exchange_failed", attempt.return_to)
    try:
        async with db.transaction() as session:
            app = (await load_app(session, sealer, config)).credentials()
        tokens = await connector.exchange_code(app, callback.code, config.redirect_uri, attempt.verifier)
        organisations = await connector.list_organisations(tokens.access_token)
    except ConnectorError as error:
        log.warning("consent_failed", vendor=config.vendor, kind=type(error).__name__, error=error.detail)
        return Outcome("exchange_failed", attempt.return_to)
    async with db.transaction() as session:
        code = await _store_grant(session, sealer, connector, attempt, tokens, organisations)
    return Outcome(code, attempt.return_to, code in {"connected", "missing_scope"})


async def _consume_state(session: Session, sealer: Sealer, vendor: str, callback: Callback) -> Attempt | None:
    """Use the state once: of twenty callbacks at one moment, one gets it. Another browser's cookie uses nothing up."""
    if not (callback.state and callback.browser):
        return None
    mine = (
        Consent.vendor == vendor,
        Consent.state_hash == _digest(callback.state),
        Consent.browser_hash == _digest(callback.browser),
        Consent.used_at.is_(None),
    )
    statement = update(Consent).where(*mine).values(used_at=func.wall_clock())
    row = await session.scalar(statement.returning(Consent))
    if row is None:
        return None
    verifier = sealer.open(row.verifier_sealed, _verifier_place(row.id))
    row.verifier_sealed = ""
    is_expired = bool(await session.scalar(select(func.wall_clock() >= row.expires_at)))
    return Attempt(row.return_to, row.scope_set, row.started_by, verifier, is_expired)


async def _store_grant(  # noqa: PLR0913, PLR0917 - the one place where all that a consent brought comes together
    session: Session,
    sealer: Sealer,
    connector: Connector,
    attempt: Attempt,
    tokens: TokenSet,
    organisations: Sequence[Organisation],
) -> str:
    vendor = connector.vendor
    if not tokens.refresh_token:
        return "missing_offline_access"
    reached = [organisation for organisation in organisations if organisation.has_billing]
    if not reached:
        return "no_tenants"
    if await _reaches_other_tenants(session, vendor, reached):
        return "different_tenants"
    missing = connector.missing_scopes(tokens.scopes)
    identity = Identity(vendor, attempt.scope_set, missing, attempt.started_by)
    grant_id = await save_grant(session, sealer, identity, tokens)
    await save_organisations(session, vendor, grant_id, reached)
    names = [organisation.name for organisation in reached]
    await append_audit_entry(
        session, attempt.started_by, f"{vendor}_connected", str(grant_id), {"organisations": names}
    )
    return "missing_scope" if missing else "connected"


async def _reaches_other_tenants(session: Session, vendor: str, reached: Sequence[Organisation]) -> bool:
    """Say whether a reconnect reached none of the picked organisations that wait for one.

    A second user who adds organisations beside a living connection is welcome; one who answers a call to reconnect
    with quite different books has most likely picked the wrong ones, and nothing may be written over the old.
    """
    waiting = {grant.id for grant in await grants_of(session, vendor) if grant.state == "reconnect_required"}
    picked = {row.tenant_id for row in await tenants_of(session, vendor) if row.is_selected and row.grant_id in waiting}
    return bool(picked) and picked.isdisjoint(organisation.tenant_id for organisation in reached)


def cookie_name(state: str) -> str:
    """Return the name of the cookie of one attempt; each has its own, so that two tabs do not spoil each other's."""
    return f"consent_{_digest(state)[:16]}"


def _checked_path(path: str | None) -> str:
    if path is None:
        return ""
    if len(path) > LONGEST_RETURN_PATH or not RETURN_PATH.fullmatch(path) or ".." in path:
        raise InvalidReturnPath("return_to must be a plain path on this site, such as /customers/42.")
    return path.rstrip("/")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _verifier_place(consent_id: UUID) -> str:
    return f"consents/{consent_id}/verifier"
