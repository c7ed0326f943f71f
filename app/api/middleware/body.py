"""What a request may weigh and how long it may take to arrive, and the headers every answer carries."""

import asyncio
import re

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import is_guarded
from app.api.errors import FieldError, Problem, invalid

KIB = 1024
API_BYTES = 64 * KIB
BULK_BYTES = 2 * KIB * KIB
WEBHOOK_BYTES = KIB * KIB
BULK = "/api/psa/"
WEBHOOKS = "/api/webhooks/"
BODY_SECONDS = 15
WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
JSON_TYPE = re.compile(rb"application/(?:json|[\w.+-]+\+json)\s*(?:;.*)?", re.IGNORECASE)
# An escaped NUL: the backslash that begins it is not itself escaped. PostgreSQL cannot keep that character.
ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")

CLOSE = {"Connection": "close"}


class BodyMiddleware:
    """Reads the body before anyone else does: counted while it streams, in time, plain, and sound if it is JSON.

    The application then gets it in one piece, and can no longer meet a body that is too long, half there, or that
    the database could not keep.

    Args:
        app: what comes next.
        seconds: how long a body may take to arrive.
    """

    def __init__(self, app: ASGIApp, seconds: float = BODY_SECONDS) -> None:
        self.app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _check_address(scope)
        if scope["method"] in WITHOUT_BODY:
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
        limit = _limit(scope["path"])
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(self._seconds):
                body = await _collect(receive, limit)
        except TimeoutError as error:
            detail = f"The body must arrive within {self._seconds:g} seconds."
            raise Problem("request_timeout", detail, headers=CLOSE) from error
        if body and is_guarded(scope["path"]):
            _check_json(body, headers.get(b"content-type", b""))
        return body


def _limit(path: str) -> int:
    if path.startswith(WEBHOOKS):
        return WEBHOOK_BYTES
    return BULK_BYTES if path.startswith(BULK) else API_BYTES


async def _collect(receive: Receive, limit: int) -> bytes | None:
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
    is_told = False

    async def tell() -> Message:
        nonlocal is_told
        if is_told:
            return await receive()
        is_told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return tell


def _check_address(scope: Scope) -> None:
    if "\0" in scope["path"]:
        raise Problem("not_found", "There is nothing at this address.")
    if b"%00" in scope["query_string"]:
        raise invalid([FieldError(pointer="/query", message="A NUL character is in it.")])


def _check_json(body: bytes, content_type: bytes) -> None:
    if not JSON_TYPE.fullmatch(content_type.strip()):
        raise Problem("unsupported_media_type", "Send JSON, with `Content-Type: application/json`.")
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("malformed_json", f"The body is not JSON that can be kept: {_why(error)}.") from error
    if ESCAPED_NUL.search(body):
        raise invalid([FieldError(pointer="", message="A NUL character is in it.")])


def _why(error: Exception) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error).rstrip(".")
