"""Requests of one kind that take long must neither slow down those of another kind nor let a client wait for ever."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from app.api.auth import mint_token
from tests.support.loop_time import stopped_loop_time
from tests.support.service import INTEGRATION, JWT_SECRET, open_harness
from tests.support.webhooks import HOOK, delivery, sign

pytestmark = pytest.mark.usefixtures("production_deadlines")

# As many reads as are processed at once.
READS = 10
STALLED_SECONDS = 3
API_DEADLINE_SECONDS = 3.5
BLOCKED = "/api/invoices"
BLOCKED_SESSIONS = (
    "SELECT count(*) AS count FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)
# A delivery, a write that finds no connection, a read without a token, a health check, metrics and the console.
OTHER_ANSWERS = [200, 409, 401, 200, 200, 200]


class RawClient:
    """A client of the application without HTTP, which reads its response or disconnects when the test says so.

    Attributes:
        sent: the messages of the response.
        disconnected: to be set when the client disconnects.
        reads: to be set when the client reads the response's body.
    """

    def __init__(self, harness, path):
        now = harness.services.clock.now()
        token = mint_token(JWT_SECRET, "admin", "tester", hours=1, audience="vectis-billing", now=now)
        self.sent = []
        self.disconnected = asyncio.Event()
        self.reads = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "client": None,
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "state": {},
        }
        self._is_request_read = False
        self.task = asyncio.create_task(harness.app(scope, self._receive, self._send))

    async def _receive(self):
        if not self._is_request_read:
            self._is_request_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.disconnected.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        self.sent.append(message)
        if message["type"] == "http.response.body" and message["body"]:
            await self.reads.wait()


async def answers_of_other_kinds(harness):
    body = delivery()
    headers = {"x-xero-signature": sign(body), "content-type": "application/json"}
    answers = [
        await harness.client.post(HOOK, content=body, headers=headers),
        await harness.call("POST", f"{INTEGRATION}/sync"),
        await harness.client.get("/api/matches"),
        await harness.client.get("/health/ready"),
        await harness.client.get("/metrics"),
        await harness.client.get("/console/"),
    ]
    return [answer.status_code for answer in answers]


class BlockedReads:
    """As many reads as are processed at once, each of which waits for a lock in the database.

    Attributes:
        time: the time of the event loop, which the test moves.
        tasks: the reads.
    """

    def __init__(self, harness, time):
        self.time = time
        self._harness = harness
        self.tasks = [self.read(BLOCKED) for _ in range(READS)]

    def read(self, path):
        return asyncio.create_task(self._harness.call("GET", path))

    async def wait_until_blocked(self, count):
        async def are_blocked():
            return (await self._harness.query(BLOCKED_SESSIONS))[0]["count"] == count

        await self.time.wait_until(are_blocked, f"{count} reads wait for the lock")


@asynccontextmanager
async def blocked_reads(harness, db):
    with stopped_loop_time() as time:
        async with db.transaction() as holder:
            await holder.execute(text("LOCK TABLE billing_invoices"))
            reads = BlockedReads(harness, time)
            await reads.wait_until_blocked(READS)
            yield reads


@pytest.mark.usefixtures("patient_server")
async def test_reads_that_wait_for_the_database_keep_only_further_reads_waiting_and_those_not_for_long(dsn, db):
    async with open_harness(dsn) as harness:
        async with blocked_reads(harness, db) as reads:
            waiting, gone = reads.read("/api/matches"), RawClient(harness, "/api/matches")
            assert await answers_of_other_kinds(harness) == OTHER_ANSWERS

            gone.disconnected.set()
            await reads.time.wait_until(gone.task.done, "the request of the client that disconnected is dropped")
            assert gone.sent == []

            reads.time.advance(STALLED_SECONDS - 0.1)
            last = reads.read("/api/matches")
            assert await answers_of_other_kinds(harness) == OTHER_ANSWERS
            assert not waiting.done()
            reads.time.advance(0.1)
            await reads.time.wait_until(waiting.done, "the read that waited is refused")
            refusal = waiting.result()
            assert (refusal.status_code, refusal.json()["code"]) == (503, "overloaded")
            assert refusal.headers["retry-after"] == "2"
            assert not any(task.done() for task in reads.tasks)

            reads.time.advance(API_DEADLINE_SECONDS - STALLED_SECONDS)
            answers = await asyncio.gather(*reads.tasks)
            assert {answer.json()["code"] for answer in answers} == {"database_unavailable"}
            assert (await last).status_code == 200
        assert (await harness.call("GET", BLOCKED)).status_code == 200
        assert harness.services.db.engine.pool.checkedout() == 0


@pytest.mark.usefixtures("patient_server")
async def test_a_read_let_in_after_others_failed_does_not_wait_for_the_database_as_long_again(dsn, db):
    async with open_harness(dsn) as harness, blocked_reads(harness, db) as reads:
        reads.time.advance(1)
        late = reads.read(BLOCKED)
        # Answered after the read before it has found its place among those that wait.
        assert (await harness.client.get("/health/ready")).status_code == 200
        reads.time.advance(API_DEADLINE_SECONDS - 1)
        await asyncio.gather(*reads.tasks)
        await reads.wait_until_blocked(1)
        reads.time.advance(1)
        await reads.time.wait_until(late.done, "the late read is answered")
        assert late.result().json()["code"] == "database_unavailable"


async def test_a_client_that_reads_slowly_or_an_open_stream_takes_no_other_read_s_place(harness):
    slow = [RawClient(harness, "/api/matches") for _ in range(READS)]
    streams = [RawClient(harness, f"{INTEGRATION}/progress") for _ in range(READS)]
    with stopped_loop_time() as time:
        await time.wait_until(lambda: all(one.sent for one in (*slow, *streams)), "each response has started")
        assert (await harness.call("GET", "/api/matches")).status_code == 200
        # The streams look for new events now and then.
        pool = harness.services.db.engine.pool
        await time.wait_until(lambda: pool.checkedout() == 0, "no response keeps a connection of the database")
    for one in (*slow, *streams):
        one.reads.set()
        one.disconnected.set()
    await asyncio.gather(*(one.task for one in (*slow, *streams)))
