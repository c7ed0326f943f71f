"""One replica in a process of its own, as `vectis-xero serve` runs it, with leases or a clock of the test's choice."""

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
    shared = os.environ.get("TEST_CLOCK")
    app = (
        make_with_clock(settings, timings, Path(shared), int(number))
        if shared
        else create_app(settings, timings=timings)
    )
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False, timeout_graceful_shutdown=5)


def make_with_clock(settings, timings, path, number):
    clock, transport = SharedClock(path, number), CountingTransport()
    app = create_app(settings, clock=clock, transport=transport, timings=timings)
    pool = app.state.services.db.engine.pool
    clock.is_at_work = lambda: bool(transport.under_way or pool.checkedout())
    return app


if __name__ == "__main__":
    main()
