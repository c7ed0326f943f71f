"""A process that is asked to stop fails its readiness first, ends open streams, and exits with status 0."""

import signal

import pytest

from app.db import Database
from app.sync.webhooks.inbox import store_unreadable
from tests.support.message_server import message_server
from tests.support.served_process import ServedProcess
from tests.support.service import INTEGRATION
from tests.support.waiting import wait_until

EXIT_TIMEOUT_SECONDS = 60


async def add_given_up_event(dsn):
    """Store a webhook event that was given up, of which people are told."""
    db = Database(dsn)
    async with db.transaction() as session:
        await store_unreadable(session, "xero", b"not json", "It is not JSON.")
    await db.close()


@pytest.mark.parametrize(
    ("arguments", "number"),
    [((), signal.SIGINT), (("--workers", "2"), signal.SIGTERM)],
    ids=["SIGINT", "SIGTERM with two workers"],
)
async def test_a_process_asked_to_stop_says_so_before_it_stops_and_ends_open_streams(dsn, tmp_path, arguments, number):
    async with message_server() as people:
        # A message is being sent to an address that never answers.
        people.is_silent = True
        await add_given_up_event(dsn)
        settings = {"NOTIFY_URLS": f"{people.url()}&rto=3600", "SYNC_INTERVAL_SECONDS": "1"}
        async with ServedProcess(dsn, tmp_path / "log", *arguments, **settings) as served:
            await wait_until(served.is_ready, "the process is ready")

            async def is_sending():
                return people.messages

            await wait_until(is_sending, "a message is being sent")
            async with served.client.stream("GET", f"{INTEGRATION}/progress") as stream:
                chunks = stream.aiter_text()
                assert await anext(chunks) == "retry: 2000\n\n"
                served.process.send_signal(number)
                await wait_until(served.is_draining, "the process is not ready")
                assert "".join([chunk async for chunk in chunks]).endswith("retry: 2000\n\n")
            assert served.process.wait(EXIT_TIMEOUT_SECONDS) == 0, served.log()
            assert "Traceback" not in served.log()
