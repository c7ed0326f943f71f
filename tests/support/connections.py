"""A connection of the HTTP server without a network: what the client sends and reads, and a clock that a test moves."""

import asyncio
import heapq
import json
import re
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from app.api.server.limits import ConnectionLimits
from app.api.server.protocol import LimitedProtocol
from app.api.server.refusals import RefusalLog


class ManualLoop:
    """An event loop's clock and timers, which `advance` moves; tasks run on the running loop."""

    def __init__(self) -> None:
        self._now = 100.0
        self._timers: list[asyncio.TimerHandle] = []

    def time(self):
        return self._now

    def call_at(self, when, callback, *arguments):
        loop: Any = self
        timer = asyncio.TimerHandle(when, callback, arguments, loop)
        heapq.heappush(self._timers, timer)
        return timer

    def call_later(self, delay, callback, *arguments):
        return self.call_at(self._now + delay, callback, *arguments)

    def call_soon(self, callback, *arguments):
        return asyncio.get_running_loop().call_soon(callback, *arguments)

    def create_task(self, coroutine):
        return asyncio.get_running_loop().create_task(coroutine)

    def get_debug(self):
        return False

    def _timer_handle_cancelled(self, timer):
        pass

    def call_exception_handler(self, context):
        raise AssertionError(context)

    @property
    def timers(self):
        return sum(not timer.cancelled() for timer in self._timers)

    async def advance(self, seconds):
        """Move the clock, fire the timers that are due on the way, and let the tasks run."""
        until = self._now + seconds
        while self._timers and self._timers[0].when() <= until:
            timer = heapq.heappop(self._timers)
            self._now = max(self._now, timer.when())
            if not timer.cancelled():
                timer._run()  # noqa: SLF001 - as an event loop does
            await settle()
        self._now = until
        await settle()


async def settle():
    """Let the tasks of the running loop go on until they wait for something else."""
    for _ in range(10):
        await asyncio.sleep(0)


class Connection(asyncio.Transport):
    """One connection: the client's end of it, and the transport that the protocol is given.

    Attributes:
        sent: what the server has sent.
        writes: in how many pieces.
        is_open: whether the server has not closed it.
        is_half_closed: whether the server has said that nothing more follows.
        is_aborted: whether what was not sent yet was dropped.
        is_read: whether the server reads.
        unsent: bytes that the client does not take.
    """

    def __init__(self, server):
        super().__init__()
        self.sent = b""
        self.writes = 0
        self.is_open = True
        self.is_half_closed = self.is_aborted = False
        self.is_read = True
        self.unsent = 0
        self.protocol = server.make_protocol()
        self.protocol.connection_made(self)

    # The client.

    async def send(self, data):
        """Send bytes, as far as the server still reads them, and let it act."""
        if self.is_open and self.is_read:
            self.protocol.data_received(data)
        await settle()

    async def stop_reading(self, unsent):
        """Let the server notice that so many bytes wait in its buffer."""
        self.unsent = unsent
        self.protocol.pause_writing()
        await settle()

    def disconnect(self):
        self.is_open = False
        self.protocol.connection_lost(None)

    @property
    def statuses(self):
        """The status codes of the responses, in their order."""
        return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.sent)]

    @property
    def problem(self):
        """The problem that the last response holds."""
        return json.loads(self.sent.rpartition(b"\r\n\r\n")[2])

    # The transport.

    def get_extra_info(self, name, default=None):
        return default

    def write(self, data):
        assert self.is_open
        assert not self.is_half_closed
        self.sent += data
        self.writes += 1

    def write_eof(self):
        self.is_half_closed = True

    def can_write_eof(self):
        return True

    def is_closing(self):
        return not self.is_open

    def close(self):
        if not self.unsent and self.is_open:
            self.disconnect()

    def abort(self):
        self.is_aborted = True
        self.disconnect()

    def pause_reading(self):
        self.is_read = False

    def resume_reading(self):
        self.is_read = True

    def get_write_buffer_size(self):
        return self.unsent


class LimitedServer:
    """The connections of one server, over an ASGI application.

    Args:
        app: the application.
        limits: those of `ConnectionLimits` that are not the default ones.

    Attributes:
        loop: the clock.
        state: what the connections share.
    """

    def __init__(self, app, **limits):
        self.loop = ManualLoop()
        loop: Any = self.loop
        self.state = ServerState()
        config = Config(app, http=LimitedProtocol, ws="none", log_config=None, lifespan="off")
        log = RefusalLog(self.loop.time)
        self.make_protocol = partial(
            LimitedProtocol, config, self.state, {}, loop, limits=ConnectionLimits(**limits), refusal_log=log
        )

    def connect(self):
        return Connection(self)
