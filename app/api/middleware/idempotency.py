"""Handles `Idempotency-Key`: a repeated mutation gets the first one's reply for 24 hours, on every replica."""

import hashlib
import json
import re
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.auth import Actor, is_protected
from app.api.deps import Services
from app.api.errors import Problem
from app.crypto import SealBroken
from app.db import DatabaseUnavailable
from app.idempotency import (
    Claim,
    ClaimRefusal,
    KeptReply,
    KeyedRequest,
    claim_key,
    keep_reply,
    release_claim,
    reply_associated_data,
)

HEADER = b"idempotency-key"
MUTATIONS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
VALID_KEY = re.compile(r"[\x21-\x7e]{1,255}")
# The headers that are kept with a reply; the middlewares outside this one add the others to every response.
KEPT_HEADERS = frozenset({b"content-type", b"location", b"set-cookie"})
FIRST_ERROR_STATUS = 400
REFUSAL_DETAILS = {
    ClaimRefusal.KEY_REUSED: "This key came with another request before; use a new key for this one.",
    ClaimRefusal.IN_PROGRESS: "The request with this key is still being worked on; ask again shortly.",
}

log = structlog.get_logger(__name__)


class IdempotencyMiddleware:
    """Processes one of several equal mutations and gives its reply to the others.

    The innermost middleware: it needs the actor and the body that the ones before it have checked. Only successful
    replies are kept; after an error the key can be used again. A request is identified by a hash of its method, URL
    and body, so that no secret in a body is stored, and the reply is stored sealed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = _read_keyed_request(scope) if scope["type"] == "http" else None
        if request is None:
            await self.app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        async with services.db.transaction() as session:
            claim = await claim_key(session, request)
        if isinstance(claim, Claim):
            await self._process(scope, receive, send, claim)
        else:
            await _send_all(_kept_messages(services, request, claim), send)

    async def _process(self, scope: Scope, receive: Receive, send: Send, claim: Claim) -> None:
        services: Services = scope["app"].state.services
        reply = _BufferedReply()
        try:
            await self.app(scope, receive, reply.append)
        except Exception:
            # Whatever went wrong, nothing was done that a reply could tell of, so the key may be used again at once.
            # The error itself goes on to `ProblemMiddleware`.
            await _close_claim(services, claim, None)
            raise
        await _close_claim(services, claim, reply if reply.status < FIRST_ERROR_STATUS else None)
        await _send_all(reply.messages, send)


class _BufferedReply:
    """A reply that is not sent before it has been kept."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def append(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    def seal(self, services: Services, request: KeyedRequest) -> str:
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self.messages[0]["headers"]
            if name.lower() in KEPT_HEADERS
        ]
        body = b"".join(message.get("body", b"") for message in self.messages[1:])
        content = {"status": self.status, "headers": headers, "body": body.decode()}
        return services.sealer.seal(json.dumps(content), reply_associated_data(request.actor, request.key))


async def _close_claim(services: Services, claim: Claim, reply: _BufferedReply | None) -> None:
    """Keep the reply, or release the claim when there is no reply to keep."""
    try:
        async with services.db.transaction() as session:
            if reply is None:
                await release_claim(session, claim)
            else:
                await keep_reply(session, claim, reply.status, reply.seal(services, claim.request))
    except DatabaseUnavailable:
        # The request itself has already succeeded or failed, and its caller must get that result.
        log.warning("idempotent_reply_not_stored")


def _kept_messages(services: Services, request: KeyedRequest, found: KeptReply | ClaimRefusal) -> list[Message]:
    """Return the kept reply as ASGI messages.

    Raises:
        Problem: the key belongs to another request, its request is still in progress, or the reply cannot be opened.
    """
    if isinstance(found, ClaimRefusal):
        raise Problem(found.value, REFUSAL_DETAILS[found])
    try:
        content = json.loads(
            services.sealer.open(found.reply_sealed, reply_associated_data(request.actor, request.key))
        )
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


async def _send_all(messages: list[Message], send: Send) -> None:
    for message in messages:
        await send(message)


def _read_keyed_request(scope: Scope) -> KeyedRequest | None:
    """Return the request's key, actor and hash; None when it carries no key or is no mutation of the API.

    Raises:
        Problem: the key cannot be used, or the token does not say whose it is.
    """
    keys = [value.decode("latin-1") for name, value in scope["headers"] if name == HEADER]
    if not keys or scope["method"] not in MUTATIONS or not is_protected(scope["path"]):
        return None
    if len(keys) > 1 or not VALID_KEY.fullmatch(keys[0]):
        raise Problem("invalid_idempotency_key", "Send one Idempotency-Key of 1 to 255 printable ASCII characters.")
    state = scope["state"]
    actor: Actor = state["actor"]
    if not actor.has_subject:
        # All such callers would share their keys, and one would be given the reply of another.
        raise Problem(
            "idempotency_needs_subject",
            "The token has no `sub`, so an Idempotency-Key would not be its holder's alone. Use a token with a `sub`, "
            "or leave the key out.",
        )
    address = f"{scope['method']} {scope['path']}?".encode() + scope["query_string"] + b"\n"
    digest = hashlib.sha256(address + state["body"]).hexdigest()
    # The role is part of it: whoever may see less must not be given a reply that was made for more. It comes first,
    # because a role holds no colon and a subject may.
    return KeyedRequest(keys[0], f"{actor.role}:{actor.subject}", digest)
