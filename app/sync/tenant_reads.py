"""Reads one row of each of several tenants, to tell whether they can be read; bounded in number and in time."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.billing.records import Resource
from app.clock import Clock
from app.concurrency import cancel_and_wait
from app.connections.tables import Tenant
from app.connector import ConnectorError, PageRequest
from app.db import Database
from app.sync.client.failures import describe_failure
from app.sync.client.rate_limiter import Paused, Priority
from app.sync.client.tenant_client import TenantClient
from app.sync.client.usage import record_traffic

MAX_TENANTS = 20
READ_SECONDS = 15.0
# How many tenants are read at a time; each has limits of its own, but one app makes all the calls.
CONCURRENT_READS = 5


@dataclass(frozen=True, slots=True)
class TenantReads:
    """What the reads came to.

    Attributes:
        good: the tenants that were read.
        problems: the others that were tried, with what a person reads about each.
        untried: those that were not tried, because they were too many or the time was up.
    """

    good: Sequence[Tenant] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    untried: Sequence[Tenant] = ()


class TenantReader:
    """Makes one call for each tenant, within the limits that hold for every call.

    Args:
        db: where the calls are counted.
        clock: says since when a changed row is asked for, which makes the answer small.
        make_client: returns the client of a tenant, which gives up at the first failure.
        max_tenants: the most tenants that are tried.
        seconds: how long all reads together may take.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        make_client: Callable[[str], TenantClient],
        max_tenants: int = MAX_TENANTS,
        seconds: float = READ_SECONDS,
    ) -> None:
        self._db = db
        self._clock = clock
        self._make_client = make_client
        self._max_tenants = max_tenants
        self._seconds = seconds

    async def read(self, tenants: Sequence[Tenant]) -> TenantReads:
        """Read one row of each tenant; those that had a problem come first, then those read longest ago."""
        chosen = sorted(tenants, key=_urgency)[: self._max_tenants]
        slots, started = asyncio.Semaphore(CONCURRENT_READS), set[str]()
        tasks = {one.tenant_id: asyncio.create_task(self._read_one(one, slots, started)) for one in chosen}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=self._seconds)
            answered = {tenant_id: task.result() for tenant_id, task in tasks.items() if task.done()}
        finally:
            await cancel_and_wait(tasks.values())
        silent = f"It did not answer within {self._seconds:g} seconds."
        problems = {tenant_id: silent for tenant_id in started if tenant_id not in answered}
        problems |= {tenant_id: problem for tenant_id, problem in answered.items() if problem}
        good = [one for one in tenants if one.tenant_id in answered and one.tenant_id not in problems]
        return TenantReads(good, problems, [one for one in tenants if one.tenant_id not in {*answered, *problems}])

    async def _read_one(self, tenant: Tenant, slots: asyncio.Semaphore, started: set[str]) -> str | None:
        """Return why the tenant cannot be read; None when it can."""
        async with slots:
            started.add(tenant.tenant_id)
            request = PageRequest(Resource.CONTACTS, changed_since=self._clock.now(), page_size=1)
            try:
                fetched = await self._make_client(tenant.tenant_id).fetch(request, Priority.INTERACTIVE)
            except (Paused, ConnectorError) as error:
                return describe_failure(error, self._clock.now()).message
            async with self._db.transaction() as session:
                await record_traffic(session, tenant.vendor, tenant.tenant_id, fetched.page.traffic)
            return None


def _urgency(tenant: Tenant) -> tuple[bool, float, str]:
    read_at = tenant.last_success_at.timestamp() if tenant.last_success_at else 0.0
    return tenant.reason_code is None, read_at, tenant.tenant_id
