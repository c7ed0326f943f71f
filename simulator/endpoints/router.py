"""Reads each request, dispatches it to its endpoint, records it in the call log, compresses and sends the response."""

from asyncio import sleep
from http import HTTPStatus
from zlib import compressobj

import httpx
from starlette.types import Receive, Scope, Send

from simulator.endpoints.accounting import handle_accounting
from simulator.endpoints.connections import handle_connections
from simulator.endpoints.consent import handle_authorize
from simulator.endpoints.context import Endpoint, RequestContext
from simulator.endpoints.token import handle_revocation, handle_token
from simulator.http import ConnectionAbort, Request, Response
from simulator.state import SimulatorState
from simulator.wire.errors import XeroError, not_found

TRANSPORT_KEY = "simulator.transport"
_GZIP_WBITS = 31
_ENDPOINTS: tuple[tuple[str, Endpoint], ...] = (
    ("/api.xro/2.0/", handle_accounting),
    ("/connections", handle_connections),
    ("/connect/token", handle_token),
    ("/connect/revocation", handle_revocation),
    ("/identity/connect/authorize", handle_authorize),
)


class Router:
    """The ASGI endpoint of all of Xero's public paths, which it matches in any letter case, as Xero does."""

    def __init__(self, state: SimulatorState) -> None:
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = await _read_request(scope, receive)
        call_log = self._state.call_log
        context = RequestContext(self._state, request, call_log.start(request))
        context.log_entry.grant_type = (
            request.form.get("grant_type") if request.path.lower() == "/connect/token" else None
        )
        try:
            response = await _dispatch(context)
            if self._state.options.latency_ms and response.status != HTTPStatus.TOO_MANY_REQUESTS:
                await sleep(self._state.options.latency_ms / 1000)
            await _send_response(context, response, scope, receive, send)
        finally:
            call_log.finish(context.log_entry)


async def _dispatch(context: RequestContext) -> Response:
    path = context.request.path.lower()
    endpoint = next((endpoint for prefix, endpoint in _ENDPOINTS if path.startswith(prefix)), None)
    if endpoint is None:
        return not_found()
    try:
        return await endpoint(context)
    except XeroError as error:
        return error.response


async def _read_request(scope: Scope, receive: Receive) -> Request:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    query = scope["query_string"].decode("latin-1")
    return Request(method=scope["method"], path=scope["path"], raw_query=query, headers=headers, body=body)


async def _send_response(
    context: RequestContext, response: Response, scope: Scope, receive: Receive, send: Send
) -> None:
    log_entry = context.log_entry
    body = _compress_body(context, response)
    log_entry.status, log_entry.note = response.status, response.note
    if response.abort is ConnectionAbort.BEFORE_RESPONSE:
        log_entry.status = None
        return _close_connection(scope)
    if response.abort is ConnectionAbort.NEVER:
        log_entry.status = None
        return await _wait_for_disconnect(scope, receive)
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": _response_headers(context, response, len(body)),
        }
    )
    if response.abort is ConnectionAbort.MID_BODY:
        await send(
            {"type": "http.response.body", "body": body[: int(len(body) * response.sent_share)], "more_body": True}
        )
        return _close_connection(scope)
    log_entry.bytes_wire = len(body)
    return await send({"type": "http.response.body", "body": body})


def _compress_body(context: RequestContext, response: Response) -> bytes:
    """Return the body to send: gzip-compressed, with the header for it added, if the client accepts that."""
    context.log_entry.bytes_raw = len(response.body)
    accepts_gzip = "gzip" in context.request.headers.get("accept-encoding", "").lower()
    if not (accepts_gzip and response.compress and response.body):
        return response.body
    response.headers.append(("Content-Encoding", "gzip"))
    compressor = compressobj(context.state.options.gzip_level, wbits=_GZIP_WBITS)
    return compressor.compress(response.body) + compressor.flush()


def _response_headers(context: RequestContext, response: Response, length: int) -> list[tuple[bytes, bytes]]:
    headers = [("Xero-Correlation-Id", context.correlation_id), ("Vary", "Accept-Encoding"), *response.headers]
    if response.content_type:
        headers.append(("Content-Type", response.content_type))
    if response.status != HTTPStatus.NO_CONTENT:
        headers.append(("Content-Length", str(length)))
    return [(name.lower().encode(), value.encode()) for name, value in headers]


async def _wait_for_disconnect(scope: Scope, receive: Receive) -> None:
    """Return when the client has gone; without a socket, raise the error that it would see after its time-out."""
    if scope.get(TRANSPORT_KEY) is None:
        raise httpx.ReadTimeout("the pretend Xero does not answer")
    while (await receive())["type"] != "http.disconnect":
        pass


def _close_connection(scope: Scope) -> None:
    """Close the socket without finishing the response; without a socket, raise the error that a client would see."""
    transport = scope.get(TRANSPORT_KEY)
    if transport is None:
        raise httpx.ReadError("the pretend Xero closed the connection")
    transport.abort()
