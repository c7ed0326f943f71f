"""A process that is asked to stop fails its readiness first, ends open streams, and exits with status 0."""

import signal
import subprocess

import httpx
import pytest

from app.api.auth import mint_token
from app.clock import SystemClock
from app.db import Database
from app.sync.webhooks.inbox import store_unreadable
from tests.support.commands import command_line, settings_environment
from tests.support.message_server import message_server
from tests.support.ports import free_port
from tests.support.service import ENCRYPTION_KEYS, INTEGRATION, JWT_SECRET
from tests.support.waiting import wait_until

EXIT_TIMEOUT_SECONDS = 60


class ServedProcess:
    """`vectis-xero serve` in a process of its own, and a client of it that opens a connection for every request."""

    def __init__(self, dsn, log_path, *arguments, **settings):
        port = free_port()
        environment = settings_environment(dsn, ENCRYPTION_KEYS, LOG_FORMAT="json", **settings)
        command = command_line("serve", "--port", str(port), *arguments)
        self.log_path = log_path
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=log_path.parent)  # noqa: S603 - our own program
        token = mint_token(JWT_SECRET, "admin", "t", hours=1, audience="vectis-billing", now=SystemClock().now())
        self.client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {token}"},
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=30,
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_error):
        await self.client.aclose()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    async def readiness(self):
        """Return the answer to whether the process is ready, or None when it takes no connection."""
        try:
            return await self.client.get("/health/ready")
        except httpx.TransportError:
            return None

    async def is_ready(self):
        assert self.process.poll() is None, self.log_path.read_text()
        response = await self.readiness()
        return response is not None and response.is_success

    async def is_draining(self):
        response = await self.readiness()
        assert response is not None, f"it takes no request before it is known not to be ready: {self.log()}"
        return (
            response.status_code == 503
            and "about to stop" in response.text
            and "close" in response.headers["connection"]
        )

    def log(self):
        return self.log_path.read_text()


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
