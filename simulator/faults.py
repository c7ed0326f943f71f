"""Fault injection: which requests fail, how often, and with which response."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from itertools import count
from random import Random
from typing import Annotated
from zlib import compress, compressobj

import msgspec

from simulator.http import ConnectionAbort, Request, Response
from simulator.wire import errors

_GZIP_WBITS = 31
_MEGABYTE = 1 << 20

ResponseProducer = Callable[[], Awaitable[Response]]


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Of the calls that match every given field, the first `times` (all if null) fail, each with probability `share`.

    `path` and `query` match a part of the call's, and `rows_above` a list that is asked for more rows than that; the
    other fields must be equal, letter case aside. `kind` is one of `fault_kinds`; `keep` is the share of the body that
    truncated and reset leave, `megabytes` the size to which a gzip_bomb unpacks.
    """

    kind: str
    path: str | None = None
    query: str | None = None
    method: str | None = None
    resource: str | None = None
    tenant_id: str | None = None
    grant_type: str | None = None
    rows_above: int | None = None
    times: int | None = 1
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    status: int = HTTPStatus.BAD_REQUEST
    text: str | None = None
    content_type: str = "text/plain; charset=utf-8"
    retry_after: str | None = None
    seconds: float = 0.0
    keep: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    megabytes: int = 64

    def matches(self, request: Request) -> bool:
        """Return whether the request matches every given field."""
        wanted = (
            (self.method, request.method),
            (self.resource, request.resource),
            (self.tenant_id, request.tenant_id),
            (self.grant_type, request.form.get("grant_type") if self.grant_type else None),
        )
        if any(want is not None and want.lower() != (actual or "").lower() for want, actual in wanted):
            return False
        if self.rows_above is not None and _rows_asked_for(request) <= self.rows_above:
            return False
        return (self.path or "").lower() in request.path.lower() and (
            self.query or ""
        ).lower() in request.raw_query.lower()


def _rows_asked_for(request: Request) -> int:
    """Return the most rows that a list may have: as many as it names ids, or else its `pageSize`; 0 without either."""
    if ids := request.query.get("ids"):
        return len(ids.split(","))
    size = request.query.get("pagesize", "")
    return int(size) if size.isdecimal() else 0


@dataclass(slots=True)
class FaultRule:
    """A fault waiting for matching requests, and how often it was injected."""

    id: int
    fault: Fault
    injected_count: int = 0

    @property
    def is_exhausted(self) -> bool:
        return self.fault.times is not None and self.injected_count >= self.fault.times


@dataclass(slots=True)
class FaultInjector:
    """The faults that tests have added, in that order."""

    rng: Random
    rules: list[FaultRule] = field(default_factory=list)
    _ids: "Iterable[int]" = field(default_factory=lambda: count(1))

    def add(self, fault: Fault) -> FaultRule:
        """Add a fault. Raises ValueError for an unknown kind."""
        if fault.kind not in FAULT_KINDS:
            raise ValueError(f"There is no fault {fault.kind!r}; GET /_control lists the kinds.")
        rule = FaultRule(next(iter(self._ids)), fault)
        self.rules.append(rule)
        return rule

    def take_match(self, request: Request) -> Fault | None:
        """Return the first fault that matches this request and count it as injected, or None."""
        for rule in self.rules:
            if not rule.is_exhausted and rule.fault.matches(request) and self.rng.random() < rule.fault.share:
                rule.injected_count += 1
                return rule.fault
        return None

    def remove(self, rule_id: int) -> None:
        """Remove the fault with this id, if there is one."""
        self.rules = [rule for rule in self.rules if rule.id != rule_id]

    def clear(self) -> None:
        """Remove all faults."""
        self.rules = []


def _replace_response(make: Callable[[Fault], Response]) -> Callable[[Fault, Response], Response]:
    """Return a fault that replaces the response; the request itself is not processed."""
    return lambda fault, _response: make(fault)


def _truncated(fault: Fault, response: Response) -> Response:
    response.body = response.body[: int(len(response.body) * fault.keep)]
    return response


def _wrong_type(_fault: Fault, response: Response) -> Response:
    response.content_type = "text/html; charset=utf-8"
    return response


def _bad_gzip(_fault: Fault, response: Response) -> Response:
    # A gzip header, then a block type that does not exist, so that every decoder fails.
    response.body = compress(response.body, wbits=_GZIP_WBITS)[:10] + b"\xff" * 64
    response.headers.append(("Content-Encoding", "gzip"))
    response.compress = False
    return response


