"""Responses of the server itself, to requests that never reach the application."""

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum
from http import HTTPStatus

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from app.api.errors import MEDIA_TYPE, PROBLEMS, ProblemDetails

log = structlog.get_logger(__name__)


class Refusal(StrEnum):
    """Why a connection is refused; each is the code of a problem."""

    MALFORMED = "bad_request"
    HEADERS_TOO_LARGE = "headers_too_large"
    TOO_SLOW = "request_timeout"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    STOPPED = "not_ready"


DETAILS = {
    Refusal.MALFORMED: "This is not a request of HTTP/1.1, or too many were sent before the first was answered.",
    Refusal.HEADERS_TOO_LARGE: "The request's line and headers are too large; send fewer or shorter ones.",
    Refusal.TOO_SLOW: "The request did not arrive in time; send it again, without pauses.",
    Refusal.TOO_MANY_CONNECTIONS: "Too many connections are open; close those that are idle and try again shortly.",
    Refusal.STOPPED: "This process stopped before the request was done; send it again.",
}
RETRY_SECONDS = 5


def render_refusal(refusal: Refusal, default_headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a refusal as the bytes of a response, after which the connection is closed.

    Args:
        refusal: the reason.
        default_headers: the headers of every response of the server.
    """
    status, title = PROBLEMS[refusal]
    request_id = secrets.token_hex(8)
    details = ProblemDetails(
        type=f"urn:vectis:problem:{refusal}",
        title=title,
        status=status,
        detail=DETAILS[refusal],
        code=refusal,
        request_id=request_id,
    )
    body = json.dumps(details.model_dump(exclude_unset=True)).encode()
    headers = [
        *default_headers,
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ]
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", str(RETRY_SECONDS).encode()))
    return STATUS_LINE[status] + b"".join(b"%s: %s\r\n" % header for header in headers) + b"\r\n" + body


class RefusalLog:
    """Logs refusals at most once a second, each time with how many there were: a flood of them fills no disk.

    Args:
        now: returns a monotonic time in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._logged_at = float("-inf")
        self._counts: Counter[str] = Counter()

    def add(self, refusal: Refusal) -> None:
        """Count a refusal, and log the counts unless they were logged within the last second."""
        self._counts[refusal] += 1
        if self._now() - self._logged_at >= 1:
            self._logged_at = self._now()
            log.warning("requests_refused", **self._counts)
            self._counts.clear()
