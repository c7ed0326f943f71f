"""Dependencies of routes run in the event loop: FastAPI calls what is no coroutine in a thread, which takes longer."""

import inspect

from fastapi.routing import APIRoute

from app.api import health, metrics
from app.api.integrations import webhooks
from app.main import BILLING_MODULES, INTEGRATION_MODULES, create_app
from tests.support.service import settings_for

ROUTERS = [module.router for module in (*BILLING_MODULES, *INTEGRATION_MODULES, health, metrics)]


def calls_of(dependant):
    """Yield what FastAPI calls for a route: its function and its dependencies."""
    yield dependant.call
    for inner in dependant.dependencies:
        yield from calls_of(inner)


def is_awaited(call):
    call = call if inspect.isroutine(call) else type(call).__call__
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def test_no_request_waits_for_a_thread():
    app = create_app(settings_for("postgresql+asyncpg://nobody@localhost/nothing"))
    routes = [route for router in (*ROUTERS, webhooks.deliveries) for route in router.routes]
    called = {call for route in routes if isinstance(route, APIRoute) for call in calls_of(route.dependant)}
    called |= {dependency.dependency for dependency in app.router.dependencies}
    assert len(called) > 50
    assert [call for call in called if not is_awaited(call)] == []
