"""Sends signed webhooks and intent-to-receive probes, and checks the responses as Xero's developer portal does."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest
from random import Random
from string import ascii_uppercase
from time import perf_counter
from typing import Any

import httpx
import msgspec

from simulator.books.editor import Change
from simulator.books.model import Document
from simulator.books.organisation import Organisation
from simulator.clock import Clock, from_ms
from simulator.options import SimulatorOptions
from simulator.wire.encoding import timestamp_string

CATEGORIES = {
    "Contacts": "CONTACT",
    "Invoices": "INVOICE",
    "CreditNotes": "CREDITNOTE",
    "Payments": "PAYMENT",
    "Overpayments": "OVERPAYMENT",
    "Prepayments": "PREPAYMENT",
}
_DEADLINE_SECONDS = 5.0
_OK = 200
_UNAUTHORIZED = 401
_PROBE_PATTERN = (False, True, False, False)
Event = dict[str, Any]


@dataclass(slots=True)
class Delivery:
    """One webhook request and its response.

    `problems` are the messages that Xero's developer portal shows; `ok` tells whether Xero would accept the response.
    """

    id: int
    events: list[Event]
    sequences: tuple[int, int]
    is_signed_well: bool
    status: int | None = None
    body_length: int = 0
    sets_cookies: bool = False
    milliseconds: float = 0.0
    error: str | None = None
    problems: list[str] = field(default_factory=list)
    ok: bool = False


@dataclass(slots=True)
class WebhookSender:
    """Sends the webhooks of the app's only subscription; `transport` lets a test receive them in process."""

    clock: Clock
    options: SimulatorOptions
    rng: Random
    transport: httpx.AsyncBaseTransport | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    _sequence: int = 0

    def build_events(self, books: Organisation, changes: Sequence[Change]) -> list[Event]:
        """Return the events of these changes in the subscribed categories: one for each row and event type."""
        unique_changes = {(change.resource, change.row.id, change.event_type): change for change in changes}
        events = (self.build_event(books, change) for change in unique_changes.values())
        return [event for event in events if event["eventCategory"] in self.options.webhook_categories]

    def build_event(self, books: Organisation, change: Change) -> Event:
        """Return the event of one change."""
        event: Event = {
            "resourceUrl": f"https://api.xero.com/api.xro/2.0/{change.resource}/{change.row.id}",
            "resourceId": change.row.id,
            "tenantId": books.tenant_id,
            "tenantType": "ORGANISATION",
            "eventCategory": CATEGORIES[change.resource],
            "eventType": change.event_type,
            "eventDateUtc": from_ms(self.clock.now_ms()).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        }
        if change.resource in ("CreditNotes", "Overpayments", "Prepayments") and isinstance(change.row, Document):
            event["data"] = {"Type": change.row.type, "Status": change.row.status}
            if change.resource != "CreditNotes":
                event["data"]["UpdatedDateUTCString"] = timestamp_string(change.row.updated_at)
        return event

    async def send(self, events: list[Event], *, sign_well: bool = True) -> Delivery:
        """Deliver new events under the next sequence numbers."""
        first = self._sequence + 1
        self._sequence += len(events)
        return await self._deliver(events, (first, self._sequence), is_signed_well=sign_well)

    async def redeliver(self, delivery_id: int) -> Delivery:
        """Deliver the same events again, with new entropy and therefore another signature. Raises KeyError."""
        earlier = next((row for row in self.deliveries if row.id == delivery_id), None)
        if earlier is None:
            raise KeyError(delivery_id)
        return await self._deliver(earlier.events, earlier.sequences, is_signed_well=True)

    async def probe(self, pattern: Sequence[bool] = _PROBE_PATTERN) -> list[Delivery]:
        """Send intent-to-receive probes: no events, sequence numbers 0, some with an incorrect signature."""
        return [await self._deliver([], (0, 0), is_signed_well=is_valid) for is_valid in pattern]

    async def _deliver(self, events: list[Event], sequences: tuple[int, int], *, is_signed_well: bool) -> Delivery:
        delivery = Delivery(len(self.deliveries) + 1, events, sequences, is_signed_well)
        self.deliveries.append(delivery)
        body = encode_payload(events, sequences, "".join(self.rng.choices(ascii_uppercase, k=20)))
        signature = sign(self.options.webhook_key, body)
        started = perf_counter()
        try:
            response = await self._post_payload(body, signature if is_signed_well else corrupt_signature(signature))
        except httpx.HTTPError as error:
            delivery.error = f"{type(error).__name__}: {error}"
        else:
            delivery.status = response.status_code
            delivery.body_length = len(response.content)
            delivery.sets_cookies = "set-cookie" in response.headers
        delivery.milliseconds = (perf_counter() - started) * 1000
        delivery.problems = find_problems(delivery)
        allowed = {"Response contains a body"} if self.options.webhook_body_allowed else set()
        delivery.ok = not set(delivery.problems) - allowed
        return delivery

    async def _post_payload(self, body: bytes, signature: str) -> httpx.Response:
        if not self.options.webhook_url:
            raise httpx.UnsupportedProtocol("no webhook URL is configured; PUT /_control/webhook sets it")
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Accept-Encoding": "gzip,deflate",
            "x-xero-signature": signature,
        }
        async with httpx.AsyncClient(transport=self.transport, timeout=_DEADLINE_SECONDS) as client:
            return await client.post(self.options.webhook_url, content=body, headers=headers)


def encode_payload(events: list[Event], sequences: tuple[int, int], entropy: str) -> bytes:
    """Return the payload with Xero's irregular spacing, which no JSON library reproduces after decoding."""
    event_array = msgspec.json.encode(events).decode()
    first, last = sequences
    return (
        f'{{"events":{event_array},"firstEventSequence": {first},"lastEventSequence": {last}, "entropy": "{entropy}"}}'
    ).encode()


def sign(key: str, body: bytes) -> str:
    """Return Base64 of HMAC-SHA256 over the raw body; the key is used as text, not Base64-decoded."""
    return b64encode(digest(key.encode(), body, sha256)).decode()


def corrupt_signature(signature: str) -> str:
    """Return the signature with its first character changed, as in Xero's incorrectly signed probes."""
    return ("/" if signature[0] != "/" else "B") + signature[1:]


def find_problems(delivery: Delivery) -> list[str]:
    """Return the messages that Xero's developer portal shows for this delivery."""
    if delivery.status is None:
        return [f"No response within {_DEADLINE_SECONDS:.0f} seconds"]
    if not delivery.is_signed_well:
        return [] if delivery.status == _UNAUTHORIZED else ["Response to incorrectly signed payload not 401"]
    problems = {
        "Response not 200": delivery.status != _OK,
        "Response contains a body": delivery.body_length > 0,
        "Response sets cookies": delivery.sets_cookies,
        f"No response within {_DEADLINE_SECONDS:.0f} seconds": delivery.milliseconds > _DEADLINE_SECONDS * 1000,
    }
    return [message for message, found in problems.items() if found]
