"""A request that a lock in the database holds up is told so within its deadline, and keeps no connection."""

import asyncio

import pytest
from sqlalchemy import text

from tests.support.loop_time import stopped_loop_time
from tests.support.service import INTEGRATION, open_harness
from tests.support.webhooks import HOOK, delivery, sign

pytestmark = pytest.mark.usefixtures("production_deadlines")

DELIVERY_DEADLINE_SECONDS, API_DEADLINE_SECONDS = 1.8, 3.5


@pytest.mark.usefixtures("patient_server")
async def test_requests_that_wait_for_a_lock_are_answered_within_their_deadlines(dsn, db):
    async with open_harness(dsn) as harness:
        body = delivery()
        signed = {"x-xero-signature": sign(body), "content-type": "application/json"}
        requests = {
            "delivery": lambda: harness.client.post(HOOK, content=body, headers=signed),
            "write": lambda: harness.call("POST", f"{INTEGRATION}/sync", headers={"Idempotency-Key": "one"}),
            "read": lambda: harness.call("GET", "/api/invoices"),
        }

        async def are_blocked():
            blocked = "SELECT count(*) AS n FROM pg_locks WHERE NOT granted AND database ="
            current = "(SELECT oid FROM pg_database WHERE datname = current_database())"
            return (await harness.query(f"{blocked} {current}"))[0]["n"] == len(requests)

        with stopped_loop_time() as time:
            async with db.transaction() as holder:
                await holder.execute(text("LOCK TABLE xero_webhook_events, idempotent_requests, billing_invoices"))
                tasks = {name: asyncio.create_task(request()) for name, request in requests.items()}
                await time.wait_until(are_blocked, "every request waits for a lock")
                assert (await harness.client.get("/health/ready")).status_code == 200

                time.advance(DELIVERY_DEADLINE_SECONDS)
                await time.wait_until(tasks["delivery"].done, "the delivery is answered")
                assert not tasks["write"].done()
                assert not tasks["read"].done()
                time.advance(API_DEADLINE_SECONDS - DELIVERY_DEADLINE_SECONDS)
                answers = {name: await task for name, task in tasks.items()}
        assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(requests, 503)
        assert {answer.json()["code"] for answer in answers.values()} == {"database_unavailable"}
        pools = [database.engine.pool for database in harness.services.databases]
        assert [pool.checkedout() for pool in pools] == [0, 0, 0]
        again = [await request() for request in requests.values()]
        assert [answer.status_code for answer in again] == [200, 409, 200]
