"""Maps Xero's error responses to the errors of the port by one table, whose first matching row decides."""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

import httpx
import msgspec
from msgspec import Struct

from app.connector import (
    AccessExpired,
    AnswerUnreadable,
    ConnectorError,
    HighVolume,
    NotFound,
    OrganisationForbidden,
    OrganisationOffline,
    PermissionMissing,
    RateLimited,
    RequestRejected,
    VendorUnavailable,
)
from app.xero.client import Response
from app.xero.wire import UNREADABLE

MAX_TEXT = 300
ADDRESS = re.compile(r"https?://\S+|\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|cloud|local|internal)\b\S*", re.IGNORECASE)
# A word of this length is a token, not part of a sentence.
SECRET = re.compile(r"[\w.+/=~-]{40,}")
SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
LIMITS = {
    "minute": "minute",
    "day": "day",
    "concurrent": "concurrent",
    "appminute": "app_minute",
    "app-minute": "app_minute",
    "app_minute": "app_minute",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row: a response with one of these statuses and this marker is this error.

    Attributes:
        statuses: the HTTP statuses the row is for.
        marker: a text in lower case that the response must contain; an empty one is always found.
        error: the class of the error.
        detail: the sentence for an operator.
    """

    statuses: range
    marker: str
    error: type[ConnectorError]
    detail: str


def _only(status: int) -> range:
    return range(status, status + 1)


EXPIRED = "Xero no longer accepts the access token; it has to be refreshed."
NO_SCOPE = "The grant lacks a scope this needs; connect Xero again and consent to it."
FORBIDDEN = "This organisation no longer grants access; authorise it again in Xero or deselect it."
UNKNOWN = "Xero does not know the address: the record or organisation is gone, or the request was too long."
LIMITED = "Xero's limit is reached: {limit}."
BROAD = "Xero refuses the query as too broad for the size of this organisation."
REFUSED = "Xero refused the request ({status}): {message}"
AWAY = "Xero is unavailable ({status}); the same request may succeed later."
OFFLINE = "Xero says this organisation is offline; that usually passes within minutes."
STRANGE = "Xero answered with status {status}, which is not an answer to what was asked."

# Two rows are easily confused: 403 "AuthenticationUnsuccessful" is an organisation that was disconnected,
# 401 "AuthorizationUnsuccessful" is a scope missing.
MEANINGS = (
    Meaning(_only(400), "#51 ", HighVolume, BROAD),
    Meaning(_only(400), "highvolumeexception", HighVolume, BROAD),
    Meaning(_only(401), "authorizationunsuccessful", PermissionMissing, NO_SCOPE),
    Meaning(_only(401), "insufficient_scope", PermissionMissing, NO_SCOPE),
    Meaning(_only(401), "", AccessExpired, EXPIRED),
    Meaning(_only(403), "", OrganisationForbidden, FORBIDDEN),
    Meaning(_only(404), "", NotFound, UNKNOWN),
    Meaning(_only(408), "", VendorUnavailable, AWAY),
    Meaning(_only(429), "", RateLimited, LIMITED),
    Meaning(range(400, 500), "", RequestRejected, REFUSED),
    Meaning(_only(501), "", RequestRejected, REFUSED),
    Meaning(_only(503), "organisation is offline", OrganisationOffline, OFFLINE),
    Meaning(range(500, 600), "", VendorUnavailable, AWAY),
    Meaning(range(1000), "", AnswerUnreadable, STRANGE),
)


class Invalid(Struct):
    Message: str = ""


class Element(Struct):
    ValidationErrors: list[Invalid] = []


class Fault(Struct):
    """Xero's two forms of error bodies in one. Every field is optional, and an error may be text or HTML instead."""

    ErrorNumber: int | None = None
    Type: str | None = None
    Message: str | None = None
    Detail: str | None = None
    Elements: list[Element] = []


def error_for(response: Response) -> ConnectorError:
    """Return the error that a response means, with what the call cost; the caller raises it."""
    fault = _read_fault(response.body)
    markers = _markers(response, fault)
    meaning = next(row for row in MEANINGS if response.status in row.statuses and row.marker in markers)
    if meaning.error is RateLimited:
        return rate_limited(response)
    message = clean(" ".join(_messages(fault))) or "no reason given"
    return meaning.error(meaning.detail.format(status=response.status, message=message), response.traffic)


def rate_limited(response: Response) -> RateLimited:
    """Return the error of a 429: which limit was reached and for how long, both read from headers."""
    limit = LIMITS.get(response.headers.get("X-Rate-Limit-Problem", "").strip().lower(), "unknown")
    return RateLimited(LIMITED.format(limit=limit), limit, _read_retry_after(response.headers), response.traffic)


def clean(text: str) -> str:
    """Return a text of the vendor without addresses and possible tokens, shortened for a log line."""
    return SECRET.sub("…", ADDRESS.sub("…", " ".join(text.replace("\0", " ").split())))[:MAX_TEXT]


def _read_fault(body: bytes) -> Fault:
    try:
        return msgspec.json.decode(body, type=Fault)
    except UNREADABLE:
        return Fault()


def _markers(response: Response, fault: Fault) -> str:
    """Return, in lower case, the parts of a response that distinguish errors of the same status."""
    text = response.body[:1000].decode("utf-8", "replace")
    challenge = response.headers.get("WWW-Authenticate", "")
    return f"#{fault.ErrorNumber} {fault.Type} {fault.Detail} {challenge} {text}".lower()


def _messages(fault: Fault) -> list[str]:
    invalid = [invalid.Message for element in fault.Elements for invalid in element.ValidationErrors]
    return [text for text in (fault.Message, fault.Detail, *invalid) if text]


def _read_retry_after(headers: httpx.Headers) -> float | None:
    """Return the seconds to wait from seconds or an HTTP date, relative to the response's Date; None if unreadable."""
    text = headers.get("Retry-After", "").strip()
    seconds = float(text) if SECONDS.fullmatch(text) else _seconds_until(text, headers.get("Date", ""))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(then: str, now: str) -> float:
    later, earlier = read_http_date(then), read_http_date(now)
    return (later - earlier).total_seconds() if later and earlier else math.nan


def read_http_date(text: str) -> datetime | None:
    """Parse the date of an HTTP header; None if it is no date with a time zone."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return found if found.tzinfo else None
