"""A delivery is answered by its endpoint at once; every other request goes on to the framework."""

from types import SimpleNamespace

import pytest
from starlette.responses import Response

from app.api.middleware.deliveries import DeliveriesMiddleware

ENGINE = object()


async def reached(method, path, kind="http"):
    """Return what a request reaches: the endpoint, with the engine it was given, or the next application."""
    seen = []

    async def endpoint(engine, _request):
        seen.append(engine)
        return Response()

    async def framework(_scope, _receive, _send):
        seen.append("framework")

    async def receive():
        raise AssertionError("The body is the endpoint's to read.")

    async def send(_message):
        pass

    app = SimpleNamespace(state=SimpleNamespace(services=SimpleNamespace(engines={"xero": ENGINE})))
    scope = {"type": kind, "method": method, "path": path, "headers": [], "app": app}
    await DeliveriesMiddleware(framework, endpoint=endpoint)(scope, receive, send)
    return seen


async def test_a_delivery_reaches_the_endpoint_and_not_the_framework():
    assert await reached("POST", "/api/webhooks/xero") == [ENGINE]


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/api/webhooks/xero", "http"),
        ("POST", "/api/webhooks/xero/", "http"),
        ("POST", "/api/webhooks/other", "http"),
        ("POST", "/api/webhooks/", "http"),
        ("POST", "/api/integrations/xero", "http"),
        ("POST", "/api/webhooks/xero", "lifespan"),
    ],
)
async def test_what_is_no_delivery_reaches_the_framework(method, path, kind):
    assert await reached(method, path, kind) == ["framework"]