def _gzip_bomb(fault: Fault, response: Response) -> Response:
    """Prefix the body with spaces, which JSON allows; it unpacks to about a thousand times its compressed size."""
    compressor = compressobj(wbits=_GZIP_WBITS)
    parts = [compressor.compress(b" " * _MEGABYTE) for _ in range(fault.megabytes)]
    response.body = b"".join(parts) + compressor.compress(response.body) + compressor.flush()
    response.headers.append(("Content-Encoding", "gzip"))
    response.compress = False
    return response


def _reset(fault: Fault, response: Response) -> Response:
    response.abort, response.sent_share = ConnectionAbort.MID_BODY, fault.keep
    return response


def _withhold_rows(_fault: Fault, response: Response) -> Response:
    """Take the rows out of a list and leave its counts."""
    document = msgspec.json.decode(response.body)
    without_rows = {name: [] if isinstance(value, list) else value for name, value in document.items()}
    response.body = msgspec.json.encode(without_rows)
    return response


def _lose_response(_fault: Fault, response: Response) -> Response:
    response.abort = ConnectionAbort.BEFORE_RESPONSE
    return response


def _never_answer(_fault: Fault) -> Response:
    return Response(abort=ConnectionAbort.NEVER)


def _rate_limit_fault(problem: str, default: str | None = None) -> Callable[[Fault, Response], Response]:
    """Return a 429 fault. `retry_after` is sent as given; null sends the default, an empty string no header."""

    def make(fault: Fault) -> Response:
        wanted = default if fault.retry_after is None else fault.retry_after
        return errors.rate_limited(problem, wanted or None)

    return _replace_response(make)


def _refuse_connection(_fault: Fault) -> Response:
    return Response(abort=ConnectionAbort.BEFORE_RESPONSE)


FAULT_KINDS: dict[str, Callable[[Fault, Response], Response]] = {
    "status": _replace_response(lambda fault: Response(fault.status, (fault.text or "").encode(), fault.content_type)),
    "token_expired": _replace_response(lambda _: errors.token_expired(datetime(2001, 1, 1))),  # noqa: DTZ001 - the time in Xero's own example
    "bad_token": _replace_response(lambda _: errors.bad_token()),
    "scope_missing": _replace_response(lambda _: errors.scope_missing()),
    "forbidden": _replace_response(lambda _: errors.forbidden()),
    "not_found": _replace_response(lambda _: errors.not_found()),
    "query_error": _replace_response(lambda fault: errors.query_error(fault.text or "Syntax error")),
    "validation_error": _replace_response(lambda fault: errors.validation_error(fault.text or "Not valid")),
    "high_volume": _replace_response(lambda fault: errors.high_volume(fault.resource or "Invoices")),
    "limit_minute": _rate_limit_fault("minute", "22"),
    "limit_day": _rate_limit_fault("day", "66975"),
    "limit_concurrent": _rate_limit_fault("concurrent"),
    "limit_appminute": _rate_limit_fault("appminute"),
    "server_error": _replace_response(lambda _: errors.server_error()),
    "not_implemented": _replace_response(lambda _: errors.not_implemented()),
    "maintenance": _replace_response(lambda _: errors.unavailable(errors.MAINTENANCE)),
    "unavailable": _replace_response(lambda _: errors.unavailable()),
    "organisation_offline": _replace_response(lambda _: errors.unavailable(errors.ORGANISATION_OFFLINE)),
    "html": _replace_response(lambda _: errors.html()),
    "empty": _replace_response(lambda _: Response(content_type="application/json; charset=utf-8")),
    "no_content": _replace_response(lambda _: Response(HTTPStatus.NO_CONTENT)),
    "oauth_error": _replace_response(lambda fault: errors.oauth_error(fault.text or "invalid_grant")),
    "refused": _replace_response(_refuse_connection),
    "unanswered": _replace_response(_never_answer),
    "truncated": _truncated,
    "wrong_type": _wrong_type,
    "bad_gzip": _bad_gzip,
    "gzip_bomb": _gzip_bomb,
    "withheld_rows": _withhold_rows,
    "reset": _reset,
    "lost_answer": _lose_response,
    "delay": lambda _fault, response: response,
}
# These faults change the real response, so the request takes effect: a refresh whose response is lost has rotated the
# refresh token.
FAULTS_AFTER_EFFECT = frozenset(
    ("truncated", "wrong_type", "bad_gzip", "gzip_bomb", "withheld_rows", "reset", "lost_answer", "delay")
)


async def apply_fault(fault: Fault | None, produce: ResponseProducer) -> Response:
    """Return the response to a request, changed or replaced by the fault if there is one."""
    if fault is None:
        return await produce()
    response = await produce() if fault.kind in FAULTS_AFTER_EFFECT else Response()
    return FAULT_KINDS[fault.kind](fault, response)
