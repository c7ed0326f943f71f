"""Prometheus metrics: this replica's requests by route, and the state of the sync, which all replicas report alike."""

import math
import time
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from app.db import Database, DatabaseUnavailable
from app.sync.engine import Engine
from app.sync.status.metrics import SyncMetrics

SYNC_METRICS_SECONDS = 5.0
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

router = APIRouter(tags=["operations"])


class Metrics:
    """The metrics of one application, in a registry of its own, so that tests can create several applications."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self.requests = Counter("http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the start of a request to the start of its response.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )

        self.sync_metrics_read_at = -math.inf
        self._is_ready = self._gauge("database_ready", "1 while the database answers and its schema is up to date.")
        self._organisations = self._gauge(
            "billing_sync_organisations", "Selected organisations by health.", "source", "health"
        )
        self._data_age = self._gauge(
            "billing_sync_data_age_seconds", "Age of the oldest data among the selected organisations.", "source"
        )
        self._events = self._gauge(
            "billing_webhook_events", "Webhook events that are waiting, and those that failed.", "source", "status"
        )
        self._signatures = self._gauge(
            "billing_webhook_signature_failures",
            "Webhook deliveries with a wrong signature in the last 24 hours.",
            "source",
        )
        self._notifications = self._gauge(
            "billing_notifications", "Messages to people that are not sent yet: waiting, or failing.", "status"
        )

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def clear_sync_gauges(self) -> None:
        """Remove the values of the sync's gauges: a value that is out of date could hide a problem from an alert."""
        self._is_ready.set(0)
        for gauge in (self._organisations, self._data_age, self._events, self._signatures, self._notifications):
            gauge.clear()

    def set_sync_gauges(self, found: Mapping[str, SyncMetrics]) -> None:
        """Set the sync's gauges.

        Args:
            found: the metrics by source, the vendor's word in URLs.
        """
        self._is_ready.set(1)
        for source, sync in found.items():
            for health, count in sync.organisations.items():
                self._organisations.labels(source, health).set(count)
            if sync.data_age is not None:
                self._data_age.labels(source).set(sync.data_age)
            self._events.labels(source, "waiting").set(sync.events_waiting)
            self._events.labels(source, "failed").set(sync.events_failed)
            self._signatures.labels(source).set(sync.signature_failures)
            for status, count in sync.notifications.items():
                self._notifications.labels(status).inc(count)

    def render(self) -> bytes:
        return generate_latest(self.registry)


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    services = request.app.state.services
    metrics: Metrics = services.metrics
    # The values are read from the database at most every few seconds, however often they are scraped.
    if time.monotonic() - metrics.sync_metrics_read_at > SYNC_METRICS_SECONDS:
        metrics.sync_metrics_read_at = time.monotonic()
        await _refresh_sync_gauges(metrics, services.db, services.engines)
    return Response(metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _refresh_sync_gauges(metrics: Metrics, db: Database, engines: Mapping[str, Engine]) -> None:
    metrics.clear_sync_gauges()
    try:
        if not await db.is_ready():
            return
        async with db.transaction() as session:
            found = {vendor: await engine.status.read_metrics(session) for vendor, engine in engines.items()}
    except DatabaseUnavailable:
        return
    metrics.set_sync_gauges(found)
