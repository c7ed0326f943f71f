"""Prometheus metrics: what this replica counts, and the state of the sync, which all replicas report alike.

With `serve --workers N` the worker processes write what they count into files that they share (prometheus_client's
multiprocess mode), so that whichever worker answers a scrape shows the sums. The state of the sync comes from the
database and is the same in every worker.
"""

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from typing_extensions import override

from app.db import Database, DatabaseUnavailable, PoolConnections
from app.sync.engine import Engine
from app.sync.runs import FinishedRun
from app.sync.status.metrics import SyncMetrics

# The folder that worker processes share. prometheus_client reads the variable when it is imported.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SYNC_METRICS_SECONDS = 5.0
REQUEST_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
RUN_BUCKETS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600)

router = APIRouter(tags=["operations"])


@dataclass(frozen=True, slots=True)
class SyncGauge:
    """A gauge of the state of the sync, beside whose label `source` there may be another.

    Attributes:
        name: of the metric.
        help_text: what it says.
        label: the name of the other label; None where there is none.
        values: returns the values by that label's, or one under the empty string; None for a value that is not known.
    """

    name: str
    help_text: str
    label: str | None
    values: Callable[[SyncMetrics], Mapping[str, float | None]]

    def collect(self, found: Mapping[str, SyncMetrics]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(self.name, self.help_text, labels=["source", *filter(None, [self.label])])
        for source, sync in found.items():
            for value, number in self.values(sync).items():
                if number is not None:
                    family.add_metric([source, *([value] if self.label else [])], number)
        return family


SYNC_GAUGES = (
    SyncGauge(
        "billing_sync_organisations", "Selected organisations by health.", "health", lambda sync: sync.organisations
    ),
    SyncGauge(
        "billing_sync_data_age_seconds",
        "Age of the oldest data among the selected organisations.",
        None,
        lambda sync: {"": sync.data_age},
    ),
    SyncGauge(
        "billing_last_success_age_seconds",
        "Time since the last succeeded run of the selected organisation for which it is longest.",
        None,
        lambda sync: {"": sync.last_success_age},
    ),
    SyncGauge(
        "billing_calls_left_today",
        "Calls to the vendor left of the day of the selected organisation that has the fewest.",
        None,
        lambda sync: {"": sync.calls_left_today},
    ),
    SyncGauge(
        "billing_refresh_token_days_left",
        "Days until the first selected organisation cannot be read any more because its refresh token expires.",
        None,
        lambda sync: {"": sync.refresh_token_days_left},
    ),
    SyncGauge(
        "billing_webhook_events",
        "Webhook events that are waiting, and those that failed.",
        "status",
        lambda sync: {"waiting": sync.events_waiting, "failed": sync.events_failed},
    ),
    SyncGauge(
        "billing_notifications",
        "Messages to people that are not sent yet: waiting, or failing.",
        "status",
        lambda sync: sync.notifications,
    ),
    SyncGauge(
        "billing_webhook_signature_failures",
        "Webhook deliveries with a wrong signature in the last 24 hours.",
        None,
        lambda sync: {"": sync.signature_failures},
    ),
)


class SyncCollector(Collector):
    """Shows the state of the sync as it was last read.

    Attributes:
        found: the metrics by source, the vendor's word in URLs; None while the database cannot be read: a value that is
            out of date could hide a problem from an alert.
    """

    def __init__(self) -> None:
        self.found: Mapping[str, SyncMetrics] | None = None

    @override
    def collect(self) -> Iterator[GaugeMetricFamily]:
        is_ready = GaugeMetricFamily(
            "database_ready", "1 while the database answers and its schema is up to date.", int(self.found is not None)
        )
        yield is_ready
        for gauge in SYNC_GAUGES:
            yield gauge.collect(self.found or {})


class Metrics:
    """The metrics of one application, in registries of its own, so that tests can create several applications.

    Args:
        pools: the databases whose connections are shown, by the name of their pool.
        folder: the folder of the replica's worker processes; None when this process is the only one.
    """

    def __init__(self, pools: Mapping[str, Database] | None = None, folder: Path | None = None) -> None:
        self._folder = folder
        self._counted = CollectorRegistry()
        self.requests = Counter(
            "http_requests", "Requests answered.", ("method", "route", "status"), registry=self._counted
        )
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the start of a request to the start of its response.",
            ("method", "route"),
            buckets=REQUEST_BUCKETS,
            registry=self._counted,
        )
        self.run_seconds = Histogram(
            "billing_sync_run_duration_seconds",
            "Time from the start of a run to its end, of the runs that this replica ended.",
            ("source", "trigger", "status"),
            buckets=RUN_BUCKETS,
            registry=self._counted,
        )
        self.pool_connections = Gauge(
            "database_pool_connections",
            "Connections of this replica to its database: in use, open, and the most there may be.",
            ("pool", "state"),
            registry=self._counted,
            multiprocess_mode="livesum",
        )
        for name, db in (pools or {}).items():
            self._watch_pool(name, db)
        self.sync = SyncCollector()
        self.sync_metrics_read_at = -math.inf
        self._shared = CollectorRegistry()
        self._shared.register(self.sync)

    def _watch_pool(self, name: str, db: Database) -> None:
        """Show a pool's connections from now on, at every change: another worker process may be asked for them."""
        gauges = [self.pool_connections.labels(name, state) for state in PoolConnections._fields]

        def show() -> None:
            for gauge, count in zip(gauges, db.count_connections(), strict=True):
                gauge.set(count)

        show()
        db.watch_connections(show)

    def observe_run(self, run: FinishedRun) -> None:
        self.run_seconds.labels(run.vendor, run.trigger, run.status).observe(run.seconds)

    def render(self) -> bytes:
        return generate_latest(self._counted if self._folder is None else _merge(self._folder)) + generate_latest(
            self._shared
        )


def _merge(folder: Path) -> CollectorRegistry:
    """Return what all worker processes of the replica have counted, without the gauges of those that have ended."""
    for path in folder.glob("gauge_live*.db"):
        process_id = int(path.stem.rpartition("_")[2])
        if not _is_running(process_id):
            multiprocess.mark_process_dead(process_id, str(folder))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return registry


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def shared_metrics(workers: int) -> Iterator[None]:
    """Let the worker processes that are started in the block count together; a single one needs nothing shared."""
    if workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="vectis-xero-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder
        yield


def find_shared_folder() -> Path | None:
    """Return the folder in which the worker processes of this replica count together, if there is one."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


@router.get("/metrics", response_class=Response, include_in_schema=False)
async def read_metrics(request: Request) -> Response:
    services = request.app.state.services
    metrics: Metrics = services.metrics
    # The values are read from the database at most every few seconds, however often they are scraped.
    if time.monotonic() - metrics.sync_metrics_read_at > SYNC_METRICS_SECONDS:
        metrics.sync_metrics_read_at = time.monotonic()
        metrics.sync.found = await _read_sync_metrics(services.db, services.engines)
    return Response(metrics.render(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _read_sync_metrics(db: Database, engines: Mapping[str, Engine]) -> Mapping[str, SyncMetrics] | None:
    """Return the metrics by source, or None when the database cannot be read."""
    try:
        if not await db.is_ready():
            return None
        async with db.transaction() as session:
            return {vendor: await engine.status.read_metrics(session) for vendor, engine in engines.items()}
    except DatabaseUnavailable:
        return None
