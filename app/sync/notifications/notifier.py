"""Tells people about one vendor's connection; every replica does, and the database sees to it that one message goes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from app.audit import append_audit_entry
from app.db import Database, Session
from app.sync.notifications import outbox
from app.sync.notifications.addresses import NotifyAddress, names_of
from app.sync.notifications.incidents import ConnectionView, lock_incidents, update_incidents
from app.sync.notifications.messages import Texts
from app.sync.notifications.outbox import ClaimedMessage
from app.sync.notifications.sender import Sender

log = structlog.get_logger(__name__)


class NoAddress(RuntimeError):
    """There is no address at which people could be told."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a test message to one address; `reason` says why it was not delivered."""

    address: str
    reason: str | None


class Notifier:
    """Writes the messages about a vendor's connection and sends them.

    Args:
        db: the database that all replicas share.
        vendor: the vendor's word.
        sender: sends to the addresses of this installation.
        texts: writes the messages.
        read_connection: reads the connection as the set-up page shows it.
    """

    def __init__(
        self,
        db: Database,
        vendor: str,
        sender: Sender,
        texts: Texts,
        read_connection: Callable[[Session], Awaitable[ConnectionView]],
    ) -> None:
        self._db = db
        self._vendor = vendor
        self._sender = sender
        self._texts = texts
        self._read_connection = read_connection

    @property
    def addresses(self) -> list[str]:
        """The addresses at which people are told, by the names that may be shown."""
        return names_of(self._sender.addresses)

    async def run(self) -> None:
        """Write the messages about what has changed, and send those that are due."""
        addresses = self._sender.addresses
        if not addresses:
            return
        await self._write(addresses)
        # Each address on its own: one that hangs holds up no other.
        sendings = [self._send_due(address) for address in addresses]
        ended = await asyncio.gather(*sendings, return_exceptions=True)
        if error := next((one for one in ended if isinstance(one, BaseException)), None):
            raise error

    async def send_test(self, actor: str) -> list[Delivery]:
        """Send a test message to every address, and return what came of it.

        Raises:
            NoAddress: there is none.
        """
        addresses = self._sender.addresses
        if not addresses:
            raise NoAddress("NOTIFY_URLS is empty, so nobody can be told. Set it and restart the service.")
        async with self._db.transaction() as session:
            details = {"addresses": names_of(addresses)}
            await append_audit_entry(session, actor, "notification_test_sent", self._vendor, details)
        message = self._texts.test()
        reasons = await asyncio.gather(*(self._sender.send(address, message) for address in addresses))
        return [Delivery(address.name, reason) for address, reason in zip(addresses, reasons, strict=True)]

    async def _write(self, addresses: Sequence[NotifyAddress]) -> None:
        fingerprints = [address.fingerprint for address in addresses]
        async with self._db.transaction() as session:
            if await lock_incidents(session, self._vendor):
                seen = await self._read_connection(session)
                await update_incidents(session, self._vendor, seen, self._texts, fingerprints)

    async def _send_due(self, address: NotifyAddress) -> None:
        """Send the messages to one address, the oldest first, until one fails or none is due."""
        while claimed := await self._claim(address):
            failure = await self._sender.send(address, claimed.message)
            async with self._db.transaction() as session:
                await outbox.close(session, claimed, failure)
            if failure:
                log.warning("notification_not_delivered", address=address.name, reason=failure)
                return

    async def _claim(self, address: NotifyAddress) -> ClaimedMessage | None:
        async with self._db.transaction() as session:
            return await outbox.claim_next(session, self._vendor, address.fingerprint)
