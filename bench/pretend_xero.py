"""`python -m bench.pretend_xero`: the simulator, made fast enough not to be what is measured.

It answers a list that was asked for before from memory, whole and compressed, and it can have an organisation with so
many invoices that the simulator could not keep them: those are made from one of the simulator's own rows when a page
of them is asked for.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl
from uuid import UUID
from zlib import compressobj

import httpx
import msgspec
import uvicorn
from starlette.types import Message, Receive, Scope, Send

from simulator.main import create_app, listen
from simulator.options import SimulatorOptions
from simulator.wire.encoding import encode_envelope, ms_date, ms_date_without_offset

API_PREFIX = "/api.xro/2.0/"
INVOICES_PATH = f"{API_PREFIX}Invoices"
CONTROL_PREFIX = "/_control"
GZIP_WBITS = 31
FIRST_CHANGE = datetime(2020, 1, 1, tzinfo=UTC)
Responder = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PretendXero:
    """A running one: its address and the id of its process."""

    url: str
    pid: int

    async def control(self, method: str, path: str, body: object = None) -> None:
        """Call the simulator's control API. Raises httpx.HTTPStatusError."""
        async with httpx.AsyncClient(timeout=600) as client:
            (await client.request(method, f"{self.url}{CONTROL_PREFIX}{path}", json=body)).raise_for_status()


@contextmanager
def run_pretend_xero(
    options: Mapping[str, object], *, is_cached: bool = True, generated_invoices: int = 0, latency_ms: int = 0
) -> Iterator[PretendXero]:
    """Run one in a process of its own; it consents without a login page, and has no rate limits unless told to.

    Args:
        options: the simulator's.
        is_cached: whether a list that was asked for before is answered from memory.
        generated_invoices: how many invoices each organisation has instead of the simulator's; 0 for the simulator's.
        latency_ms: how long an answer from memory takes, whatever the machine is doing.
    """
    simulated = {"auto_consent": True, "practices": 0, "limits_enabled": False, **options}
    given = {
        "is_cached": is_cached,
        "generated_invoices": generated_invoices,
        "latency_ms": latency_ms,
        "options": simulated,
    }
    command = [sys.executable, "-m", "bench.pretend_xero", json.dumps(given)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own program
        yield PretendXero(process.stdout.readline().strip() if process.stdout else "", process.pid)
        process.terminate()


@dataclass(slots=True)
class CachedLists:
    """Answers a GET of the accounting API that was answered before from memory; any change of the books forgets all."""

    inner: Responder
    latency_seconds: float = 0.0
    _responses: dict[object, list[Message]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path.startswith(CONTROL_PREFIX) and scope["method"] != "GET":
            self._responses.clear()
        if not path.startswith(API_PREFIX):
            await self.inner(scope, receive, send)
            return
        key = (path, *sorted(parse_qsl(scope["query_string"])), *_varying_headers(scope))
        if key not in self._responses:
            self._responses[key] = await _record(self.inner, scope, receive)
        await asyncio.sleep(self.latency_seconds)
        for message in self._responses[key]:
            await send(message)


@dataclass(slots=True)
class GeneratedInvoices:
    """Answers the list of invoices with rows made from one of the simulator's, one a second in the order of change."""

    inner: Responder
    count: int
    _template: bytes = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope.get("path") != INVOICES_PATH:
            await self.inner(scope, receive, send)
            return
        self._template = self._template or await _first_row(self.inner, scope, receive)
        query = {name.decode(): value.decode() for name, value in parse_qsl(scope["query_string"])}
        body = _compress(self._page(int(query.get("page", 1)), int(query.get("pageSize", 100)), _since(scope)))
        headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _page(self, page: int, size: int, since: datetime) -> bytes:
        first = max(0, int((since - FIRST_CHANGE).total_seconds()))
        begin, total = first + (page - 1) * size, max(0, self.count - first)
        rows = [self._row(number) for number in range(begin, min(begin + size, self.count))]
        pagination = {"page": page, "pageSize": size, "pageCount": -(-total // size), "itemCount": total}
        head = {"Status": "OK", "DateTimeUTC": ms_date_without_offset(datetime.now(UTC)), "pagination": pagination}
        return encode_envelope(head, "Invoices", rows)

    def _row(self, number: int) -> bytes:
        changed_at = FIRST_CHANGE + timedelta(seconds=number)
        stamp = ms_date(int(changed_at.timestamp() * 1000)).replace("/", "\\/").encode()
        return self._template % (str(UUID(int=number + 1, version=4)).encode(), stamp)


async def _first_row(inner: Responder, scope: Scope, receive: Receive) -> bytes:
    """Return one of the simulator's rows with placeholders for its id and for its stamp of change."""
    left_out = {b"accept-encoding", b"if-modified-since"}
    headers = [(name, value) for name, value in scope["headers"] if name not in left_out]
    query = b"page=1&pageSize=1&summaryOnly=true&where=Type%3D%3D%22ACCREC%22"
    messages = await _record(inner, {**scope, "query_string": query, "headers": headers}, receive)
    body = b"".join(message.get("body", b"") for message in messages)
    row = body[body.index(b"[", body.index(b'"Invoices"')) + 1 : body.rindex(b"]")].strip(b"\r\n")
    template = row.replace(b"%", b"%%")
    for name in (b"InvoiceID", b"UpdatedDateUTC"):
        template = re.sub(rb'("%b": ")[^"]+' % name, rb"\g<1>%s", template, count=1)
    return b"    " + template.strip()


async def _record(inner: Responder, scope: Scope, receive: Receive) -> list[Message]:
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    await inner(scope, receive, keep)
    return messages


def _varying_headers(scope: Scope) -> tuple[bytes, ...]:
    headers = dict(scope["headers"])
    return tuple(headers.get(name, b"") for name in (b"xero-tenant-id", b"if-modified-since", b"accept-encoding"))


def _since(scope: Scope) -> datetime:
    value = dict(scope["headers"]).get(b"if-modified-since")
    return datetime.fromisoformat(value.decode()).replace(tzinfo=UTC) if value else FIRST_CHANGE


def _compress(body: bytes) -> bytes:
    compressor = compressobj(1, wbits=GZIP_WBITS)
    return compressor.compress(body) + compressor.flush()


def _exit_when_stdin_closes() -> None:
    """End this process with the one that started it, however that ends."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main(given: Mapping[str, object]) -> None:
    """Serve until the parent process ends; print the address first."""
    options = msgspec.convert(given["options"], SimulatorOptions)
    app: Responder = create_app(options)
    if count := msgspec.convert(given["generated_invoices"], int):
        app = GeneratedInvoices(app, count)
    elif given["is_cached"]:
        app = CachedLists(app, msgspec.convert(given["latency_ms"], float) / 1000)
    config = uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False, timeout_keep_alive=75)
    listener = listen("127.0.0.1", 0)
    threading.Thread(target=_exit_when_stdin_closes, daemon=True).start()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the parent process reads it
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
