"""`python -m bench.hardening.load`: many connections that each send one request again and again.

It runs in a process of its own, so that its work delays no measurement.
"""

import asyncio
import base64
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from typing_extensions import override

from bench.environment import bearer

WRONG_SIGNATURE = base64.b64encode(b"x" * 32).decode()
PROBE = '{"events":[],"entropy":"X"}'
REQUESTS = {
    "wrong-signatures": (
        "POST /api/webhooks/xero HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
        f"x-xero-signature: {WRONG_SIGNATURE}\r\ncontent-length: {len(PROBE)}\r\n\r\n{PROBE}"
    ),
    "reads": "GET /api/invoices?limit=200&search=9 HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n\r\n",
}


class Sender(asyncio.Protocol):
    """Sends the request, and again after each response; counts the responses by status."""

    def __init__(self, request: bytes, statuses: Counter[int]) -> None:
        self._request = request
        self._statuses = statuses
        self._received = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._transport.write(self._request)

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if separator and length.isdigit() and len(body) >= int(length):
            self._statuses[int(head[9:12])] += 1
            self._received = b""
            self._transport.write(self._request)


async def main(kind: str, port: int, connections: int, seconds: float) -> None:
    """Send for so many seconds, and print the responses by status as JSON."""
    request = REQUESTS[kind].replace("{authorization}", bearer()["Authorization"]).encode()
    statuses: Counter[int] = Counter()
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: Sender(request, statuses), "127.0.0.1", port)
    await asyncio.sleep(seconds)
    print(json.dumps(statuses))  # noqa: T201 - the parent process reads it


@asynccontextmanager
async def run_load(kind: str, port: int, connections: int, seconds: float) -> AsyncIterator[Counter[str]]:
    """Send from another process while the block runs; afterwards the counter holds the responses by status."""
    statuses: Counter[str] = Counter()
    arguments = [sys.executable, "-m", "bench.hardening.load", kind, str(port), str(connections), str(seconds)]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    yield statuses
    output, _ = await process.communicate()
    statuses.update(json.loads(output))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
