"""What each answer of Xero's that is not the one asked for means: one table, read from the top."""

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

MOST_TEXT = 300
ADDRESS = re.compile(r"https?://\S+|\b(?:[a-z0-9-]+\.)+(?:com|net|org|io|cloud|local|internal)\b\S*", re.IGNORECASE)
# No word of a message for people is this long; a token is.
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
    """One row: these statuses, where the answer bears that sign, are that error."""

    statuses: range
    sign: str
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

# The sign is looked for in what `_signs` gathers; an empty one is always there. Two rows are easily confused:
# 403 "AuthenticationUnsuccessful" is an organisation gone, 401 "AuthorizationUnsuccessful" is a scope missing.
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
    """The two forms of Xero's error bodies in one; both are optional, an error may as well be text or HTML."""

    ErrorNumber: int | None = None
    Type: str | None = None
    Message: str | None = None
    Detail: str | None = None
    Elements: list[Element] = []


def error_for(answer: Response) -> ConnectorError:
    """Return the error an answer stands for, with what it cost; to be raised by the caller."""
    fault = _read_fault(answer.body)
    signs = _signs(answer, fault)
    meaning = next(row for row in MEANINGS if answer.status in row.statuses and row.sign in signs)
    if meaning.error is RateLimited:
        return rate_limited(answer)
    message = clean(" ".join(_messages(fault))) or "no reason given"
    return meaning.error(meaning.detail.format(status=answer.status, message=message), answer.traffic)


def rate_limited(answer: Response) -> RateLimited:
    """Return which limit a 429 speaks of, and for how long; it comes without a body worth reading."""
    limit = LIMITS.get(answer.headers.get("X-Rate-Limit-Problem", "").strip().lower(), "unknown")
    return RateLimited(LIMITED.format(limit=limit), limit, _read_retry_after(answer.headers), answer.traffic)


def clean(text: str) -> str:
    """Return a vendor's sentence without addresses and anything that could be a token, at a length for a log line."""
    return SECRET.sub("…", ADDRESS.sub("…", " ".join(text.replace("\0", " ").split())))[:MOST_TEXT]


def _read_fault(body: bytes) -> Fault:
    try:
        return msgspec.json.decode(body, type=Fault)
    except UNREADABLE:
        return Fault()


def _signs(answer: Response, fault: Fault) -> str:
    """Gather, in lower case, everything in an answer that tells one error from another of the same status."""
    text = answer.body[:1000].decode("utf-8", "replace")
    challenge = answer.headers.get("WWW-Authenticate", "")
    return f"#{fault.ErrorNumber} {fault.Type} {fault.Detail} {challenge} {text}".lower()


def _messages(fault: Fault) -> list[str]:
    invalid = [invalid.Message for element in fault.Elements for invalid in element.ValidationErrors]
    return [text for text in (fault.Message, fault.Detail, *invalid) if text]


def _read_retry_after(headers: httpx.Headers) -> float | None:
    """Read seconds or an HTTP date, which counts from the answer's own Date; nonsense is no answer at all."""
    text = headers.get("Retry-After", "").strip()
    seconds = float(text) if SECONDS.fullmatch(text) else _seconds_until(text, headers.get("Date", ""))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(then: str, now: str) -> float:
    later, earlier = read_http_date(then), read_http_date(now)
    return (later - earlier).total_seconds() if later and earlier else math.nan


def read_http_date(text: str) -> datetime | None:
    """Return the instant an HTTP header names, or None where it names none."""
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return found if found.tzinfo else None
