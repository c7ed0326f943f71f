"""Authenticates every request to the API before a route sees it."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import is_guarded, unauthenticated


class AuthenticationMiddleware:
    """Lets nobody into the API without a good token, whatever the route forgot; leaves the actor in the state."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_guarded(scope["path"]):
            actor = await scope["app"].state.services.verifier.verify(_bearer(scope))
            scope["state"]["actor"] = actor
            structlog.contextvars.bind_contextvars(actor=actor.subject)
        await self.app(scope, receive, send)


def _bearer(scope: Scope) -> str:
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    kind, _, token = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
    if kind.lower() != "bearer" or not token.strip():
        raise unauthenticated("Send `Authorization: Bearer <token>`, once.")
    return token.strip()
