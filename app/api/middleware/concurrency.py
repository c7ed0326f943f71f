"""Bounds how many requests of each kind are processed at once."""

import asyncio
from typing import NoReturn

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.concurrency_limits import ClientDisconnected, ConcurrencyLimit, ConcurrencyLimits
from app.db_deadline import count_silence

FIRST_ERROR_STATUS = 500


class ConcurrencyMiddleware:
    """Lets a request pass when there are not too many of its kind in progress.

    Comes after `BodyMiddleware`, so that a client that sends slowly keeps no other waiting, and counts a request as
    done when its response starts, so that neither does a client that reads slowly, or for long as of a stream. A
    request whose client disconnects while it waits is dropped.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limits: ConcurrencyLimits = scope["app"].state.services.concurrency_limits
        limit = limits.of_request(scope["method"], scope["path"]) if scope["type"] == "http" else None
        if limit is None:
            await self.app(scope, receive, send)
            return
        client = _Client(receive)
        try:
            silent_seconds = await limit.enter(client.watch)
        except ClientDisconnected:
            return
        place = _Place(limit, send)
        try:
            # The time in which the request waited for a database that answered nobody is part of its deadline.
            count_silence(silent_seconds)
            await self.app(scope, client.receive, place.leave_and_send)
        finally:
            place.leave(is_answered=False)


class _Place:
    """The place of one request among those in progress, which it leaves once."""

    def __init__(self, limit: ConcurrencyLimit, send: Send) -> None:
        self._limit = limit
        self._send = send
        self._is_left = False

    def leave(self, *, is_answered: bool) -> None:
        if not self._is_left:
            self._is_left = True
            self._limit.leave(is_answered=is_answered)

    async def leave_and_send(self, message: Message) -> None:
        self.leave(is_answered=message.get("status", FIRST_ERROR_STATUS) < FIRST_ERROR_STATUS)
        await self._send(message)


class _Client:
    """What a client sends: listened to while its request waits, and passed on afterwards."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received: list[Message] = []

    async def watch(self) -> NoReturn:
        """Read ahead until the client has disconnected; of a body that is not read yet, one message at most.

        Raises:
            ClientDisconnected: always.
        """
        while True:
            message = await self._receive()
            self._received.append(message)
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            if message.get("more_body", False):
                await asyncio.get_running_loop().create_future()

    async def receive(self) -> Message:
        return self._received.pop(0) if self._received else await self._receive()
