"""The stream of progress events: it ends with its token, and an absurd `Last-Event-ID` is ignored."""

import asyncio
from contextlib import asynccontextmanager

from app.api.auth import mint_token
from tests.support.clocks import shifted_clock
from tests.support.service import INTEGRATION, JWT_SECRET, open_harness

TIMEOUT_SECONDS = 60


class Stream:
    """What the service has sent of one response so far; a client in this process gets only whole responses."""

    def __init__(self):
        self.status = None
        self.text = ""
        self._changed = asyncio.Event()

    async def send(self, message):
        self.status = message.get("status", self.status)
        self.text += message.get("body", b"").decode()
        self._changed.set()

    async def wait_for(self, text):
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while text not in self.text:
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def open_stream(harness, headers=()):
    """Follow the progress with a token of one hour; yields the stream and the task that ends with it."""
    now = harness.services.clock.now()
    token = mint_token(JWT_SECRET, "viewer", "tester", hours=1, audience="vectis-billing", now=now)
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"{INTEGRATION}/progress",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"authorization", f"Bearer {token}".encode()), *headers],
        "client": ("127.0.0.1", 1),
        "scheme": "http",
        "server": ("localhost", 8000),
        "root_path": "",
    }
    requests: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    await requests.put({"type": "http.request", "body": b"", "more_body": False})
    stream = Stream()
    following = asyncio.create_task(harness.app(scope, requests.get, stream.send))
    try:
        yield stream, following
    finally:
        await requests.put({"type": "http.disconnect"})
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await following


async def test_a_stream_ends_when_its_token_expires(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        async with open_stream(harness) as (stream, following):
            await stream.wait_for("retry:")
            await clock.advance(3500)
            await harness.connect_and_sync()
            await stream.wait_for("event: run_finished")
            assert not following.done()
            await clock.advance(101)
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await following
        assert stream.status == 200


async def test_an_id_that_is_none_of_ours_is_ignored(harness):
    for value in (b"9" * 19, b"9" * 5000, b"-1", b"1e9", "²".encode("latin-1"), b"latest", b""):
        async with open_stream(harness, [(b"last-event-id", value)]) as (stream, _):
            await stream.wait_for("retry:")
            assert (value, stream.status) == (value, 200)
