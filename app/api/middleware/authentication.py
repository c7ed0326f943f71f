"""Authenticates requests to the API."""

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.auth import is_protected, not_authenticated
from app.api.deps import Services
from app.api.errors import Problem


class AuthenticationMiddleware:
    """Verifies the bearer token of every request to a protected path and stores its actor in `scope["state"]`.

    Comes after `ProblemMiddleware`, which turns its `Problem` into a response, and before `BodyMiddleware`, so that no
    body is read for a caller without a token. No route can forget it, as it goes by the path.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_protected(scope["path"]):
            services: Services = scope["app"].state.services
            try:
                actor = await services.verifier.verify(_read_bearer_token(scope))
            except Problem:
                # Many requests without a token must not slow down those that have one.
                await services.concurrency_limits.take_turn_to_refuse()
                raise
            scope["state"]["actor"] = actor
            structlog.contextvars.bind_contextvars(actor=actor.subject)
        await self.app(scope, receive, send)


def _read_bearer_token(scope: Scope) -> str:
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    scheme, _, token = values[0].decode("latin-1").partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise not_authenticated("Send `Authorization: Bearer <token>`, once.")
    return token.strip()
