"""`python -m bench.delivery_load`: sends distinct webhook deliveries over kept-alive connections.

It runs in a process of its own and prepares every delivery before it sends the first one, so that its own work delays
the receiver as little as may be. It prints one JSON object: the seconds, each delivery's latency, and the responses by
status.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import uuid4

import uvloop
from typing_extensions import override

from bench.deliveries import WEBHOOK_PATH, signed_delivery

EVENT_AT = "2026-11-02T00:00:00.000"
TIMEOUT_SECONDS = 300


@dataclass(frozen=True, slots=True)
class DeliveryLoad:
    """What was sent: the seconds from the first delivery to the last answer, and each delivery's latency in seconds."""

    seconds: float
    latencies: list[float]
    statuses: dict[str, int]

    @property
    def stored(self) -> int:
        """How many were answered with 200."""
        return self.statuses.get("200", 0)

    @property
    def refused(self) -> int:
        """How many were not."""
        return sum(self.statuses.values()) - self.stored


@dataclass
class Sender(asyncio.Protocol):
    """Sends the next delivery after each response, until none is left."""

    deliveries: Iterator[bytes]
    latencies: list[float]
    statuses: Counter[str]
    done: asyncio.Future[None]
    _received: bytes = b""
    _started: float = 0.0
    _transport: asyncio.Transport | None = field(default=None)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._send()

    @override
    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
        if separator and len(body) >= int(length or 0):
            self.latencies.append(time.perf_counter() - self._started)
            self.statuses[head[9:12].decode()] += 1
            self._received = b""
            self._send()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionError("The receiver closed a connection."))

    def _send(self) -> None:
        delivery = next(self.deliveries, None)
        if delivery is None:
            self.done.set_result(None)
        elif self._transport:
            self._started = time.perf_counter()
            self._transport.write(delivery)


async def send_from_another_process(port: int, connections: int, count: int, tenant_id: str) -> DeliveryLoad:
    """Send so many deliveries to a port of this machine."""
    arguments = [sys.executable, "-m", "bench.delivery_load", str(port), str(connections), str(count), tenant_id]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return DeliveryLoad(**json.loads(output))


async def main(port: int, connections: int, count: int, tenant_id: str) -> None:
    """Send, and print what was measured."""
    deliveries = iter([_request(tenant_id) for _ in range(count)])
    latencies: list[float] = []
    statuses: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    senders = [Sender(deliveries, latencies, statuses, loop.create_future()) for _ in range(connections)]
    started = time.perf_counter()
    for sender in senders:
        await loop.create_connection(lambda sender=sender: sender, "127.0.0.1", port)  # type: ignore[misc]
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*(sender.done for sender in senders))
    result = {"seconds": time.perf_counter() - started, "latencies": latencies, "statuses": statuses}
    print(json.dumps(result))  # noqa: T201 - the parent process reads it


def _request(tenant_id: str) -> bytes:
    body, headers = signed_delivery(tenant_id, str(uuid4()), EVENT_AT)
    lines = [f"POST {WEBHOOK_PATH} HTTP/1.1", "host: localhost", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
