"""`vectis-xero serve` in a process of its own, as an operator starts it."""

import contextlib
import os
import signal
import subprocess

import httpx

from app.api.auth import mint_token
from app.clock import SystemClock
from tests.support.commands import command_line, settings_environment
from tests.support.ports import free_port
from tests.support.service import ENCRYPTION_KEYS, JWT_SECRET


class ServedProcess:
    """A served process, and a client of it that opens a connection for every request.

    Args:
        dsn: the database.
        log_path: the file of its log, in whose folder it runs.
        arguments: of the command.
        variables: more environment variables.
    """

    def __init__(self, dsn, log_path, *arguments, **variables):
        port = free_port()
        environment = settings_environment(dsn, ENCRYPTION_KEYS, LOG_FORMAT="json", **variables)
        command = command_line("serve", "--port", str(port), *arguments)
        self.log_path = log_path
        with log_path.open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                command, env=environment, stdout=log, stderr=log, cwd=log_path.parent, start_new_session=True
            )
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
        # Its workers too, which a parent that is killed leaves behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
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
