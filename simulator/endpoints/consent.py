"""GET and POST /identity/connect/authorize: the login page, where a user ticks organisations and allows."""

from html import escape
from http import HTTPStatus
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from simulator.books.organisation import Organisation
from simulator.endpoints.context import Visit
from simulator.identity.model import Consent, User
from simulator.identity.scopes import refuse_scopes
from simulator.http import Answer

_HTML = "text/html; charset=utf-8"
_NO_FRAMES = ("X-Frame-Options", "DENY")
_LOCAL = "localhost"


async def answer_authorize(visit: Visit) -> Answer:
    return await visit.faulty(lambda: _answer(visit))


async def _answer(visit: Visit) -> Answer:
    """Errors about the client or its redirect URI get a page; all others go back to the app."""
    asked = visit.call.form if visit.call.method == "POST" else dict(parse_qsl(visit.call.raw_query))
    options = visit.world.options
    if asked.get("client_id") != options.client_id:
        return _error_page("unauthorized_client", "Unknown client or client not enabled")
    if not is_allowed_redirect(asked.get("redirect_uri", ""), options.redirect_uris):
        return _error_page("unauthorized_client", "Invalid redirect_uri")
    problem = _problem(visit, asked)
    if problem:
        return _back(asked, {"error": problem})
    return _decide(visit, asked)


def is_allowed_redirect(uri: str, registered: tuple[str, ...]) -> bool:
    """Byte for byte one of the registered; with none registered, any https address or http://localhost."""
    if registered:
        return uri in registered
    parts = urlsplit(uri)
    return bool(parts.netloc) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == _LOCAL))


def _problem(visit: Visit, asked: dict[str, str]) -> str | None:
    if asked.get("response_type") != "code":
        return "unsupported_response_type"
    if asked.get("code_challenge") and asked.get("code_challenge_method") != "S256":
        return "invalid_request"
    return refuse_scopes(asked.get("scope", "").split(), broad_allowed=visit.world.options.app_may_ask_broad_scopes)


def _decide(visit: Visit, asked: dict[str, str]) -> Answer:
    rule = visit.world.consent
    offered = _offered(visit)
    if visit.call.method == "POST":
        ticked = {value for name, value in parse_qsl(visit.call.body.decode()) if name == "tenant"}
        tenants = [row.tenant_id for row in offered if row.tenant_id in ticked]
        return _conclude(visit, asked, tenants, allowed=asked.get("decision") == "allow")
    if rule.automatic or asked.get("auto") == "1":
        tenants = [row.tenant_id for row in offered if rule.tenants is None or row.tenant_id in rule.tenants]
        return _conclude(visit, asked, tenants, allowed=rule.decision == "allow")
    return _consent_page(visit.world.user, offered, asked)


def _offered(visit: Visit) -> list[Organisation]:
    return [row for row in visit.world.organisations.values() if visit.world.user.may_connect(row.tenant_id)]


def _conclude(visit: Visit, asked: dict[str, str], tenants: list[str], *, allowed: bool) -> Answer:
    if not allowed:
        return _back(asked, {"error": "access_denied"})
    consent = _consent(visit, asked)
    visit.world.connections.connect(consent.user.id, tenants, consent.auth_event_id, visit.world.clock.now())
    code = visit.world.tokens.issue_code(consent, asked["redirect_uri"], asked.get("code_challenge"))
    return _back(asked, {"code": code, "scope": asked.get("scope", "")})


def _consent(visit: Visit, asked: dict[str, str]) -> Consent:
    scopes = asked.get("scope", "").split()
    granted = visit.world.tokens.add_scopes(visit.world.user.id, scopes)
    return Consent(
        user=visit.world.user,
        client_id=asked["client_id"],
        scopes=granted,
        auth_event_id=str(uuid4()),
        is_offline="offline_access" in scopes,
        is_openid="openid" in scopes,
    )


def _back(asked: dict[str, str], outcome: dict[str, str]) -> Answer:
    """To the app, with its state unchanged."""
    if "state" in asked:
        outcome = {**outcome, "state": asked["state"]}
    glue = "&" if "?" in asked["redirect_uri"] else "?"
    location = f"{asked['redirect_uri']}{glue}{urlencode(outcome)}"
    return Answer(HTTPStatus.FOUND, headers=[("Location", location), _NO_FRAMES], note=outcome.get("error"))


def _consent_page(user: User, offered: list[Organisation], asked: dict[str, str]) -> Answer:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in asked.items()
    )
    ticks = "".join(
        f'<p><label><input type="checkbox" name="tenant" value="{row.tenant_id}"'
        f"{' checked' if row.tenant_type == 'ORGANISATION' else ''}> {escape(row.name)}"
        f" <small>{row.tenant_type.lower()}</small></label></p>"
        for row in offered
    )
    body = (
        f"<h1>Pretend Xero</h1><p>{escape(user.name)}, an app would like to read:</p>"
        f"<p><code>{escape(asked.get('scope', ''))}</code></p>"
        f'<form method="post" action="/identity/connect/authorize">{hidden}{ticks}'
        '<button name="decision" value="allow">Allow access</button> '
        '<button name="decision" value="cancel">Cancel</button></form>'
    )
    return _page(HTTPStatus.OK, body)


def _error_page(code: str, sentence: str) -> Answer:
    body = f"<h1>Sorry, something went wrong</h1><p>Error: {code}</p><p>{escape(sentence)}</p>"
    return _page(HTTPStatus.BAD_REQUEST, body)


def _page(status: HTTPStatus, body: str) -> Answer:
    document = (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Pretend Xero</title>'
        "<style>body{font:16px/1.5 system-ui;max-width:34rem;margin:4rem auto;padding:0 1rem}"
        "button{font:inherit;padding:.5rem 1rem}</style></head>"
        f"<body>{body}</body></html>"
    )
    return Answer(status, document.encode(), _HTML, [_NO_FRAMES])
