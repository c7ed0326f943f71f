"""A database that accepts connections and says nothing: every caller is told in time, and nothing is left behind."""

import asyncio
import time

import pytest

from tests.support.service import INTEGRATION, open_harness
from tests.support.tcp_proxy import open_proxy
from tests.support.waiting import wait_until
from tests.support.webhooks import HOOK, PROBE, delivery, sign

pytestmark = pytest.mark.usefixtures("production_deadlines")

# More than the pool has connections, so that some requests find one of before and others have to connect.
READERS = 24


@pytest.fixture(autouse=True)
def logs(logs):
    return logs


async def timed(request):
    began = time.monotonic()
    response = await request
    return response.status_code, time.monotonic() - began


def deliver(harness, body):
    headers = {"x-xero-signature": sign(body), "content-type": "application/json"}
    return harness.client.post(HOOK, content=body, headers=headers)


def requests_of_every_kind(harness):
    keyed = {"Idempotency-Key": "one"}
    return {
        "event": deliver(harness, delivery()),
        "probe": deliver(harness, PROBE),
        "ready": harness.client.get("/health/ready"),
        "live": harness.client.get("/health/live"),
        "metrics": harness.client.get("/metrics"),
        "write": harness.call("POST", f"{INTEGRATION}/sync", headers=keyed),
        "snapshot": harness.call("GET", "/api/customers"),
        **{f"read {number}": harness.call("GET", "/api/invoices") for number in range(READERS)},
    }


async def answers_of_every_kind(harness):
    requests = requests_of_every_kind(harness)
    return dict(zip(requests, await asyncio.gather(*map(timed, requests.values())), strict=True))


async def test_every_request_is_answered_in_time_while_the_database_is_silent_and_at_once_when_it_is_back(dsn):
    async with open_proxy(dsn) as (proxy, proxied), open_harness(proxied) as harness:
        pools = [database.engine.pool for database in harness.services.databases]
        await answers_of_every_kind(harness)
        proxy.pause()
        harness.services.metrics.sync_metrics_read_at = float("-inf")
        answers = await answers_of_every_kind(harness)
        for kind in ("event", "probe", "ready", "metrics"):
            assert answers[kind][1] < 3, answers
        assert max(seconds for _, seconds in answers.values()) < 5, answers
        answered = {kind: status for kind, (status, _) in answers.items() if status != 503}
        assert answered == {"probe": 200, "live": 200, "metrics": 200}
        assert sum(pool.checkedout() for pool in pools) == 0

        proxy.resume()
        answers = await answers_of_every_kind(harness)
        assert {status for status, _ in answers.values()} == {200, 409}
        assert max(seconds for _, seconds in answers.values()) < 5, answers
        assert sum(pool.checkedout() for pool in pools) == 0
        await wait_until(lambda: is_at_most(proxy, pools), "the connections that were given up are closed")


async def is_at_most(proxy, pools):
    return proxy.open_connections <= sum(pool.checkedin() for pool in pools)
