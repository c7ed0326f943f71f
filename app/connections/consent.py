"""The OAuth consent: from the request to connect to the callback, bound to the browser that started it."""

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from urllib.parse import quote
from uuid import UUID, uuid4

import structlog
from sqlalchemy import delete, func, select, update

from app.audit import append_audit_entry
from app.connections import reach
from app.connections.errors import InvalidReturnPath, NotConfigured
from app.connections.grant_choice import reaches_wrong_tenants
from app.connections.grants import ConsentDetails, find_grant, save_grant
from app.connections.states import ConsentCode
from app.connections.tables import Consent
from app.connections.tenants import clear_problems, list_all_tenants
from app.connections.vendor_app import VendorConfig, load_app, save_scope_set
from app.connector import Connector, ConnectorError, ConsentRequest, Organisation, ScopeRefused, TokenSet
from app.crypto import Sealer
from app.db import Database, Session

log = structlog.get_logger(__name__)

CONSENT_LIFETIME = timedelta(minutes=10)
RETURN_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*/?")
MAX_RETURN_PATH_LENGTH = 200
# What the callback's `error` means (RFC 6749, 4.1.2.1); any other is a failed exchange.
ERROR_CODES: Mapping[str, ConsentCode] = {
    "access_denied": ConsentCode.DENIED,
    "invalid_scope": ConsentCode.SCOPE_REFUSED,
    "unauthorized_client": ConsentCode.SCOPE_REFUSED,
}
CONNECTED_CODES = frozenset({ConsentCode.CONNECTED, ConsentCode.MISSING_SCOPE})


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """Who wants to connect, the frontend's path to return to, and the scope set where it is to change."""

    actor: str
    return_to: str | None = None
    scope_set: str | None = None


@dataclass(frozen=True, slots=True)
class StartedConsent:
    """Where to send the browser, and the cookie that binds the consent to it.

    Attributes:
        authorization_url: the vendor's address of the consent.
        expires_at: until when the callback is accepted.
        browser_secret: the cookie's value.
        cookie_name: the cookie's name.
        is_https: whether the browser comes back over https, so that the cookie may be `Secure`.
    """

    authorization_url: str
    expires_at: datetime
    browser_secret: str = field(repr=False)
    cookie_name: str
    is_https: bool


@dataclass(frozen=True, slots=True)
class Callback:
    """The parameters the vendor sent the browser back with, and the value of the consent's cookie."""

    state: str | None
    code: str | None = field(repr=False)
    error: str | None
    browser_secret: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConsentOutcome:
    """How a consent ended, and the frontend's path to send the browser to."""

    code: ConsentCode
    return_to: str = ""

    @property
    def is_connected(self) -> bool:
        return self.code in CONNECTED_CODES


async def start_consent(
    session: Session, sealer: Sealer, connector: Connector, config: VendorConfig, request: ConnectRequest
) -> StartedConsent:
    """Store a new consent: the hashes of its 256-bit state and browser secrets, and its encrypted PKCE verifier.

    Raises:
        NotConfigured: the client id or secret is missing.
        InvalidReturnPath: `return_to` is not a plain path.
    """
    if request.scope_set and request.scope_set != (await load_app(session, sealer, config)).scope_set:
        await save_scope_set(session, config.vendor, request.scope_set)
        details = {"scope_set": request.scope_set}
        await append_audit_entry(session, request.actor, "integration_scope_set_updated", config.vendor, details)
    app = await load_app(session, sealer, config)
    credentials = app.credentials()
    state, browser_secret, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    consent_id = uuid4()
    expires_at: datetime = (await session.scalars(select(func.wall_clock() + CONSENT_LIFETIME))).one()
    await session.execute(delete(Consent).where(Consent.expires_at < func.wall_clock() - CONSENT_LIFETIME))
    session.add(
        Consent(
            id=consent_id,
            vendor=config.vendor,
            state_hash=_digest(state),
            browser_hash=_digest(browser_secret),
            verifier_sealed=sealer.seal(verifier, verifier_associated_data(consent_id)),
            scope_set=app.scope_set,
            return_to=_normalize_return_path(request.return_to),
            started_by=request.actor,
            expires_at=expires_at,
        )
    )
    await session.flush()
    url = connector.authorization_url(
        ConsentRequest(credentials.client_id, config.redirect_uri, app.scope_set, state, verifier)
    )
    return StartedConsent(url, expires_at, browser_secret, cookie_name(state), config.is_https)


@dataclass(frozen=True, slots=True)
class ConsumedConsent:
    """A consent whose callback has come; no other callback is accepted for it.

    Attributes:
        verifier: the PKCE verifier; None where it cannot be decrypted, so that the consent cannot be finished.
    """

    return_to: str
    scope_set: str
    started_by: str
    verifier: str | None = field(repr=False)
    is_expired: bool


