"""Reads request bodies: limits their size, and checks that they are valid JSON."""

import re

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import is_protected
from app.api.errors import FieldError, Problem, validation_failed

KIB = 1024
API_BYTES = 64 * KIB
BULK_PREFIX, BULK_BYTES = "/api/psa/", 2 * KIB * KIB
WEBHOOK_PREFIX, WEBHOOK_BYTES = "/api/webhooks/", KIB * KIB
METHODS_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
JSON_TYPE = re.compile(rb"application/(?:json|[\w.+-]+\+json)\s*(?:;.*)?", re.IGNORECASE)
# An escaped NUL character whose backslash is not itself escaped. PostgreSQL cannot store NUL in text.
ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# Sent when a body was not read to its end: the rest of it must not be taken for the next request.
CLOSE = {"Connection": "close"}


class BodyMiddleware:
    """Reads the whole body and refuses one that is too large, compressed, or not JSON that can be stored.

    Comes after `AuthenticationMiddleware` and before `IdempotencyMiddleware`, which hashes the body; stores the body in
    `scope["state"]` and passes it on as one message. A request whose sender disconnects is dropped, and so is one whose
    body comes too slowly, which the server has refused (`LimitedProtocol`). NUL characters in the URL are refused too,
    as PostgreSQL cannot store them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _check_url(scope)
        if scope["method"] in METHODS_WITHOUT_BODY:
            await self.app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is not None:
            scope["state"]["body"] = body
            await self.app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Problem("unsupported_media_type", "Send the body without Content-Encoding.", headers=CLOSE)
        limit = _size_limit(scope["path"])
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        body = await _collect(receive, limit)
        if body and is_protected(scope["path"]):
            _check_json(body, headers.get(b"content-type", b""))
        return body


def _size_limit(path: str) -> int:
    if path.startswith(WEBHOOK_PREFIX):
        return WEBHOOK_BYTES
    return BULK_BYTES if path.startswith(BULK_PREFIX) else API_BYTES


async def _collect(receive: Receive, limit: int) -> bytes | None:
    """Return the body, or None when the sender disconnected before its end."""
    chunks = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks += message.get("body", b"")
        if len(chunks) > limit:
            raise _too_large(limit)
        if not message.get("more_body", False):
            return bytes(chunks)


def _too_large(limit: int) -> Problem:
    return Problem("body_too_large", f"At most {limit // KIB} KiB are read at this address.", headers=CLOSE)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that yields the body as one message, and after it what the server sends."""
    is_sent = False

    async def receive_body() -> Message:
        nonlocal is_sent
        if is_sent:
            return await receive()
        is_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_body


def _check_url(scope: Scope) -> None:
    if "\0" in scope["path"]:
        raise Problem("not_found", "There is nothing at this address.")
    if b"%00" in scope["query_string"]:
        raise validation_failed([FieldError(pointer="/query", message="A NUL character is in it.")])


def _check_json(body: bytes, content_type: bytes) -> None:
    if not JSON_TYPE.fullmatch(content_type.strip()):
        raise Problem("unsupported_media_type", "Send JSON, with `Content-Type: application/json`.")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(
            "malformed_json", f"The body is not JSON that can be kept: {_describe_decode_error(error)}."
        ) from error
    if ESCAPED_NUL.search(body):
        raise validation_failed([FieldError(pointer="", message="A NUL character is in it.")])


def _describe_decode_error(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error).rstrip(".")
