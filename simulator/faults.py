"""Faults on order: what a call must look like to be hit, how often, and what it gets."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from itertools import count
from random import Random
from typing import Annotated
from zlib import compress, compressobj

import msgspec

from simulator.http import Answer, Call, Cut
from simulator.wire import errors

_GZIP_WBITS = 31
_MEGABYTE = 1 << 20

Produce = Callable[[], Awaitable[Answer]]


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Of the calls that match every given field, the first `times` (all if null) fail, each with chance `share`.

    `path` and `query` are parts of the call's; the others must be equal, letter case aside. `kind` is one of KINDS;
    `keep` is the share of the body that truncated and reset leave, `megabytes` what a gzip_bomb unpacks to.
    """

    kind: str
    path: str | None = None
    query: str | None = None
    method: str | None = None
    resource: str | None = None
    tenant_id: str | None = None
    grant_type: str | None = None
    times: int | None = 1
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    status: int = HTTPStatus.BAD_REQUEST
    text: str | None = None
    content_type: str = "text/plain; charset=utf-8"
    retry_after: str | None = None
    seconds: float = 0.0
    keep: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    megabytes: int = 64

    def matches(self, call: Call) -> bool:
        wanted = (
            (self.method, call.method),
            (self.resource, call.resource),
            (self.tenant_id, call.tenant_id),
            (self.grant_type, call.form.get("grant_type") if self.grant_type else None),
        )
        if any(want is not None and want.lower() != (got or "").lower() for want, got in wanted):
            return False
        return (self.path or "").lower() in call.path.lower() and (self.query or "").lower() in call.raw_query.lower()


@dataclass(slots=True)
class Order:
    """A fault in the book, and how often it struck."""

    id: int
    fault: Fault
    struck: int = 0

    @property
    def is_spent(self) -> bool:
        return self.fault.times is not None and self.struck >= self.fault.times


@dataclass(slots=True)
class Faults:
    rng: Random
    orders: list[Order] = field(default_factory=list)
    _ids: "Iterable[int]" = field(default_factory=lambda: count(1))

    def add(self, fault: Fault) -> Order:
        """Raises ValueError for an unknown kind."""
        if fault.kind not in KINDS:
            raise ValueError(f"There is no fault {fault.kind!r}; GET /_control lists the kinds.")
        order = Order(next(iter(self._ids)), fault)
        self.orders.append(order)
        return order

    def strike(self, call: Call) -> Fault | None:
        """The first order that hits this call, counted as struck."""
        for order in self.orders:
            if not order.is_spent and order.fault.matches(call) and self.rng.random() < order.fault.share:
                order.struck += 1
                return order.fault
        return None

    def remove(self, order_id: int | None = None) -> None:
        """One order, or all of them."""
        self.orders = [order for order in self.orders if order_id not in (None, order.id)]


def _given(make: Callable[[Fault], Answer]) -> Callable[[Fault, Answer], Answer]:
    """A fault that answers in the call's place."""
    return lambda fault, _answer: make(fault)


def _truncated(fault: Fault, answer: Answer) -> Answer:
    answer.body = answer.body[: int(len(answer.body) * fault.keep)]
    return answer


def _wrong_type(_fault: Fault, answer: Answer) -> Answer:
    answer.content_type = "text/html; charset=utf-8"
    return answer


def _bad_gzip(_fault: Fault, answer: Answer) -> Answer:
    # A gzip header and then a kind of block that does not exist, so that every decoder must notice.
    answer.body = compress(answer.body, wbits=_GZIP_WBITS)[:10] + b"\xff" * 64
    answer.headers.append(("Content-Encoding", "gzip"))
    answer.compress = False
    return answer


def _gzip_bomb(fault: Fault, answer: Answer) -> Answer:
    """A thousandth of what it unpacks to: spaces, which JSON allows before anything."""
    packer = compressobj(wbits=_GZIP_WBITS)
    parts = [packer.compress(b" " * _MEGABYTE) for _ in range(fault.megabytes)]
    answer.body = b"".join(parts) + packer.compress(answer.body) + packer.flush()
    answer.headers.append(("Content-Encoding", "gzip"))
    answer.compress = False
    return answer


def _reset(fault: Fault, answer: Answer) -> Answer:
    answer.cut, answer.keep = Cut.MID_BODY, fault.keep
    return answer


def _lost(_fault: Fault, answer: Answer) -> Answer:
    answer.cut = Cut.BEFORE_ANSWER
    return answer


def _limited(problem: str, usual: str | None = None) -> Callable[[Fault, Answer], Answer]:
    """`retry_after` is sent as it is given; null takes what Xero sent once, an empty text leaves the header out."""

    def make(fault: Fault) -> Answer:
        wanted = usual if fault.retry_after is None else fault.retry_after
        return errors.rate_limited(problem, wanted or None)

    return _given(make)


def _refused(_fault: Fault) -> Answer:
    return Answer(cut=Cut.BEFORE_ANSWER)


KINDS: dict[str, Callable[[Fault, Answer], Answer]] = {
    "status": _given(lambda fault: Answer(fault.status, (fault.text or "").encode(), fault.content_type)),
    "token_expired": _given(lambda _: errors.token_expired(datetime(2001, 1, 1))),  # noqa: DTZ001 - Xero's own sample
    "bad_token": _given(lambda _: errors.bad_token()),
    "scope_missing": _given(lambda _: errors.scope_missing()),
    "forbidden": _given(lambda _: errors.forbidden()),
    "not_found": _given(lambda _: errors.not_found()),
    "query_error": _given(lambda fault: errors.query_error(fault.text or "Syntax error")),
    "validation_error": _given(lambda fault: errors.validation_error(fault.text or "Not valid")),
    "high_volume": _given(lambda fault: errors.high_volume(fault.resource or "Invoices")),
    "limit_minute": _limited("minute", "22"),
    "limit_day": _limited("day", "66975"),
    "limit_concurrent": _limited("concurrent"),
    "limit_appminute": _limited("appminute"),
    "server_error": _given(lambda _: errors.server_error()),
    "not_implemented": _given(lambda _: errors.not_implemented()),
    "maintenance": _given(lambda _: errors.unavailable(errors.MAINTENANCE)),
    "unavailable": _given(lambda _: errors.unavailable()),
    "organisation_offline": _given(lambda _: errors.unavailable(errors.ORGANISATION_OFFLINE)),
    "html": _given(lambda _: errors.html()),
    "empty": _given(lambda _: Answer(content_type="application/json; charset=utf-8")),
    "no_content": _given(lambda _: Answer(HTTPStatus.NO_CONTENT)),
    "oauth_error": _given(lambda fault: errors.oauth_error(fault.text or "invalid_grant")),
    "refused": _given(_refused),
    "truncated": _truncated,
    "wrong_type": _wrong_type,
    "bad_gzip": _bad_gzip,
    "gzip_bomb": _gzip_bomb,
    "reset": _reset,
    "lost_answer": _lost,
    "delay": lambda _fault, answer: answer,
}
# These act on the real answer, so the call has its effect: a lost answer to a refresh has rotated the token.
EFFECTIVE = frozenset(("truncated", "wrong_type", "bad_gzip", "gzip_bomb", "reset", "lost_answer", "delay"))


async def with_fault(fault: Fault | None, produce: Produce) -> Answer:
    """The call's answer, spoiled or replaced."""
    if fault is None:
        return await produce()
    answer = await produce() if fault.kind in EFFECTIVE else Answer()
    return KINDS[fault.kind](fault, answer)
