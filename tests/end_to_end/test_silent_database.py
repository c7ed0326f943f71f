"""A database that accepts connections and says nothing: every caller is told in time, and nothing is left behind."""

import asyncio

import pytest

from tests.support.loop_time import stopped_loop_time
from tests.support.service import INTEGRATION, open_harness
from tests.support.tcp_proxy import open_proxy
from tests.support.waiting import wait_until
from tests.support.webhooks import HOOK, PROBE, delivery, sign

pytestmark = pytest.mark.usefixtures("production_deadlines")

# More than the pool has connections, so that some requests find one of before and others have to connect.
READERS = 24
STEP_SECONDS, TURNS_PER_STEP = 0.05, 50


@pytest.fixture(autouse=True)
def logs(logs):
    return logs


async def timed(request):
    """Return the status of the answer, and how long it took by the time of the event loop."""
    began = asyncio.get_running_loop().time()
    response = await request
    return response.status_code, asyncio.get_running_loop().time() - began


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


async def move_time_until_done(time, task):
    """Move the event loop's time in small steps, each when what the one before started has gone on."""
    while not task.done():
        for _ in range(TURNS_PER_STEP):
            await asyncio.sleep(0)
        time.advance(STEP_SECONDS)
    return task.result()


async def test_every_request_is_answered_in_time_while_the_database_is_silent_and_at_once_when_it_is_back(dsn):
    async with open_proxy(dsn) as (proxy, proxied), open_harness(proxied) as harness:
        pools = [database.engine.pool for database in harness.services.databases]
        await answers_of_every_kind(harness)
        with stopped_loop_time() as time:
            proxy.pause()
            harness.services.metrics.sync_metrics_read_at = float("-inf")
            answers = await move_time_until_done(time, asyncio.create_task(answers_of_every_kind(harness)))
            for kind in ("event", "probe", "ready", "metrics"):
                assert answers[kind][1] < 3, answers
            assert max(seconds for _, seconds in answers.values()) < 5, answers
            answered = {kind: status for kind, (status, _) in answers.items() if status != 503}
            assert answered == {"probe": 200, "live": 200, "metrics": 200}
            assert sum(pool.checkedout() for pool in pools) == 0

            # No time passes, so that nothing is answered which waits for some.
            proxy.resume()
            task = asyncio.create_task(answers_of_every_kind(harness))
            await time.wait_until(task.done, "every request is answered")
            assert {status for status, _ in task.result().values()} == {200, 409}
            assert sum(pool.checkedout() for pool in pools) == 0
        await wait_until(lambda: is_at_most(proxy, pools), "the connections that were given up are closed")


async def is_at_most(proxy, pools):
    return proxy.open_connections <= sum(pool.checkedin() for pool in pools)
