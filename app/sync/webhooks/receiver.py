"""Receives webhook deliveries: checks the signature and stores the events before the vendor gets its answer."""

import asyncio
import math
import time
from asyncio import timeout
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from app.connections import vendor_app
from app.connections.vendor_app import VendorConfig
from app.connector import BadSignature, Connector, Notice, NoticeUnreadable, SignatureMalformed
from app.crypto import Sealer
from app.db import Database, DatabaseUnavailable, Session
from app.db_deadline import answers_within
from app.sync.webhooks import inbox
from app.sync.webhooks.event_writer import TOO_LATE, EventWriter
from app.sync.webhooks.refusals import RefusalCounter, RefusalCounts

log = structlog.get_logger(__name__)

Result = TypeVar("Result")

# The shares of the time the vendor waits for its answer: in which the keys are read, and in which the events are
# stored, the wait for other deliveries included.
READ_KEYS_SHARE = 0.3
STORE_SHARE = 0.5
# The share in which the database must answer: a transaction stores the events of several requests, so that the deadline
# of none of them holds for it.
ANSWER_SHARE = 0.36
# Keys are read again after this long, so that a key deleted on one replica is soon refused by all.
KEY_CACHE_SECONDS = 5.0
# A signature that fits no key makes them be read again at most once in this time.
READ_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a delivery: whether it was signed with our key, and how many of its events are new."""

    is_signed: bool
    stored: int = 0


class WebhookReceiver:
    """Takes one vendor's webhook deliveries.

    Args:
        db: where events are stored.
        sealer: opens the signing keys.
        connector: checks signatures and reads events.
        config: the vendor app as the environment has it.
        wake: called when new events are stored, so that they are processed at once.
        answers_empty: a good delivery is answered without a body.

    Attributes:
        signature_header: the name of the header that carries the signature, in lower case.
    """

    def __init__(  # noqa: PLR0913 - what a delivery needs
        self,
        db: Database,
        sealer: Sealer,
        connector: Connector,
        config: VendorConfig,
        wake: Callable[[], None],
        *,
        answers_empty: bool = False,
    ) -> None:
        self.signature_header = connector.signature_header.encode()
        self.answers_empty = answers_empty
        self._db = db
        self._sealer = sealer
        self._connector = connector
        self._config = config
        self._wake = wake
        self._keys: Sequence[str] = config.webhook_keys
        self._keys_due_at = self._read_again_at = -math.inf
        self._reading_keys = asyncio.Lock()
        self._refusals = RefusalCounter(self._write_refusals)
        self._read_keys_seconds = READ_KEYS_SHARE * connector.profile.delivery_seconds
        self._store_seconds = STORE_SHARE * connector.profile.delivery_seconds
        self._writer = EventWriter(self._write_deliveries, self._store_seconds)

    async def receive(self, body: bytes, signatures: Sequence[bytes]) -> Receipt:
        """Check a delivery and store its events.

        A probe, which carries no events, is answered even when the database is away; a delivery with events is not, so
        that the vendor sends it again.

        Args:
            body: the raw bytes that were signed.
            signatures: every value of the signature header.

        Raises:
            DatabaseUnavailable: the events could not be stored.
        """
        try:
            notices = await self._read_notices(body, signatures)
        except BadSignature as error:
            await self._refusals.add(is_mismatch=not isinstance(error, SignatureMalformed))
            return Receipt(is_signed=False)
        except NoticeUnreadable as error:
            reason = str(error)
            await self._store(lambda session: inbox.store_unreadable(session, self._connector.vendor, body, reason))
            return Receipt(is_signed=True)
        if not notices:
            await self._record(vendor_app.record_probe)
            return Receipt(is_signed=True)
        stored = await self._writer.store(notices)
        self._wake()
        return Receipt(is_signed=True, stored=stored)

    def clear_key_cache(self) -> None:
        """Read the signing keys again at the next delivery, because they were just changed."""
        self._keys_due_at = -math.inf

    async def close(self) -> None:
        """Write what is still only counted in memory, when the process stops."""
        await self._writer.close()
        await self._refusals.close()

    async def _read_notices(self, body: bytes, signatures: Sequence[bytes]) -> Sequence[Notice]:
        """Check with the cached keys; a signature that fits none may be of a key just set on another replica.

        Raises:
            BadSignature: it fits none of the keys either that were read again, or they were read less than a second
                ago because of another one.
        """
        if self._keys_due_at <= time.monotonic():
            await self._read_keys()
        try:
            return self._connector.read_notices(body, signatures, self._keys)
        except SignatureMalformed:
            raise
        except BadSignature:
            if not await self._read_keys_again():
                raise
        return self._connector.read_notices(body, signatures, self._keys)

    async def _read_keys(self) -> None:
        """Read the signing keys, unless another delivery has just done so."""
        async with self._reading_keys:
            if self._keys_due_at <= time.monotonic():
                await self._load_keys()

    async def _read_keys_again(self) -> bool:
        """Read the signing keys at most once a second; return whether they have been."""
        if self._reading_keys.locked():
            async with self._reading_keys:
                return True
        now = time.monotonic()
        if now - self._read_again_at < READ_AGAIN_SECONDS:
            return False
        self._read_again_at = now
        async with self._reading_keys:
            await self._load_keys()
        return True

    async def _load_keys(self) -> None:
        """Load the signing keys; those known stay when the database is away, so that a probe can be answered."""
        try:
            async with timeout(self._read_keys_seconds), self._db.transaction() as session:
                self._keys = await vendor_app.signing_keys(session, self._sealer, self._config)
            self._keys_due_at = time.monotonic() + KEY_CACHE_SECONDS
        except (DatabaseUnavailable, TimeoutError) as error:
            self._keys_due_at = time.monotonic() + READ_AGAIN_SECONDS
            log.warning("signing_keys_not_read", error=str(error))

    async def _write_deliveries(self, deliveries: Sequence[Sequence[Notice]]) -> Sequence[int]:
        vendor = self._connector.vendor
        with answers_within(ANSWER_SHARE * self._connector.profile.delivery_seconds):
            return await self._store(lambda session: inbox.store_deliveries(session, vendor, deliveries))

    async def _store(self, write: Callable[[Session], Awaitable[Result]]) -> Result:
        """Write while the vendor still waits for its answer; later than that it takes the delivery for lost."""
        try:
            async with timeout(self._store_seconds), self._db.transaction() as session:
                return await write(session)
        except TimeoutError as error:
            raise DatabaseUnavailable(TOO_LATE) from error

    async def _record(self, write: Callable[[Session, str], Awaitable[None]]) -> None:
        """Write what the answer does not depend on; a database that is away is only logged."""
        try:
            async with timeout(self._read_keys_seconds), self._db.transaction() as session:
                await write(session, self._connector.vendor)
        except (DatabaseUnavailable, TimeoutError) as error:
            log.warning("delivery_not_recorded", error=str(error))

    async def _write_refusals(self, counts: RefusalCounts) -> None:
        async with timeout(self._read_keys_seconds), self._db.transaction() as session:
            await inbox.count_refusals(session, self._connector.vendor, counts)