async def finish_consent(
    db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, callback: Callback
) -> ConsentOutcome:
    """Check the callback's state, exchange its code for tokens, list the organisations and store the grant.

    Nothing is stored unless every step succeeds.
    """
    async with db.transaction() as session:
        consent = await _consume_state(session, sealer, config.vendor, callback)
    if consent is None:
        return ConsentOutcome(ConsentCode.INVALID_STATE)
    if consent.is_expired:
        return ConsentOutcome(ConsentCode.EXPIRED_STATE, consent.return_to)
    if callback.error or not callback.code:
        return ConsentOutcome(ERROR_CODES.get(callback.error or "", ConsentCode.EXCHANGE_FAILED), consent.return_to)
    if consent.verifier is None:
        log.warning("consent_unreadable", vendor=config.vendor)
        return ConsentOutcome(ConsentCode.INVALID_STATE, consent.return_to)
    try:
        async with db.transaction() as session:
            app = (await load_app(session, sealer, config)).credentials()
        tokens = await connector.exchange_code(app, callback.code, config.redirect_uri, consent.verifier)
        organisations = await connector.list_organisations(tokens.access_token)
    except (ConnectorError, NotConfigured) as error:
        log.warning("consent_failed", vendor=config.vendor, kind=type(error).__name__, error=str(error))
        is_scope_refused = isinstance(error, ScopeRefused)
        code = ConsentCode.SCOPE_REFUSED if is_scope_refused else ConsentCode.EXCHANGE_FAILED
        return ConsentOutcome(code, consent.return_to)
    async with db.transaction() as session:
        code = await _store_grant(session, sealer, connector, consent, tokens, organisations)
    return ConsentOutcome(code, consent.return_to)


def return_url(config: VendorConfig, outcome: ConsentOutcome) -> str:
    """Return the frontend's address to send the browser to, with the outcome's code as a query parameter."""
    return f"{config.return_url}{outcome.return_to}?{config.vendor}={quote(outcome.code)}"


async def _consume_state(session: Session, sealer: Sealer, vendor: str, callback: Callback) -> ConsumedConsent | None:
    """Mark the consent as used and return it; None when it is unknown, already used, or another browser's.

    Of simultaneous callbacks with the same state, one gets the consent.
    """
    if not (callback.state and callback.browser_secret):
        return None
    is_unused = (
        Consent.vendor == vendor,
        Consent.state_hash == _digest(callback.state),
        Consent.browser_hash == _digest(callback.browser_secret),
        Consent.used_at.is_(None),
    )
    statement = update(Consent).where(*is_unused).values(used_at=func.wall_clock())
    row = await session.scalar(statement.returning(Consent))
    if row is None:
        return None
    verifier = sealer.try_open(row.verifier_sealed, verifier_associated_data(row.id))
    row.verifier_sealed = ""
    is_expired = bool(await session.scalar(select(func.wall_clock() >= row.expires_at)))
    return ConsumedConsent(row.return_to, row.scope_set, row.started_by, verifier, is_expired)


async def _store_grant(  # noqa: PLR0913, PLR0917 - the one function that needs everything a consent brings
    session: Session,
    sealer: Sealer,
    connector: Connector,
    consent: ConsumedConsent,
    tokens: TokenSet,
    organisations: Sequence[Organisation],
) -> ConsentCode:
    """Store the tokens and organisations of a consent, unless they cannot be used; return how the consent ended."""
    vendor = connector.vendor
    if not tokens.refresh_token:
        return ConsentCode.MISSING_OFFLINE_ACCESS
    reached = [organisation for organisation in organisations if organisation.has_billing]
    if not reached:
        return ConsentCode.NO_TENANTS
    if await _reaches_wrong_tenants(session, vendor, tokens, reached):
        return ConsentCode.DIFFERENT_TENANTS
    missing = connector.missing_scopes(tokens.scopes)
    lifetime = connector.profile.refresh_token_lifetime
    details = ConsentDetails(vendor, consent.scope_set, missing, consent.started_by, lifetime)
    grant_id = await save_grant(session, sealer, details, tokens)
    tenant_ids = await reach.save_reach(session, vendor, grant_id, reached)
    await reach.forget_refusals(session, grant_id)
    await reach.assign_grants(session, vendor, tenant_ids)
    await clear_problems(session, vendor, grant_id)
    names = [organisation.name for organisation in reached]
    await append_audit_entry(
        session, consent.started_by, f"{vendor}_connected", str(grant_id), {"organisations": names}
    )
    return ConsentCode.MISSING_SCOPE if missing else ConsentCode.CONNECTED


async def _reaches_wrong_tenants(
    session: Session, vendor: str, tokens: TokenSet, organisations: Sequence[Organisation]
) -> bool:
    selected = {tenant.tenant_id for tenant in await list_all_tenants(session, vendor) if tenant.is_selected}
    own = await find_grant(session, vendor, tokens.user_id)
    known = await reach.read_reach(session, vendor)
    reached = {organisation.tenant_id for organisation in organisations}
    return reaches_wrong_tenants(known, selected, own.id if own else None, reached)


def cookie_name(state: str) -> str:
    """Return the name of a consent's cookie; each has its own, so that two browser tabs can connect independently."""
    return f"consent_{_digest(state)[:16]}"


def _normalize_return_path(path: str | None) -> str:
    """Return the path without a slash at its end, or "" for none.

    Raises:
        InvalidReturnPath: it is not a plain path, which could lead to another site.
    """
    if path is None:
        return ""
    if len(path) > MAX_RETURN_PATH_LENGTH or not RETURN_PATH.fullmatch(path) or ".." in path:
        raise InvalidReturnPath("return_to must be a plain path on this site, such as /customers/42.")
    return path.rstrip("/")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def verifier_associated_data(consent_id: UUID) -> str:
    return f"consents/{consent_id}/verifier"
