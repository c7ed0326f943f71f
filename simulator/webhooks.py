"""Sends signed webhooks and intent-to-receive probes, and judges the answers as Xero's portal would."""

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
from simulator.wire.encoding import stamp_string

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
_PROBES = (False, True, False, False)
Event = dict[str, Any]


@dataclass(slots=True)
class Delivery:
    """One POST and what came back. `problems` are the portal's own sentences; `ok` is whether Xero would be content."""

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
class Webhooks:
    """The app's one subscription. `transport` lets a test answer in process."""

    clock: Clock
    options: SimulatorOptions
    rng: Random
    transport: httpx.AsyncBaseTransport | None = None
    deliveries: list[Delivery] = field(default_factory=list)
    _sequence: int = 0

    def events_of(self, books: Organisation, changes: Sequence[Change]) -> list[Event]:
        """What the subscribed categories say of these changes: one event for each row and kind of change."""
        told = {(change.resource, change.row.id, change.event_type): change for change in changes}
        events = (self.event_of(books, change) for change in told.values())
        return [event for event in events if event["eventCategory"] in self.options.webhook_categories]

    def event_of(self, books: Organisation, change: Change) -> Event:
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
                event["data"]["UpdatedDateUTCString"] = stamp_string(change.row.updated)
        return event

    async def send(self, events: list[Event], *, sign_well: bool = True) -> Delivery:
        """A delivery of new events under the next sequence numbers."""
        first = self._sequence + 1
        self._sequence += len(events)
        return await self._post(events, (first, self._sequence), is_signed_well=sign_well)

    async def redeliver(self, delivery_id: int) -> Delivery:
        """The same events again, with fresh entropy and therefore another signature. Raises KeyError."""
        known = next((row for row in self.deliveries if row.id == delivery_id), None)
        if known is None:
            raise KeyError(delivery_id)
        return await self._post(known.events, known.sequences, is_signed_well=True)

    async def probe(self, pattern: Sequence[bool] = _PROBES) -> list[Delivery]:
        """Intent to receive: empty events and sequences 0, some signed with one character wrong."""
        return [await self._post([], (0, 0), is_signed_well=well) for well in pattern]

    async def _post(self, events: list[Event], sequences: tuple[int, int], *, is_signed_well: bool) -> Delivery:
        delivery = Delivery(len(self.deliveries) + 1, events, sequences, is_signed_well)
        self.deliveries.append(delivery)
        body = write_payload(events, sequences, "".join(self.rng.choices(ascii_uppercase, k=20)))
        signature = sign(self.options.webhook_key, body)
        started = perf_counter()
        try:
            response = await self._exchange(body, signature if is_signed_well else spoil(signature))
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

    async def _exchange(self, body: bytes, signature: str) -> httpx.Response:
        if not self.options.webhook_url:
            raise httpx.UnsupportedProtocol("no webhook URL is configured; PUT /_control/webhook sets it")
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Accept-Encoding": "gzip,deflate",
            "x-xero-signature": signature,
        }
        async with httpx.AsyncClient(transport=self.transport, timeout=_DEADLINE_SECONDS) as client:
            return await client.post(self.options.webhook_url, content=body, headers=headers)


def write_payload(events: list[Event], sequences: tuple[int, int], entropy: str) -> bytes:
    """The payload with Xero's uneven spacing, which no JSON library would write again."""
    written = msgspec.json.encode(events).decode()
    first, last = sequences
    return (
        f'{{"events":{written},"firstEventSequence": {first},"lastEventSequence": {last}, "entropy": "{entropy}"}}'
    ).encode()


def sign(key: str, body: bytes) -> str:
    """Base64 of HMAC-SHA256 over the raw bytes; the key is taken as text, not decoded."""
    return b64encode(digest(key.encode(), body, sha256)).decode()


def spoil(signature: str) -> str:
    """The same signature but for its first character, as Xero's bad probes are."""
    return ("/" if signature[0] != "/" else "B") + signature[1:]


def find_problems(delivery: Delivery) -> list[str]:
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
    return [sentence for sentence, found in problems.items() if found]
