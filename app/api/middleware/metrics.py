"""Counts requests and measures their duration for Prometheus."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.metrics import Metrics

# The routes of a vendor know their path below this prefix and the vendor's word.
VENDOR_PREFIX = "/api/integrations/"
# All paths without a route share one label, as do all unknown methods: otherwise each guess of a scanner would create
# a time series.
NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class MetricsMiddleware:
    """Counts each response by method, route template and status.

    Comes before `ProblemMiddleware`, so that problems are counted with the status the caller gets.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        metrics: Metrics = scope["app"].state.services.metrics
        method = scope["method"] if scope["method"] in METHODS else "other"
        started_at = time.perf_counter()

        async def count_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = _template(scope)
                metrics.requests.labels(method, route, message["status"]).inc()
                metrics.seconds.labels(method, route).observe(time.perf_counter() - started_at)
            await send(message)

        await self.app(scope, receive, count_and_send)


def _template(scope: Scope) -> str:
    """Return the whole path of the request's route, with the names of its parameters in place of their values."""
    own: str = getattr(scope.get("route"), "path", NO_ROUTE)
    path: str = scope["path"]
    if own == NO_ROUTE or not path.startswith(VENDOR_PREFIX):
        return own
    return path.rsplit("/", own.count("/"))[0] + own if own else path
