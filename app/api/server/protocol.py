"""uvicorn's HTTP protocol with limits of size and time for every request, whoever reads it."""

import asyncio
from enum import Enum, auto
from typing import Any

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.api.server.deadline import Deadline
from app.api.server.limits import ConnectionLimits
from app.api.server.output import ResponseOutput
from app.api.server.refusals import Refusal, RefusalLog, render_refusal

# An HTTP header takes this many bytes beside its name and value.
HEADER_OVERHEAD = len(b": \r\n")


class Phase(Enum):
    """What is expected next from the client."""

    SILENT = auto()
    """The first byte of a request; none is being answered."""
    HEADERS = auto()
    BODY = auto()
    ANSWERED = auto()
    """Nothing: a request has arrived as a whole and is being answered."""
    DROPPED = auto()
    """Nothing that would be looked at: after the response under way the connection is closed."""
    LINGERING = auto()
    """That it reads the response; what it still sends is dropped."""
    CLOSING = auto()
    """That it takes what was sent."""


class RequestNotAcceptable(Exception):
    """Raised within a callback of the parser, which then stops; the refusal is kept beside it."""


class LimitedProtocol(HttpToolsProtocol):
    """Serves one connection within `ConnectionLimits`.

    What is refused is answered with a problem where no response is under way, and the connection is closed after a
    moment in which the client can read it. A response may take as long as it likes, as a stream does, while the client
    takes what it is sent.

    Args:
        config: of the server.
        server_state: shared by all connections of the server.
        app_state: the state that the application's start-up left.
        _loop: the event loop; the running one unless given. The name is the one that uvicorn passes.
        limits: what the connection may take.
        refusal_log: logs what is refused.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
        refusal_log: RefusalLog,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._refusal_log = refusal_log
        self._phase = Phase.SILENT
        self._silent_since = self.loop.time()
        self._is_surplus = False
        self._active: RequestResponseCycle | None = None
        self._output: ResponseOutput | None = None
        self._refusal = Refusal.MALFORMED
        self._header_bytes = 0
        self._unfinished_bytes = 0
        self._has_progressed = False
        self._lingers_until = 0.0
        self._unsent_bytes = 0
        self._input_deadline = Deadline(self.loop, self._end_phase)
        self._output_deadline = Deadline(self.loop, self._abort_when_stalled)

    # The connection.

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self._has_place():
            self._await_request()
        else:
            self._is_surplus = True
            self._refuse(Refusal.TOO_MANY_CONNECTIONS)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._input_deadline.close()
        self._output_deadline.close()
        self._disconnect(self._active)
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.LINGERING:
            self._linger_on()
            return
        if self._phase in {Phase.DROPPED, Phase.CLOSING}:
            return
        if self._phase in {Phase.SILENT, Phase.ANSWERED}:
            self._await_headers()
        self._has_progressed = False
        self._parse(data)
        # What the parser has not handed on yet it keeps: the whole of an unfinished header, or of a trailer.
        self._unfinished_bytes = 0 if self._has_progressed else self._unfinished_bytes + len(data)
        if self._phase in {Phase.HEADERS, Phase.BODY} and self._unfinished_bytes > self._limits.header_bytes:
            self._refuse(Refusal.HEADERS_TOO_LARGE)

    @override
    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_output()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        if self._phase is not Phase.CLOSING:
            self._output_deadline.clear()

    @override
    def shutdown(self) -> None:
        if self._phase in {Phase.LINGERING, Phase.CLOSING}:
            self.transport.close()
        else:
            super().shutdown()

    # The parser and its callbacks.

    def _parse(self, data: bytes) -> None:
        """Parse what has arrived; in place of uvicorn's method, which logs each request that cannot be parsed."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # The request is served without the upgrade, as HTTP allows.
            pass
        except httptools.HttpParserError:
            self._refuse(self._refusal)

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._header_bytes = 0
        if self._phase is not Phase.HEADERS:
            self._await_headers()

    @override
    def on_url(self, url: bytes) -> None:
        self._count_header_bytes(len(url))
        super().on_url(url)

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_header_bytes(len(name) + len(value) + HEADER_OVERHEAD)
        # A trailer, which comes after the body, must not pass for a header that the application has not seen.
        if self._phase is Phase.HEADERS:
            super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= self._limits.pipelined_requests:
            raise RequestNotAcceptable
        self._has_progressed = True
        self._input_deadline.clear()
        self._phase = Phase.BODY
        super().on_headers_complete()
        if self.parser.should_upgrade():
            # The parser reads no further request on a connection that was asked to speak something else.
            self.cycle.keep_alive = False

    @override
    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._has_progressed = True
        self._input_deadline.clear()
        self._phase = Phase.ANSWERED

    # The application and its response.

    @override
    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:  # type: ignore[override]
        self._active = cycle
        self._output = ResponseOutput(self.transport, self.loop, self.close_after_response)
        cycle.transport = self._output  # type: ignore[assignment]
        if cycle.more_body:
            self._input_deadline.set(self._limits.body_seconds)

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_close(message: Message) -> None:
                if message["type"] == "http.response.start" and cycle.more_body:
                    # The rest of the body must not be taken for the next request.
                    cycle.keep_alive = False
                await send(message)

            try:
                await app(scope, receive, send_and_close)
            except asyncio.CancelledError:
                # Only the server's shutdown cancels a request, one that has taken too long to be waited for.
                self._end_unfinished(cycle)

        super()._start_asgi_task(cycle, run)  # type: ignore[arg-type]

    @override
    def on_response_complete(self) -> None:
        if self._output is not None:
            self._output.flush()
        if self._phase in {Phase.LINGERING, Phase.CLOSING}:
            self.server_state.total_requests += 1
            return
        super().on_response_complete()
        # uvicorn's own limit of the time between two requests ends with the first byte of the next one.
        self._unset_keepalive_if_required()
        if self._phase is Phase.ANSWERED and not self._is_answering():
            self._await_request()

    def close_after_response(self) -> None:
        """Close the connection when everything was written; when more may come from the client, after a moment."""
        if self._phase is Phase.ANSWERED:
            self._close()
        else:
            self._linger()

    def _end_unfinished(self, cycle: RequestResponseCycle) -> None:
        if not (cycle.response_started or cycle.disconnected or self.transport.is_closing()):
            self.transport.write(render_refusal(Refusal.STOPPED, self.server_state.default_headers))
        if self._output is not None:
            self._output.flush()
        self._disconnect(cycle)
        self.transport.close()

    # Phases.

    def _await_request(self) -> None:
        self._phase = Phase.SILENT
        self._silent_since = self.loop.time()
        self._input_deadline.set(self._limits.silence_seconds)

    def _await_headers(self) -> None:
        self._phase = Phase.HEADERS
        self._unfinished_bytes = 0
        self._input_deadline.set(self._limits.header_seconds)

    def _end_phase(self) -> None:
        """Act on the client's having taken too long."""
        if self._phase in {Phase.HEADERS, Phase.BODY}:
            self._refuse(Refusal.TOO_SLOW)
        else:
            self._close()

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal_log.add(refusal)
        self._input_deadline.clear()
        self.pipeline.clear()
        if self._is_answering() and not self._is_refusable():
            # Two responses cannot be mixed; the present one is the last.
            self._active.keep_alive = False  # type: ignore[union-attr]
            self._phase = Phase.DROPPED
            self.flow.resume_reading()
            return
        self._disconnect(self._active)
        self.transport.write(render_refusal(refusal, self.server_state.default_headers))
        self._linger()

    def _linger(self) -> None:
        self._phase = Phase.LINGERING
        self.pipeline.clear()
        self.flow.resume_reading()
        if not self.transport.can_write_eof() or (self._is_surplus and self._is_crowded()):
            self._close()
            return
        self.transport.write_eof()
        self._lingers_until = self.loop.time() + self._limits.linger_seconds
        self._linger_on()

    def _linger_on(self) -> None:
        remaining = self._lingers_until - self.loop.time()
        self._input_deadline.set(min(remaining, self._limits.linger_silence_seconds))

    def _close(self) -> None:
        self._phase = Phase.CLOSING
        self._input_deadline.clear()
        self.transport.close()
        self._watch_output()

    def _watch_output(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._output_deadline.set(self._limits.stalled_seconds)

    def _abort_when_stalled(self) -> None:
        """Abort the connection when the client has taken nothing of what is sent to it."""
        if self.transport.get_write_buffer_size() < self._unsent_bytes:
            self._watch_output()
        else:
            self.transport.abort()

    # Questions.

    def _has_place(self) -> bool:
        """Return whether this connection may be served, after closing one that has long been silent for it."""
        if len(self.connections) <= self._limits.connections:
            return True
        served = [each for each in self.connections if isinstance(each, LimitedProtocol) and not each.is_surplus]
        if len(served) <= self._limits.connections:
            return True
        silent = [each for each in served if each.silent_seconds() > self._limits.spare_silence_seconds]
        if not silent:
            return False
        max(silent, key=LimitedProtocol.silent_seconds).give_way()
        return True

    @property
    def is_surplus(self) -> bool:
        """Whether the connection was refused because there were too many."""
        return self._is_surplus

    def silent_seconds(self) -> float:
        """Return for how long the first byte of a request has been waited for; 0 while a request is under way."""
        return self.loop.time() - self._silent_since if self._phase is Phase.SILENT else 0

    def give_way(self) -> None:
        """Close the connection, because another needs its place."""
        self.connections.discard(self)
        self._close()

    def _is_crowded(self) -> bool:
        surplus = sum(isinstance(each, LimitedProtocol) and each.is_surplus for each in self.connections)
        return surplus > self._limits.refused_connections

    def _is_answering(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def _is_refusable(self) -> bool:
        """Return whether the request being answered is the one whose body is awaited, and nothing of it was sent."""
        awaited = self._phase is Phase.BODY and self._active is self.cycle
        return awaited and not self.cycle.response_started

    def _count_header_bytes(self, count: int) -> None:
        self._header_bytes += count
        if self._header_bytes > self._limits.header_bytes:
            self._refusal = Refusal.HEADERS_TOO_LARGE
            raise RequestNotAcceptable

    @staticmethod
    def _disconnect(cycle: RequestResponseCycle | None) -> None:
        """Let the application see that the client is gone."""
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
