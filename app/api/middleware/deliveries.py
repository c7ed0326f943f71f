"""Hands webhook deliveries to their endpoint without the framework's routing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.concurrency_limits import DELIVERIES_PREFIX
from app.api.deps import Services
from app.sync.engine import Engine

Endpoint = Callable[[Engine, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class DeliveryRoute:
    """What a delivery is counted under (`MetricsMiddleware`)."""

    path: str


class DeliveriesMiddleware:
    """Answers each `POST` of a vendor's delivery with the endpoint itself; every other request passes.

    Deliveries come in bursts, and the framework's routing and dependencies take several times the processor time of
    the endpoint, which needs none of them. Comes after every middleware that a delivery needs.

    Args:
        app: the next ASGI application. It has a route with the same endpoint, which describes it in the API's schema
            and answers other methods.
        endpoint: returns the response to a delivery.
    """

    def __init__(self, app: ASGIApp, *, endpoint: Endpoint) -> None:
        self.app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        engine = _find_engine(scope)
        if engine is None:
            await self.app(scope, receive, send)
            return
        scope["route"] = DeliveryRoute(scope["path"])
        response = await self._endpoint(engine, Request(scope, receive))
        await response(scope, receive, send)


def _find_engine(scope: Scope) -> Engine | None:
    """Return the engine of the vendor that delivers; None when the request is no delivery."""
    if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith(DELIVERIES_PREFIX):
        return None
    services: Services = scope["app"].state.services
    return services.engines.get(scope["path"].removeprefix(DELIVERIES_PREFIX))
