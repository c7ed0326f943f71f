"""Whichever of several worker processes answers a scrape, it shows what all of them have counted."""

import os
import re
import signal

from tests.support.served_process import ServedProcess
from tests.support.waiting import wait_until

REQUESTS = 20
# Of the pool that is used for everything but deliveries, in one process.
POOL_LIMIT = 16


async def read_metrics(served):
    text = (await served.client.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:{[^}]*})?) (\S+)$", text, re.MULTILINE)}


def count_of(values):
    return sum(value for name, value in values.items() if name.startswith("http_requests_total") and "live" in name)


def limit_of(values):
    return values['database_pool_connections{pool="api",state="limit"}']


async def test_counts_of_all_workers_add_up_and_a_worker_that_was_killed_leaves_no_gauge(dsn, tmp_path):
    def workers():
        """Return the ids of the processes that have left a gauge."""
        return {int(path.stem.rpartition("_")[2]) for path in tmp_path.glob("*/gauge_*.db")}

    arguments = ("--workers", "2")
    async with ServedProcess(dsn, tmp_path / "log", *arguments, TMPDIR=str(tmp_path)) as served:
        await wait_until(served.is_ready, "a worker is ready")

        async def are_both_there():
            return limit_of(await read_metrics(served)) == 2 * POOL_LIMIT

        await wait_until(are_both_there, "both workers are there")
        for _ in range(REQUESTS):
            assert (await served.client.get("/health/live")).is_success
        # Each scrape reaches either of the two.
        scrapes = [await read_metrics(served) for _ in range(5)]
        assert [count_of(values) for values in scrapes] == [REQUESTS] * 5
        assert {limit_of(values) for values in scrapes} == {2 * POOL_LIMIT}
        assert {values["database_ready"] for values in scrapes} == {1}

        both = workers()
        os.kill(min(both), signal.SIGKILL)

        async def is_replaced():
            return workers() - both

        await wait_until(is_replaced, "another worker has taken the place of the one that was killed")
        values = await read_metrics(served)
        assert limit_of(values) == 2 * POOL_LIMIT
        assert count_of(values) == REQUESTS
