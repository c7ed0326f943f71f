"""The limits of connections on real sockets, with both event loops, and what an ordinary client sees of them."""

import asyncio
import json
from functools import partial

import httpx
import pytest
import uvloop
from uvicorn.config import Config
from uvicorn.server import ServerState

from app.api.server.limits import ConnectionLimits
from app.api.server.protocol import LimitedProtocol
from app.api.server.refusals import RefusalLog
from tests.support.waiting import wait_until

MIB = 1024 * 1024
LIMITS = ConnectionLimits(connections=4, header_seconds=1, linger_silence_seconds=0.2)


async def refuse_large(_scope, _receive, send):
    """Answer 413 without reading the body, as the service does when a body is declared too large."""
    headers = [(b"content-length", b"5"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": b"large"})


class SocketServer:
    """A server of `refuse_large` with `LIMITS` on a port of this machine."""

    async def __aenter__(self):
        self.state = ServerState()
        config = Config(refuse_large, http=LimitedProtocol, ws="none", log_config=None, lifespan="off")
        protocol = partial(LimitedProtocol, config, self.state, {}, limits=LIMITS, refusal_log=RefusalLog())
        self._server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error):
        self._server.close()
        for connection in list(self.state.connections):
            connection.transport.abort()
        await self._server.wait_closed()

    async def wait_for_connections(self, count):
        async def are_there():
            return len(self.state.connections) == count

        await wait_until(are_there, f"{count} connections are open")

    async def connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def read_problem(self, reader):
        """Return the code of the problem that the server sends before it closes the connection."""
        async with asyncio.timeout(10):
            return json.loads((await reader.read()).rpartition(b"\r\n\r\n")[2])["code"]


async def send_a_large_body(server):
    async with httpx.AsyncClient() as client:
        response = await client.post(f"http://127.0.0.1:{server.port}", content=b"x" * 8 * MIB, timeout=10)
    assert (response.status_code, response.text) == (413, "large")


async def send_large_headers(server):
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\nx: " + b"y" * 4 * MIB)
    await writer.drain()
    assert await server.read_problem(reader) == "headers_too_large"
    writer.close()


async def send_half_a_request(server):
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\n")
    assert await server.read_problem(reader) == "request_timeout"
    writer.close()


async def open_too_many(server):
    opened = [await server.connect() for _ in range(LIMITS.connections)]
    await server.wait_for_connections(LIMITS.connections)
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await server.read_problem(reader) == "too_many_connections"
    for _, each_writer in [*opened, (reader, writer)]:
        each_writer.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_refusal_reaches_the_client_and_leaves_no_connection_open(new_loop):
    async def run():
        async with SocketServer() as server:
            for refused in (send_a_large_body, send_large_headers, send_half_a_request, open_too_many):
                await refused(server)
                await server.wait_for_connections(0)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(run())
