"""POST /connect/token and /connect/revocation."""

from base64 import b64decode
from http import HTTPStatus

import msgspec

from simulator.endpoints.context import Visit
from simulator.identity.tokens import GrantRefused
from simulator.http import Answer
from simulator.wire.errors import not_found, oauth_error

# Xero's edge sets cookies on this answer; a client that keeps them must not mind.
_COOKIES = (("Set-Cookie", "Device=1f2e; path=/; secure; HttpOnly"), ("Set-Cookie", "_abck=8A; path=/; secure"))


async def answer_token(visit: Visit) -> Answer:
    return await visit.faulty(lambda: _answer_token(visit))


async def answer_revocation(visit: Visit) -> Answer:
    return await visit.faulty(lambda: _answer_revocation(visit))


async def _answer_token(visit: Visit) -> Answer:
    if visit.call.method != "POST":
        return not_found()
    form = visit.call.form
    try:
        client_id = _client(visit)
        document = _grant(visit, form, client_id)
    except GrantRefused as refusal:
        return oauth_error(str(refusal))
    body = msgspec.json.encode(document)
    headers = [*_COOKIES, ("Cache-Control", "no-store")]
    return Answer(body=body, content_type="application/json; charset=utf-8", headers=headers)


def _grant(visit: Visit, form: dict[str, str], client_id: str) -> dict[str, object]:
    tokens = visit.world.tokens
    kind = form.get("grant_type")
    if kind == "authorization_code":
        code, redirect_uri = form.get("code", ""), form.get("redirect_uri", "")
        return tokens.redeem_code(code, client_id, redirect_uri, form.get("code_verifier"))
    if kind == "refresh_token":
        return tokens.rotate(form.get("refresh_token", ""), client_id)
    if kind == "client_credentials":
        raise GrantRefused("unauthorized_client")
    raise GrantRefused("unsupported_grant_type")


async def _answer_revocation(visit: Visit) -> Answer:
    """Kills the user's refresh tokens and removes all of the user's connections; unknown tokens are fine too."""
    try:
        _client(visit)
    except GrantRefused as refusal:
        return oauth_error(str(refusal))
    token = visit.world.tokens.refresh.get(visit.call.form.get("token", ""))
    if token is not None:
        visit.world.tokens.revoke_user(token.consent.user.id)
        visit.world.connections.drop_user(token.consent.user.id)
    return Answer(HTTPStatus.OK)


def _client(visit: Visit) -> str:
    """The client's id, from Basic authorization or the form. Raises GrantRefused."""
    client_id, secret = _credentials(visit)
    if (client_id, secret) != (visit.world.options.client_id, visit.world.options.client_secret):
        raise GrantRefused("invalid_client")
    return client_id


def _credentials(visit: Visit) -> tuple[str, str]:
    scheme, _, encoded = visit.call.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return visit.call.form.get("client_id", ""), visit.call.form.get("client_secret", "")
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise GrantRefused("invalid_client") from error
    return client_id, secret
