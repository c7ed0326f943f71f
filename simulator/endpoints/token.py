"""POST /connect/token and /connect/revocation: issue, refresh and revoke tokens."""

from base64 import b64decode
from http import HTTPStatus

import msgspec

from simulator.endpoints.context import RequestContext
from simulator.http import Response
from simulator.identity.tokens import OAuthError
from simulator.wire.errors import not_found, oauth_error

# Xero's CDN sets cookies on this response; they must not confuse a client that stores cookies.
_CDN_COOKIES = (("Set-Cookie", "Device=1f2e; path=/; secure; HttpOnly"), ("Set-Cookie", "_abck=8A; path=/; secure"))


async def handle_token(context: RequestContext) -> Response:
    """Exchange an authorization code or a refresh token for tokens."""
    return await context.produce_with_faults(lambda: _handle_token(context))


async def handle_revocation(context: RequestContext) -> Response:
    """Revoke the tokens of the user to whom a refresh token belongs."""
    return await context.produce_with_faults(lambda: _handle_revocation(context))


async def _handle_token(context: RequestContext) -> Response:
    if context.request.method != "POST":
        return not_found()
    form = context.request.form
    try:
        client_id = _authenticate_client(context)
        document = _issue_tokens(context, form, client_id)
    except OAuthError as error:
        return oauth_error(str(error))
    body = msgspec.json.encode(document)
    headers = [*_CDN_COOKIES, ("Cache-Control", "no-store")]
    return Response(body=body, content_type="application/json; charset=utf-8", headers=headers)


def _issue_tokens(context: RequestContext, form: dict[str, str], client_id: str) -> dict[str, object]:
    tokens = context.state.tokens
    kind = form.get("grant_type")
    if kind == "authorization_code":
        code, redirect_uri = form.get("code", ""), form.get("redirect_uri", "")
        return tokens.redeem_authorization_code(code, client_id, redirect_uri, form.get("code_verifier"))
    if kind == "refresh_token":
        return tokens.rotate_refresh_token(form.get("refresh_token", ""), client_id)
    if kind == "client_credentials":
        raise OAuthError("unauthorized_client")
    raise OAuthError("unsupported_grant_type")


async def _handle_revocation(context: RequestContext) -> Response:
    """Revoke the user's refresh tokens and remove all of the user's connections; an unknown token is a 200 too."""
    try:
        _authenticate_client(context)
    except OAuthError as error:
        return oauth_error(str(error))
    token = context.state.tokens.refresh_tokens.get(context.request.form.get("token", ""))
    if token is not None:
        context.state.tokens.revoke_refresh_tokens(token.consent.user.id)
        context.state.connections.remove_user(token.consent.user.id)
    return Response(HTTPStatus.OK)


def _authenticate_client(context: RequestContext) -> str:
    """Return the id of the client that authenticates by Basic authorization or in the form. Raises OAuthError."""
    client_id, secret = _credentials(context)
    if (client_id, secret) != (context.state.options.client_id, context.state.options.client_secret):
        raise OAuthError("invalid_client")
    return client_id


def _credentials(context: RequestContext) -> tuple[str, str]:
    scheme, _, encoded = context.request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return context.request.form.get("client_id", ""), context.request.form.get("client_secret", "")
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError as error:
        raise OAuthError("invalid_client") from error
    return client_id, secret
