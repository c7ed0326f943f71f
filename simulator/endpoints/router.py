"""The way in and out: reads a request, finds its door, keeps the ledger, compresses and sends the answer."""

from asyncio import sleep
from http import HTTPStatus
from zlib import compressobj

import httpx
from starlette.types import Receive, Scope, Send

from simulator.endpoints.accounting import answer_accounting
from simulator.endpoints.connections import answer_connections
from simulator.endpoints.consent import answer_authorize
from simulator.endpoints.context import Door, Visit
from simulator.endpoints.token import answer_revocation, answer_token
from simulator.http import Answer, Call, Cut
from simulator.state import World
from simulator.wire.errors import XeroError, not_found

TRANSPORT = "simulator.transport"
_GZIP_WBITS = 31
_DOORS: tuple[tuple[str, Door], ...] = (
    ("/api.xro/2.0/", answer_accounting),
    ("/connections", answer_connections),
    ("/connect/token", answer_token),
    ("/connect/revocation", answer_revocation),
    ("/identity/connect/authorize", answer_authorize),
)


class Gate:
    """The ASGI endpoint behind all of Xero's public paths, whose letter case Xero ignores."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = await _read_call(scope, receive)
        ledger = self._world.ledger
        visit = Visit(self._world, call, ledger.open(call))
        visit.entry.grant_type = call.form.get("grant_type") if call.path.lower() == "/connect/token" else None
        try:
            answer = await _answer(visit)
            if self._world.options.latency_ms and answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                await sleep(self._world.options.latency_ms / 1000)
            await _send(visit, answer, scope, send)
        finally:
            ledger.close(visit.entry)


async def _answer(visit: Visit) -> Answer:
    path = visit.call.path.lower()
    door = next((door for start, door in _DOORS if path.startswith(start)), None)
    if door is None:
        return not_found()
    try:
        return await door(visit)
    except XeroError as error:
        return error.answer


async def _read_call(scope: Scope, receive: Receive) -> Call:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return Call(method=scope["method"], path=scope["path"], raw_query=query, headers=headers, body=body)


async def _send(visit: Visit, answer: Answer, scope: Scope, send: Send) -> None:
    entry = visit.entry
    body = _compressed(visit, answer)
    entry.status, entry.note = answer.status, answer.note
    if answer.cut is Cut.BEFORE_ANSWER:
        entry.status = None
        return _abort(scope)
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(visit, answer, len(body))})
    if answer.cut is Cut.MID_BODY:
        await send({"type": "http.response.body", "body": body[: int(len(body) * answer.keep)], "more_body": True})
        return _abort(scope)
    entry.bytes_wire = len(body)
    return await send({"type": "http.response.body", "body": body})


def _compressed(visit: Visit, answer: Answer) -> bytes:
    """The body as it goes over the wire; the answer's headers learn of it."""
    visit.entry.bytes_raw = len(answer.body)
    accepts = "gzip" in visit.call.headers.get("accept-encoding", "").lower()
    if not (accepts and answer.compress and answer.body):
        return answer.body
    answer.headers.append(("Content-Encoding", "gzip"))
    packer = compressobj(visit.world.options.gzip_level, wbits=_GZIP_WBITS)
    return packer.compress(answer.body) + packer.flush()


def _headers(visit: Visit, answer: Answer, length: int) -> list[tuple[bytes, bytes]]:
    headers = [("Xero-Correlation-Id", visit.correlation_id), ("Vary", "Accept-Encoding"), *answer.headers]
    if answer.content_type:
        headers.append(("Content-Type", answer.content_type))
    if answer.status != HTTPStatus.NO_CONTENT:
        headers.append(("Content-Length", str(length)))
    return [(name.lower().encode(), value.encode()) for name, value in headers]


def _abort(scope: Scope) -> None:
    """Close the socket without ceremony; in process, raise what a client sees when that happens."""
    transport = scope.get(TRANSPORT)
    if transport is None:
        raise httpx.ReadError("the pretend Xero closed the connection")
    transport.abort()
