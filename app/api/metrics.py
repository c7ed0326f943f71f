"""What Prometheus is told: requests by route, and whatever else the application registers."""

import time
from collections.abc import Callable

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
# Addresses that match no route count as one, as do odd methods, or a scanner would make a series of each guess.
NO_ROUTE = "none"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

router = APIRouter(tags=["operations"])


class Metrics:
    """The metrics of one application, in a registry of its own; others add theirs to `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "From the first byte of a request to the head of its answer.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )

    def add_gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Register a gauge that is read whenever it is asked for."""
        Gauge(name, help_text, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        return generate_latest(self.registry)


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.services.metrics
    return Response(metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


class MetricsMiddleware:
    """Counts each answer under its route's template."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        metrics: Metrics = scope["app"].state.services.metrics
        method = scope["method"] if scope["method"] in METHODS else "other"
        started = time.perf_counter()

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", NO_ROUTE)
                metrics.requests.labels(method, route, message["status"]).inc()
                metrics.seconds.labels(method, route).observe(time.perf_counter() - started)
            await send(message)

        await self.app(scope, receive, count)
