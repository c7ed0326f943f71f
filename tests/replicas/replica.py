"""A process that runs one replica as `vectis-xero serve` does, with the lease timings and the clock of a test."""

import os
import sys
from pathlib import Path

import uvicorn

from app.log import configure_logging
from app.main import create_app
from app.settings import load_settings
from app.sync.leases import LeaseTimings
from tests.support.shared_clock import CountingTransport, SharedClock


def main() -> None:
    port, number, ttl, heartbeat = sys.argv[1:]
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    timings = LeaseTimings(float(ttl), float(heartbeat))
    clock_file = os.environ.get("TEST_CLOCK")
    app = (
        create_app_with_shared_clock(settings, timings, Path(clock_file), int(number))
        if clock_file
        else create_app(settings, timings=timings)
    )
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False, timeout_graceful_shutdown=5)


def create_app_with_shared_clock(settings, timings, path, number):
    clock, transport = SharedClock(path, number), CountingTransport()
    app = create_app(settings, clock=clock, transport=transport, timings=timings)
    pools = [database.engine.pool for database in app.state.services.databases]
    clock.is_busy = lambda: bool(transport.in_flight or any(pool.checkedout() for pool in pools))
    return app


if __name__ == "__main__":
    main()
