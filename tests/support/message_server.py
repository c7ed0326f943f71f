"""A web server that takes the messages to people, as Apprise sends them to an address `json://`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus

from app.concurrency import cancel_and_wait


@dataclass
class MessageServer:
    """Takes messages and answers with a status, or not at all.

    Attributes:
        status: what it answers.
        is_silent: whether it reads a message and never answers.
        messages: the messages it took, the oldest first, whatever it answered.
        port: where it listens.
    """

    status: int = 200
    is_silent: bool = False
    messages: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    _tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def url(self, word: str = "word") -> str:
        """Return an address with a secret word as its password, in its path and in its query."""
        return f"json://user:{word}@127.0.0.1:{self.port}/{word}/hook?-token={word}"

    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]

    def take_titles(self) -> list[str]:
        """Return the titles of the messages that came since the last call."""
        titles = self.titles()
        self.messages.clear()
        return titles

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.wait({task})

    async def close(self) -> None:
        await cancel_and_wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = dict(line.lower().split(": ", 1) for line in head.decode().splitlines() if ": " in line)
            self.messages.append(json.loads(await reader.readexactly(int(lines["content-length"]))))
            if self.is_silent:
                await asyncio.Event().wait()
            answer = f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\ncontent-length: 0\r\n\r\n"
            writer.write(answer.encode())
            await writer.drain()
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def message_server() -> AsyncIterator[MessageServer]:
    """Serve on a free port of this machine."""
    taker = MessageServer()
    server = await asyncio.start_server(taker.connect, "127.0.0.1", 0)
    taker.port = server.sockets[0].getsockname()[1]
    try:
        yield taker
    finally:
        server.close()
        await taker.close()
