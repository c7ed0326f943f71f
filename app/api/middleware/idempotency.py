"""`Idempotency-Key` on every mutation: the same key and body get the same reply for 24 hours, across all replicas."""

import hashlib
import json
import re
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import is_guarded
from app.api.deps import Services
from app.api.errors import Problem
from app.crypto import SealBroken
from app.db import DatabaseUnavailable
from app.idempotency import Claim, Kept, RequestKey, claim_request, keep_reply, release_request

HEADER = b"idempotency-key"
MUTATIONS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
SANE_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# Sent again with a kept reply; the rest is made anew by the doors before this one.
KEPT_HEADERS = frozenset({b"content-type", b"location", b"set-cookie"})
FIRST_REFUSAL = 400

log = structlog.get_logger(__name__)


class IdempotencyMiddleware:
    """Lets one of several equal mutations through and gives the others its reply.

    Only replies that tell of something done are kept; after a refusal or a failure the key is free again. A request
    is known by a hash of its method, address and body, so that no secret in a body is stored; the reply is sealed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _read_key(scope) if scope["type"] == "http" else None
        if request is None:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        async with services.db.transaction() as session:
            claim = await claim_request(session, request)
        if isinstance(claim, Claim):
            await self._run(scope, receive, send, claim)
        else:
            await _send(_open(services, request, claim), send)

    async def _run(self, scope: Scope, receive: Receive, send: Send, claim: Claim) -> None:
        services: Services = scope["app"].state.services
        reply = _Reply()
        try:
            await self.app(scope, receive, reply.record)
        except Exception:
            await _settle(services, claim, None)
            raise
        await _settle(services, claim, reply if reply.status < FIRST_REFUSAL else None)
        await _send(reply.messages, send)


class _Reply:
    """A reply held back until it is kept."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def record(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    def seal(self, services: Services, request: RequestKey) -> str:
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self.messages[0]["headers"]
            if name.lower() in KEPT_HEADERS
        ]
        body = b"".join(message.get("body", b"") for message in self.messages[1:])
        content = {"status": self.status, "headers": headers, "body": body.decode()}
        return services.sealer.seal(json.dumps(content), _place(request))


async def _settle(services: Services, claim: Claim, reply: _Reply | None) -> None:
    try:
        async with services.db.transaction() as session:
            if reply is None:
                await release_request(session, claim)
            else:
                await keep_reply(session, claim, reply.status, reply.seal(services, claim.request))
    except DatabaseUnavailable:
        # What was asked for is done or refused already, and that is what the caller must hear.
        log.warning("idempotent_reply_not_kept")


def _open(services: Services, request: RequestKey, kept: Kept) -> list[Message]:
    if kept.request_hash != request.request_hash:
        raise Problem(
            "idempotency_key_reused", "This key came with another request before; use a new key for this one."
        )
    if kept.status is None or kept.reply_sealed is None:
        raise Problem(
            "idempotency_in_progress", "The request with this key is still being worked on; ask again shortly."
        )
    try:
        content = json.loads(services.sealer.open(kept.reply_sealed, _place(request)))
    except SealBroken as error:
        raise Problem("idempotency_key_reused", "The reply kept for this key cannot be read; use a new key.") from error
    return _messages(content)


def _messages(content: dict[str, Any]) -> list[Message]:
    body = content["body"].encode()
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in content["headers"]]
    headers += [(b"content-length", str(len(body)).encode()), (b"idempotency-replayed", b"true")]
    return [
        {"type": "http.response.start", "status": content["status"], "headers": headers},
        {"type": "http.response.body", "body": body},
    ]


async def _send(messages: list[Message], send: Send) -> None:
    for message in messages:
        await send(message)


def _read_key(scope: Scope) -> RequestKey | None:
    given = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
    if not given or scope["method"] not in MUTATIONS or not is_guarded(scope["path"]):
        return None
    if len(given) > 1 or not SANE_KEY.fullmatch(given[0]):
        raise Problem("invalid_idempotency_key", "Send one Idempotency-Key of 1 to 255 printable ASCII characters.")
    state = scope["state"]
    address = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"] + b"\n"
    digest = hashlib.sha256(address + state["body"]).hexdigest()
    return RequestKey(given[0], state["actor"].subject, digest)


def _place(request: RequestKey) -> str:
    return f"idempotent_requests/{request.actor}/{request.key}/reply"
