"""A record of every call to the pretend Xero, and what can be read off it."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Any

from simulator.clock import Clock, iso
from simulator.http import Call

_MINUTE_MS = 60_000
_HEADERS = ("accept", "accept-encoding", "if-modified-since", "user-agent", "xero-tenant-id")


@dataclass(slots=True)
class Entry:
    """One call. `at` is the simulator's clock in milliseconds, `monotonic` the machine's in seconds."""

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
        return asdict(self) | {"at": iso(self.at)}


@dataclass(slots=True)
class Ledger:
    """All calls since the last clearing, and how many are in progress per tenant (None: no tenant named)."""

    clock: Clock
    entries: list[Entry] = field(default_factory=list)
    in_flight: Counter[str | None] = field(default_factory=Counter)
    _next: int = 1

    def open(self, call: Call) -> Entry:
        tenant = call.tenant_id
        self.in_flight[tenant] += 1
        entry = Entry(
            seq=self._next,
            at=self.clock.now_ms(),
            monotonic=monotonic(),
            method=call.method,
            path=call.path,
            resource=call.resource,
            query=call.raw_query,
            tenant_id=tenant,
            in_flight=self.in_flight[tenant],
            headers={name: call.headers[name] for name in _HEADERS if name in call.headers},
        )
        self._next += 1
        self.entries.append(entry)
        return entry

    def close(self, entry: Entry) -> None:
        self.in_flight[entry.tenant_id] -= 1
        entry.milliseconds = (monotonic() - entry.monotonic) * 1000

    def clear(self) -> None:
        self.entries = []

    def stats(self) -> dict[str, Any]:
        """Per tenant: calls, the most in any 60 seconds of the simulator's clock, the most in flight, refusals."""
        by_tenant: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.tenant_id and entry.path.lower().startswith("/api.xro"):
                by_tenant[entry.tenant_id].append(entry)
        everything = [entry for entries in by_tenant.values() for entry in entries]
        return {
            "calls": len(self.entries),
            "most_in_60_seconds_all_tenants": most_within_a_minute(entry.at for entry in everything),
            "violations": sum(entry.status == 429 and not entry.fault for entry in everything),  # noqa: PLR2004 - the status
            "tenants": {tenant: _tenant_stats(entries) for tenant, entries in by_tenant.items()},
            "token_calls": Counter(
                f"{entry.grant_type}: {entry.note or 'ok'}" for entry in self.entries if entry.grant_type
            ),
        }


def most_within_a_minute(moments: Iterable[int]) -> int:
    """The largest number of moments in any rolling 60 seconds."""
    ordered = sorted(moments)
    first, most = 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] >= _MINUTE_MS:
            first += 1
        most = max(most, last - first + 1)
    return most


def _tenant_stats(entries: list[Entry]) -> dict[str, Any]:
    return {
        "calls": len(entries),
        "by_resource": Counter(entry.resource for entry in entries),
        "by_status": Counter(str(entry.status) for entry in entries),
        "most_in_60_seconds": most_within_a_minute(entry.at for entry in entries),
        "most_in_flight": max(entry.in_flight for entry in entries),
        "refused": Counter(entry.note for entry in entries if entry.status == 429),  # noqa: PLR2004 - the status
        "bytes_raw": sum(entry.bytes_raw for entry in entries),
        "bytes_wire": sum(entry.bytes_wire for entry in entries),
    }
