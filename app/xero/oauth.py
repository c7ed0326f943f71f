"""Xero's OAuth: scope sets, the authorization URL, and the requests to the token endpoint."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote, urlencode

import httpx
import msgspec
from msgspec import Struct

from app.billing.records import Resource
from app.connector import (
    AnswerUnreadable,
    AppCredentials,
    AppRejected,
    ConnectorError,
    ConsentRequest,
    GrantRefused,
    RequestRejected,
    ScopeRefused,
    TokenSet,
    VendorUnavailable,
)
from app.xero.client import TIMEOUT, Response, send
from app.xero.errors import clean, rate_limited
from app.xero.parsing import Unreadable, read_text, require
from app.xero.wire import UNREADABLE

IDENTITY = ("openid", "profile", "email", "offline_access")
# An app made on or after 2 March 2026 may not ask for `accounting.transactions.read`; older ones may until it ends.
SCOPE_SETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "broad": (*IDENTITY, "accounting.transactions.read", "accounting.contacts.read"),
        "granular": (
            *IDENTITY,
            "accounting.invoices.read",
            "accounting.payments.read",
            "accounting.contacts.read",
        ),
    }
)
BROAD = "accounting.transactions.read"
GRANULAR = frozenset({"accounting.invoices.read", "accounting.payments.read"})
ALWAYS_NEEDED = frozenset({"offline_access", "accounting.contacts.read"})

REJECTED = (
    "Xero does not accept this app ({word}): check the client id, the secret, the redirect URI and the scope set."
)
# Only these words, in JSON and under these statuses, mean that a grant or an app is refused. A proxy's page, an outage
# or a broken connection does not, and reading one as a refusal would make users reconnect for no reason.
WORDS: Mapping[str, tuple[type[ConnectorError], str]] = MappingProxyType(
    {
        "invalid_grant": (GrantRefused, "Xero no longer accepts this code or refresh token; connect Xero again."),
        "invalid_client": (AppRejected, REJECTED),
        # Xero answers either to an app that may not ask for a scope, such as the broad one since 2 March 2026.
        "unauthorized_client": (ScopeRefused, REJECTED),
        "invalid_scope": (ScopeRefused, REJECTED),
        "unsupported_grant_type": (AppRejected, REJECTED),
        "unsupported_response_type": (AppRejected, REJECTED),
    }
)
BAD_REQUEST, UNAUTHORIZED, REQUEST_TIMEOUT, TOO_MANY, SERVER_ERROR = 400, 401, 408, 429, 500
OK, NO_CONTENT = 200, 204
# Sent as a refresh token to learn whether Xero knows an app; Xero has never issued it.
NEVER_ISSUED = "never-issued"


class TokenResponse(Struct):
    access_token: str
    expires_in: int
    refresh_token: str | None = None
    scope: str | None = None


class Claims(Struct):
    xero_userid: str
    authentication_event_id: str | None = None
    scope: list[str] | str | None = None


class OAuthError(Struct):
    error: str = ""


def read_scope_set(name: str) -> tuple[str, ...]:
    """Return the scopes of a named set, in the order they are asked for.

    Raises:
        AppRejected: there is no set of that name.
    """
    try:
        return SCOPE_SETS[name]
    except KeyError:
        raise AppRejected("There is no such scope set; choose `broad` or `granular`.") from None


def find_missing_scopes(granted: frozenset[str]) -> frozenset[str]:
    """Return the missing scopes: the rest of the granular pair where part of it was granted, else the broad scope.

    A scope that allows writing includes reading, and the broad scope includes the granular pair.
    """
    readable = granted | {f"{scope}.read" for scope in granted}
    missing = ALWAYS_NEEDED - readable
    if BROAD in readable or readable >= GRANULAR:
        return missing
    return missing | (GRANULAR - readable if readable & GRANULAR else {BROAD})


def find_scope_of(resource: Resource, scope_set: str) -> str:
    """Return the scope that allows reading a resource; invoices and credit notes share one."""
    if resource is Resource.CONTACTS:
        return "accounting.contacts.read"
    if scope_set == "broad":
        return BROAD
    return "accounting.payments.read" if resource is Resource.PAYMENTS else "accounting.invoices.read"


def build_authorization_url(login_url: str, request: ConsentRequest) -> str:
    """Return the consent page's address, with the PKCE verifier hashed (RFC 7636, S256)."""
    digest = hashlib.sha256(request.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": request.client_id,
        "redirect_uri": request.redirect_uri,
        "scope": " ".join(read_scope_set(request.scope_set)),
        "state": request.state,
        "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    return f"{login_url}/identity/connect/authorize?{urlencode(query, quote_via=quote)}"


async def request_tokens(
    http: httpx.AsyncClient, identity_url: str, app: AppCredentials, form: Mapping[str, str]
) -> TokenSet:
    """Exchange a code or a refresh token for a token set.

    Raises:
        GrantRefused: Xero no longer accepts the code or refresh token.
        AppRejected: Xero does not accept the client id, the secret, the redirect URI or the scopes.
        ConnectorError: anything else, which says nothing about the grant.
    """
    response = await _post(http, f"{identity_url}/connect/token", app, form)
    if response.status != OK:
        raise _identity_error(response)
    try:
        return _read_tokens(response.body)
    except Unreadable as error:
        raise AnswerUnreadable(f"Xero's token answer is not in its form: {error}", response.traffic) from None


async def check_app(http: httpx.AsyncClient, identity_url: str, app: AppCredentials) -> None:
    """Try a client id and secret with a refresh token that Xero never issued.

    The token endpoint authenticates the app before it looks at the token (RFC 6749, 5.2): `invalid_grant` is about the
    token and says that the app is known, `invalid_client` and `unauthorized_client` are about the app.

    Raises:
        AppRejected: Xero does not know the app by these credentials.
        ConnectorError: anything else, which says nothing about them.
    """
    form = {"grant_type": "refresh_token", "refresh_token": NEVER_ISSUED}
    try:
        tokens = await request_tokens(http, identity_url, app, form)
    except GrantRefused:
        return
    raise AnswerUnreadable(f"Xero issued tokens of {tokens.lifetime} seconds for a refresh token it never issued.")


async def revoke(http: httpx.AsyncClient, identity_url: str, app: AppCredentials, refresh_token: str) -> None:
    """Revoke a grant (RFC 7009); Xero ends every connection its user made for this app with it."""
    response = await _post(http, f"{identity_url}/connect/revocation", app, {"token": refresh_token})
    if response.status not in (OK, NO_CONTENT):
        raise _identity_error(response)


async def _post(http: httpx.AsyncClient, url: str, app: AppCredentials, form: Mapping[str, str]) -> Response:
    headers = {"Accept": "application/json", "Accept-Encoding": "gzip"}
    request = http.build_request("POST", url, data=dict(form), headers=headers, timeout=TIMEOUT)
    return await send(http, request, httpx.BasicAuth(app.client_id, app.client_secret))


def _identity_error(response: Response) -> ConnectorError:
    if response.status == TOO_MANY:
        return rate_limited(response)
    if response.status >= SERVER_ERROR or response.status == REQUEST_TIMEOUT:
        return VendorUnavailable(f"Xero's sign-in service is unavailable ({response.status}).", response.traffic)
    word = _read_word(response.body)
    if response.status in (BAD_REQUEST, UNAUTHORIZED) and word in WORDS:
        error, detail = WORDS[word]
        return error(detail.format(word=word), response.traffic)
    if word and response.status >= BAD_REQUEST:
        return RequestRejected(f"Xero's sign-in service refused the request: {clean(word)}", response.traffic)
    return AnswerUnreadable(f"Xero's sign-in service answered {response.status} and no reason.", response.traffic)


def _read_word(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=OAuthError).error
    except UNREADABLE:
        return ""


def _read_tokens(body: bytes) -> TokenSet:
    try:
        response = msgspec.json.decode(body, type=TokenResponse, strict=False)
    except UNREADABLE as error:
        raise Unreadable(str(error)) from None
    claims = _read_claims(response.access_token)
    return TokenSet(
        access_token=_check_token(response.access_token),
        refresh_token=_check_token(response.refresh_token) if response.refresh_token else None,
        lifetime=_check_lifetime(response.expires_in),
        scopes=_read_scopes(response.scope or claims.scope),
        user_id=require(read_text(claims.xero_userid.lower()), "xero_userid"),
        consent_id=claims.authentication_event_id and claims.authentication_event_id.lower(),
    )


def _read_claims(access_token: str) -> Claims:
    """Read the payload of a token without checking its signature.

    It came directly from the token endpoint over TLS, in response to a request with our own secret, so nobody else can
    have made it; and it is read for its ids, not to authenticate anyone (OpenID Connect Core 3.1.3.7 allows the same
    for an id_token).
    """
    try:
        _, payload, _ = access_token.split(".")
        return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=Claims)
    except (ValueError, *UNREADABLE):
        raise Unreadable("the access token carries no readable claims") from None


def _read_scopes(scope: str | Sequence[str] | None) -> frozenset[str]:
    return frozenset(scope.split() if isinstance(scope, str) else scope or ())


def _check_token(token: str) -> str:
    """Return the token if it can be sent in a header; one that cannot would make every later call fail."""
    if not (token.isascii() and token.isprintable()):
        raise Unreadable("a token holds characters no header can carry")
    return token


def _check_lifetime(seconds: int) -> int:
    if not 0 < seconds < 10**9:
        raise Unreadable("expires_in is no lifetime")
    return seconds
