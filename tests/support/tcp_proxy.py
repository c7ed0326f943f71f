"""A TCP proxy in front of a server that can fall silent: it accepts and keeps connections and passes nothing on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import make_url

from app.concurrency import cancel_and_wait
from tests.support.pgbouncer import with_port

CHUNK_BYTES = 65_536


class TcpProxy:
    """Passes bytes between clients and a server, unless it is paused.

    Attributes:
        open_connections: how many clients are connected now.
        port: where it listens.
    """

    def __init__(self, host: str, port: int) -> None:
        self.open_connections = 0
        self.port = 0
        self._server_address = (host, port)
        self._is_passing = asyncio.Event()
        self._is_passing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    def pause(self) -> None:
        """Fall silent in the middle of whatever is being sent, for new connections too."""
        self._is_passing.clear()

    def resume(self) -> None:
        self._is_passing.set()

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it or the server leaves."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open_connections += 1
        try:
            await self._is_passing.wait()
            server_reader, server_writer = await asyncio.open_connection(*self._server_address)
            with contextlib.closing(server_writer):
                await self._pass_on_both_ways(reader, writer, server_reader, server_writer)
        finally:
            self.open_connections -= 1
            writer.close()

    async def _pass_on_both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        ways = [self._pass_on(reader, server_writer), self._pass_on(server_reader, writer)]
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait(tasks)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self._is_passing.wait()
                writer.write(chunk)
                await writer.drain()

    async def close(self) -> None:
        await cancel_and_wait(self._tasks)


@contextlib.asynccontextmanager
async def open_proxy(dsn: str) -> AsyncIterator[tuple[TcpProxy, str]]:
    """Run a proxy during the block; yield it and the DSN of the same database through it."""
    url = make_url(dsn)
    proxy = TcpProxy(str(url.host), url.port or 5432)
    async with await asyncio.start_server(proxy.connect, "127.0.0.1", 0) as listener:
        proxy.port = listener.sockets[0].getsockname()[1]
        try:
            yield proxy, with_port(dsn, proxy.port)
        finally:
            proxy.resume()
            await proxy.close()
