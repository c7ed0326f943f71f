"""Reads Xero's webhook deliveries: the signature over the raw bytes, then the events, which may be malformed."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Raw, Struct

from app.billing.records import Resource
from app.connector import BadSignature, Notice, NoticeUnreadable, SignatureMalformed
from app.xero.parsing import EPOCH, UUID_SHAPE, Unreadable, read_instant
from app.xero.wire import UNREADABLE, decode_loosely, repair

RESOURCES: Mapping[str, Resource] = MappingProxyType(
    {
        "CONTACT": Resource.CONTACTS,
        "INVOICE": Resource.INVOICES,
        "CREDITNOTE": Resource.CREDIT_MEMOS,
        "PAYMENT": Resource.PAYMENTS,
    }
)
# Where an event has the type of its subject, only this type is a customer's.
CUSTOMERS_TYPE: Mapping[str, str] = MappingProxyType(
    {"INVOICE": "ACCREC", "CREDITNOTE": "ACCRECCREDIT", "PAYMENT": "ACCRECPAYMENT"}
)
IDS = ("tenantId", "resourceId")
# 32 bytes in base64, as an HMAC with SHA-256 is sent.
SIGNATURE_SHAPE = re.compile(rb"[A-Za-z0-9+/]{43}=")
# These texts are part of a unique index, whose entries PostgreSQL limits to about 2,700 bytes.
MAX_TEXT = 100
MAX_DEPTH = 10
MAX_PAYLOAD = 20_000
# An integer of more digits cannot be turned into text again by Python's own limit on that conversion.
MAX_INTEGER = 10**30


class Delivery(Struct):
    events: list[Raw]


def read_notices(body: bytes, signatures: Sequence[bytes], keys: Sequence[str]) -> Sequence[Notice]:
    """Check the signature, then read the events; the probe of a new subscription (intent to receive) has none.

    Raises:
        BadSignature: missing, doubled, or made with no key of ours.
        NoticeUnreadable: well signed, not in Xero's form.
    """
    check_signature(body, signatures, keys)
    try:
        events = msgspec.json.decode(body, type=Delivery).events
    except UNREADABLE:
        events = _read_repaired(body)
    return [read_event(bytes(event)) for event in events]


def check_signature(body: bytes, signatures: Sequence[bytes], keys: Sequence[str]) -> None:
    """Compare in constant time, as bytes: `compare_digest` refuses text that is not ASCII, and a header may be any.

    Raises:
        SignatureMalformed: missing, doubled, or not of the form of a signature.
        BadSignature: made with no key of ours.
    """
    if len(signatures) != 1:
        raise SignatureMalformed(f"{len(signatures)} signatures where there has to be one.")
    if not SIGNATURE_SHAPE.fullmatch(signatures[0]):
        raise SignatureMalformed("The signature is not 32 bytes in base64.")
    if not any([hmac.compare_digest(sign(body, key), signatures[0]) for key in keys if key]):  # noqa: C419 - every key is tried, whichever fits
        raise BadSignature("The signature was made with no key of ours; copy the webhook key from Xero again.")


def sign(body: bytes, key: str) -> bytes:
    """Return the signature as Xero makes it: the key is used as text, although it looks like base64."""
    return base64.b64encode(hmac.digest(key.encode("utf-8", "surrogateescape"), body, "sha256"))


def read_event(raw: bytes) -> Notice:
    """Translate one event; a malformed one is returned too, with what is wrong as the reason to ignore it."""
    event = decode_loosely(raw)
    is_storable = _is_storable(event)
    event_at = _read_event_at(event)
    tenant_id, resource_id = (_read_word(event, name).lower() for name in IDS)
    category = _read_word(event, "eventCategory").upper()
    defect = _find_defect(event, (tenant_id, resource_id), event_at, is_storable=is_storable)
    why_ignored = defect or _find_reason_to_ignore(event, category)
    return Notice(
        tenant_id=tenant_id,
        # Malformed events without an id would all be the same event; the digest distinguishes them.
        resource_id=resource_id or f"unreadable:{hashlib.sha256(raw).hexdigest()[:16]}",
        category=category,
        event_type=_read_word(event, "eventType").upper(),
        event_at=event_at or EPOCH,
        resource=None if why_ignored else RESOURCES[category],
        why_ignored=why_ignored,
        payload=event if is_storable and event else {"unreadable": _read_payload(raw)},
    )


def _read_repaired(body: bytes) -> list[Raw]:
    try:
        return msgspec.json.decode(repair(body), type=Delivery).events
    except UNREADABLE as error:
        raise NoticeUnreadable(f"The notice is not in Xero's form: {error}") from None


def _find_defect(
    event: Mapping[str, Any], ids: Sequence[str], event_at: datetime | None, *, is_storable: bool
) -> str | None:
    """Return what is wrong with the form of an event, or None."""
    if not event:
        return "the event is not a JSON object"
    if not is_storable:
        return "the event holds characters, numbers or depths that cannot be stored"
    for name, found in zip(IDS, ids, strict=True):
        if not UUID_SHAPE.fullmatch(found):
            return f"{name} is not a UUID"
    return "eventDateUtc is no date" if event_at is None else None


def _find_reason_to_ignore(event: Mapping[str, Any], category: str) -> str | None:
    """Return why nothing has to be read for a well-formed event, or None."""
    if category == "SUBSCRIPTION" or _read_word(event, "tenantType").upper() == "APPLICATION":
        return "it is about the app, not about an organisation"
    if category not in RESOURCES:
        return f"nobody asked for {category or 'events without a category'}"
    data = event.get("data")
    kind = (_read_word(data, "PaymentType") or _read_word(data, "Type")) if isinstance(data, dict) else ""
    if kind and kind.upper() != CUSTOMERS_TYPE.get(category, kind.upper()):
        return f"{kind.upper()} is not a customer's: a supplier's, or a refund"
    return None


def _read_word(event: Mapping[str, Any], name: str) -> str:
    found = event.get(name)
    return found.replace("\0", "")[:MAX_TEXT] if isinstance(found, str) else ""


def _read_event_at(event: Mapping[str, Any]) -> datetime | None:
    try:
        return read_instant(_read_word(event, "eventDateUtc"))
    except Unreadable:
        return None


def _is_storable(value: object, depth: int = MAX_DEPTH) -> bool:
    """Return whether PostgreSQL's jsonb can store a decoded value unchanged."""
    if isinstance(value, str):
        return "\0" not in value
    if isinstance(value, int):
        return -MAX_INTEGER < value < MAX_INTEGER
    if isinstance(value, dict):
        parts = [*value, *value.values()]
    elif isinstance(value, list):
        parts = value
    else:
        return True
    return depth > 0 and all([_is_storable(part, depth - 1) for part in parts])  # noqa: C419 - a generator takes longer


def _read_payload(raw: bytes) -> str:
    return raw[:MAX_PAYLOAD].decode("utf-8", "replace").replace("\0", "")
