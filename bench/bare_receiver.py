"""`python -m bench.bare_receiver`: the least that a webhook receiver does: HMAC, one committed insert, an answer.

It runs on the same server as the service, one worker, with asyncpg alone.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import httpx
import uvicorn
from starlette.types import Receive, Scope, Send

from bench.database import plain_dsn
from bench.environment import WEBHOOK_KEY, free_port, wait_until_ready

CONNECTIONS = 4
CREATE_TABLE = (
    "CREATE TABLE bare_events (tenant_id text, resource_id text, category text, event_type text, event_at text, "
    "received_at timestamptz NOT NULL DEFAULT now(), "
    "PRIMARY KEY (resource_id, tenant_id, category, event_type, event_at))"
)
INSERT = "INSERT INTO bare_events VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
FIELDS = ("tenantId", "resourceId", "eventCategory", "eventType", "eventDateUtc")


@dataclass
class BareReceiver:
    """An ASGI application of one route; `GET /health/ready` says that it has started."""

    dsn: str
    _pool: "asyncpg.Pool[asyncpg.Record] | None" = field(default=None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._start(receive, send)
        elif scope["method"] == "GET":
            await _respond(send, 200)
        else:
            await _respond(send, await self._store(scope, (await receive())["body"]))

    async def _start(self, receive: Receive, send: Send) -> None:
        await receive()
        self._pool = await asyncpg.create_pool(self.dsn, ssl=False, min_size=CONNECTIONS, max_size=CONNECTIONS)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._pool.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _store(self, scope: Scope, body: bytes) -> int:
        expected = base64.b64encode(hmac.digest(WEBHOOK_KEY.encode(), body, hashlib.sha256))
        if self._pool is None or not hmac.compare_digest(dict(scope["headers"])[b"x-xero-signature"], expected):
            return 401
        [event] = json.loads(body)["events"]
        await self._pool.execute(INSERT, *(event[name] for name in FIELDS))
        return 200


@asynccontextmanager
async def run_bare_receiver(dsn: str) -> AsyncIterator[tuple[int, int]]:
    """Run one in a process of its own; yield its port and the process's id."""
    connection = await asyncpg.connect(plain_dsn(dsn), ssl=False)
    await connection.execute(CREATE_TABLE)
    await connection.close()
    port = free_port()
    command = [sys.executable, "-m", "bench.bare_receiver", str(port), plain_dsn(dsn)]
    process = subprocess.Popen(command, env=os.environ)  # noqa: ASYNC220, S603 - our own program
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await wait_until_ready(client)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait)


async def _respond(send: Send, status: int) -> None:
    headers = [(b"content-length", b"2"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(BareReceiver(sys.argv[2]), port=int(sys.argv[1]), log_config=None, access_log=False)
