"""GET and POST /identity/connect/authorize: the login page, where a user selects organisations and consents."""

from html import escape
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from simulator.books.organisation import Organisation
from simulator.endpoints.context import RequestContext
from simulator.http import Response
from simulator.identity.model import Consent, User
from simulator.identity.scopes import find_scope_error

_HTML = "text/html; charset=utf-8"
_NO_FRAMES = ("X-Frame-Options", "DENY")
_LOCAL_HOST = "localhost"


async def handle_authorize(context: RequestContext) -> Response:
    """Show the login page, or redirect to the app with a code or an error."""
    return await context.produce_with_faults(lambda: _handle(context))


async def _handle(context: RequestContext) -> Response:
    """Show an error page for a wrong client or redirect URI; redirect to the app with every other outcome."""
    params = context.request.form if context.request.method == "POST" else dict(parse_qsl(context.request.raw_query))
    options = context.state.options
    if params.get("client_id") != options.client_id:
        return _error_page("unauthorized_client", "Unknown client or client not enabled")
    if not is_allowed_redirect(params.get("redirect_uri", ""), options.redirect_uris):
        return _error_page("unauthorized_client", "Invalid redirect_uri")
    error = _find_error(context, params)
    if error:
        return _redirect_to_app(params, {"error": error})
    return _decide_consent(context, params)


def is_allowed_redirect(uri: str, registered: tuple[str, ...]) -> bool:
    """Return whether a redirect URI is allowed.

    It must equal a registered one byte for byte; with none registered, any https address and http://localhost are
    allowed.
    """
    if registered:
        return uri in registered
    parts = urlsplit(uri)
    return bool(parts.netloc) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == _LOCAL_HOST)
    )


def _find_error(context: RequestContext, params: dict[str, str]) -> str | None:
    if params.get("response_type") != "code":
        return "unsupported_response_type"
    if params.get("code_challenge") and params.get("code_challenge_method") != "S256":
        return "invalid_request"
    return find_scope_error(
        params.get("scope", "").split(), broad_allowed=context.state.options.app_may_ask_broad_scopes
    )


def _decide_consent(context: RequestContext, params: dict[str, str]) -> Response:
    policy = context.state.consent
    offered = _connectable_organisations(context)
    if context.request.method == "POST":
        selected = {value for name, value in parse_qsl(context.request.body.decode()) if name == "tenant"}
        tenants = [row.tenant_id for row in offered if row.tenant_id in selected]
        return _finish_consent(context, params, tenants, allowed=params.get("decision") == "allow")
    if policy.automatic or params.get("auto") == "1":
        tenants = [row.tenant_id for row in offered if policy.tenants is None or row.tenant_id in policy.tenants]
        return _finish_consent(context, params, tenants, allowed=policy.decision == "allow")
    return _consent_page(context.state.user, offered, params)


def _connectable_organisations(context: RequestContext) -> list[Organisation]:
    return [row for row in context.state.organisations.values() if context.state.user.can_connect(row.tenant_id)]


def _finish_consent(context: RequestContext, params: dict[str, str], tenants: list[str], *, allowed: bool) -> Response:
    if not allowed:
        return _redirect_to_app(params, {"error": "access_denied"})
    consent = _record_consent(context, params)
    context.state.connections.connect(consent.user.id, tenants, consent.auth_event_id, context.state.clock.now())
    code = context.state.tokens.issue_authorization_code(consent, params["redirect_uri"], params.get("code_challenge"))
    return _redirect_to_app(params, {"code": code, "scope": params.get("scope", "")})


def _record_consent(context: RequestContext, params: dict[str, str]) -> Consent:
    scopes = params.get("scope", "").split()
    granted = context.state.tokens.add_scopes(context.state.user.id, scopes)
    return Consent(
        user=context.state.user,
        client_id=params["client_id"],
        scopes=granted,
        auth_event_id=str(uuid4()),
        is_offline="offline_access" in scopes,
        is_openid="openid" in scopes,
    )


def _redirect_to_app(params: dict[str, str], outcome: dict[str, str]) -> Response:
    """Redirect to the app with the outcome and its own `state`."""
    if "state" in params:
        outcome = {**outcome, "state": params["state"]}
    separator = "&" if "?" in params["redirect_uri"] else "?"
    location = f"{params['redirect_uri']}{separator}{urlencode(outcome)}"
    return Response(HTTPStatus.FOUND, headers=[("Location", location), _NO_FRAMES], note=outcome.get("error"))


def _consent_page(user: User, offered: list[Organisation], params: dict[str, str]) -> Response:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in params.items()
    )
    checkboxes = "".join(
        f'<p><label><input type="checkbox" name="tenant" value="{row.tenant_id}"'
        f"{' checked' if row.tenant_type == 'ORGANISATION' else ''}> {escape(row.name)}"
        f" <small>{row.tenant_type.lower()}</small></label></p>"
        for row in offered
    )
    body = (
        f"<h1>Pretend Xero</h1><p>{escape(user.name)}, an app would like to read:</p>"
        f"<p><code>{escape(params.get('scope', ''))}</code></p>"
        f'<form method="post" action="/identity/connect/authorize">{hidden}{checkboxes}'
        '<button name="decision" value="allow">Allow access</button> '
        '<button name="decision" value="cancel">Cancel</button></form>'
    )
    return _page(HTTPStatus.OK, body)


def _error_page(code: str, message: str) -> Response:
    body = f"<h1>Sorry, something went wrong</h1><p>Error: {code}</p><p>{escape(message)}</p>"
    return _page(HTTPStatus.BAD_REQUEST, body)


def _page(status: HTTPStatus, body: str) -> Response:
    document = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Pretend Xero</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:34rem;margin:4rem auto;padding:0 1rem}"
        "button{font:inherit;padding:.5rem 1rem}</style></head>"
        f"<body>{body}</body></html>"
    )
    return Response(status, document.encode(), _HTML, [_NO_FRAMES])
