"""The log of all calls to the simulator, and statistics about them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from simulator.clock import Clock, format_instant
from simulator.http import Request

_MINUTE_MS = 60_000
_HEADERS = ("accept", "accept-encoding", "if-modified-since", "user-agent", "xero-tenant-id")


@dataclass(slots=True)
class CallEntry:
    """One call. `at` is the simulator's time in milliseconds, `monotonic` the machine's monotonic clock in seconds."""

    seq: int
    at: int
    monotonic: float
    method: str
    path: str
    resource: str
    query: str
    tenant_id: str | None
    in_flight: int
    headers: dict[str, str]
    grant_type: str | None = None
    status: int | None = None
    note: str | None = None
    fault: str | None = None
    bytes_raw: int = 0
    bytes_wire: int = 0
    milliseconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"at": format_instant(self.at)}


@dataclass(slots=True)
class CallLog:
    """All calls since the log was last cleared, and the number in progress per tenant (None: no tenant was named)."""

    clock: Clock
    entries: list[CallEntry] = field(default_factory=list)
    in_flight: Counter[str | None] = field(default_factory=Counter)
    _next: int = 1

    def start(self, request: Request) -> CallEntry:
        """Record a call that begins."""
        tenant = request.tenant_id
        self.in_flight[tenant] += 1
        entry = CallEntry(
            seq=self._next,
            at=self.clock.now_ms(),
            monotonic=monotonic(),
            method=request.method,
            path=request.path,
            resource=request.resource,
            query=request.raw_query,
            tenant_id=tenant,
            in_flight=self.in_flight[tenant],
            headers={name: request.headers[name] for name in _HEADERS if name in request.headers},
        )
        self._next += 1
        self.entries.append(entry)
        return entry

    def finish(self, entry: CallEntry) -> None:
        """Record the duration of a call that has ended."""
        self.in_flight[entry.tenant_id] -= 1
        entry.milliseconds = (monotonic() - entry.monotonic) * 1000

    def clear(self) -> None:
        self.entries = []

    def stats(self) -> dict[str, Any]:
        """Return, per tenant, the calls, the most in any 60 seconds of simulator time, the most in flight, the 429s."""
        by_tenant: dict[str, list[CallEntry]] = defaultdict(list)
        for entry in self.entries:
            if entry.tenant_id and entry.path.lower().startswith("/api.xro"):
                by_tenant[entry.tenant_id].append(entry)
        everything = [entry for entries in by_tenant.values() for entry in entries]
        return {
            "calls": len(self.entries),
            "most_in_60_seconds_all_tenants": max_calls_in_a_minute(entry.at for entry in everything),
            "violations": sum(entry.status == 429 and not entry.fault for entry in everything),  # noqa: PLR2004 - the status
            "tenants": {tenant: _tenant_stats(entries) for tenant, entries in by_tenant.items()},
            "token_calls": Counter(
                f"{entry.grant_type}: {entry.note or 'ok'}" for entry in self.entries if entry.grant_type
            ),
        }


def max_calls_in_a_minute(instants: Iterable[int]) -> int:
    """Return the largest number of these times (in milliseconds) in any rolling 60 seconds."""
    ordered = sorted(instants)
    first, largest = 0, 0
    for last, instant in enumerate(ordered):
        while instant - ordered[first] >= _MINUTE_MS:
            first += 1
        largest = max(largest, last - first + 1)
    return largest


def _tenant_stats(entries: list[CallEntry]) -> dict[str, Any]:
    return {
        "calls": len(entries),
        "by_resource": Counter(entry.resource for entry in entries),
        "by_status": Counter(str(entry.status) for entry in entries),
        "most_in_60_seconds": max_calls_in_a_minute(entry.at for entry in entries),
        "most_in_flight": max(entry.in_flight for entry in entries),
        "refused": Counter(entry.note for entry in entries if entry.status == 429),  # noqa: PLR2004 - the status
        "bytes_raw": sum(entry.bytes_raw for entry in entries),
        "bytes_wire": sum(entry.bytes_wire for entry in entries),
    }
