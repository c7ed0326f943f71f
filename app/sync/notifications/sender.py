"""Sends messages through Apprise, which blocks: in a thread, for a bounded time."""

import asyncio
import contextlib
import re
import threading
from collections.abc import Sequence

import structlog
from apprise import Apprise, NotifyFormat, NotifyType

from app.connections.states import Severity
from app.sync.notifications.addresses import ASSET, NotifyAddress, open_service
from app.sync.notifications.library_logs import captured_warnings
from app.sync.notifications.messages import Message

log = structlog.get_logger(__name__)

SEND_SECONDS = 20.0
NOTIFY_TYPES = {
    Severity.CRITICAL: NotifyType.FAILURE,
    Severity.WARNING: NotifyType.WARNING,
    Severity.INFO: NotifyType.INFO,
    None: NotifyType.SUCCESS,
}
STATUS_CODE = re.compile(r"error=(\d{3})\b")
REFUSED = "The server answered with status {}: it has a fault, or the address, its password or its token is wrong."
UNREACHABLE = "The server cannot be reached, or does not answer."
FAILED = "The message was not accepted: the address, its password or its token is probably wrong."
NO_ANSWER = "There was no answer within {:g} seconds."
UNDER_WAY = "An earlier attempt has not ended yet."


class Sender:
    """Sends to the addresses of this installation, to each one message at a time.

    Args:
        addresses: where people are told.
        seconds: how long one message may take.
    """

    def __init__(self, addresses: Sequence[NotifyAddress] = (), seconds: float = SEND_SECONDS) -> None:
        self.addresses = addresses
        self._seconds = seconds
        self._locks = {address.fingerprint: asyncio.Lock() for address in addresses}
        self._threads: dict[str, threading.Thread] = {}

    async def send(self, address: NotifyAddress, message: Message) -> str | None:
        """Send a message; return None when it was delivered, or why not, in words that contain no secret.

        No connection of the database may be held meanwhile.
        """
        async with self._locks[address.fingerprint]:
            former = self._threads.get(address.fingerprint)
            # A thread cannot be ended from outside: an address that hangs has one and never more.
            if former and former.is_alive():
                return UNDER_WAY
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._start(address, message)
            except TimeoutError:
                return NO_ANSWER.format(self._seconds)

    def _start(self, address: NotifyAddress, message: Message) -> "asyncio.Future[str | None]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str | None] = loop.create_future()

        def finish(reason: str | None) -> None:
            if not future.done():
                future.set_result(reason)

        def work() -> None:
            reason = _deliver(address, message)
            # The loop is closed where the process stopped meanwhile.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, reason)

        # A daemon, so that a process that is to stop does not wait for it.
        thread = threading.Thread(target=work, name="notification", daemon=True)
        self._threads[address.fingerprint] = thread
        thread.start()
        return future


def _deliver(address: NotifyAddress, message: Message) -> str | None:
    """Send in this thread; return why it failed."""
    service = open_service(address.url)
    if service is None:
        return FAILED
    sender = Apprise(asset=ASSET)
    sender.add(service)
    kind = NOTIFY_TYPES[message.severity]
    with captured_warnings() as warnings:
        try:
            is_delivered = sender.notify(message.body, message.title, kind, body_format=NotifyFormat.TEXT)
        except Exception as error:  # noqa: BLE001 - whatever a service's code raises, its text may contain the address
            log.warning("notification_failed", address=address.name, kind=type(error).__name__)
            return FAILED
    return None if is_delivered else _explain(" ".join(warnings))


def _explain(logged: str) -> str:
    """Return why a message was not delivered, from what was logged, whose own words may contain a secret."""
    if code := STATUS_CODE.search(logged):
        return REFUSED.format(code[1])
    return UNREACHABLE if "connection error" in logged.lower() else FAILED
