"""The rate limiter: hands out permits for calls so that all replicas together stay under every limit of the vendor.

The SQL function `take_call` (in `migrations/functions/`) decides about one permit on the database's clock: it counts
calls per tenant and minute, per tenant and day, and per minute for the whole app. Permits that are asked for together
are taken by one statement. Calls in flight are counted by the tenant's owner alone, because nobody else may call for
it. Xero's own limits, as of November 2026 (its page "API limits"): 60 calls a minute, 5 in flight and 5,000 a day per
tenant, 10,000 a minute per app; the settings stay below them.
"""

import asyncio
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import NamedTuple

from sqlalchemy import func, select, text, update

from app.clock import Clock
from app.concurrency import Coalescer
from app.connector import RateLimited
from app.db import Database, Instant
from app.sync.tables import RateLimitBudget

# Per limit that a 429 can name: the pause in seconds when it names no time, and the longest time that is believed.
PAUSES = {"minute": (60.0, 300.0), "day": (3600.0, 86400.0), "concurrent": (1.0, 10.0), "app_minute": (20.0, 120.0)}
UNKNOWN_LIMIT_PAUSE = (60.0, 3600.0)
# A call counts a second longer than the minute, because it travels. One that took longer counts from its end.
NETWORK_SLACK_SECONDS = 1.0
# The lock timeout is set by an argument, so within the statement: behind a transaction pooler no session keeps it, and
# this statement has no transaction that begins with it. The argument names `number`, so that the function is called for
# each.
LOCK_TIMEOUT = "4s"
TAKE_CALLS = text("""
SELECT taken.decision, taken.seconds, taken.slot
FROM generate_series(1, :calls) AS number, LATERAL take_call(
  CASE WHEN number > 0 AND set_config('lock_timeout', :lock_timeout, true) IS NOT NULL THEN :vendor END, :tenant_id,
  :per_minute, :app_per_minute, :day_share, :day_reserve, :is_webhook, :kind_allowance) AS taken
ORDER BY number
""").columns(slot=Instant)


class Paused(RuntimeError):
    """No call may be made for longer than a run waits.

    Args:
        reason: `day_share` (our share of the day is used up), `day`, `minute`, `concurrent`, `app_minute` or `unknown`.
        seconds: how long from now.
    """

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(f"Paused for {seconds:.0f} seconds: {reason}.")
        self.reason = reason
        self.seconds = seconds

    def until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.seconds)


class Decision(NamedTuple):
    """What `take_call` answers."""

    decision: str
    seconds: float
    slot: datetime | None


class Priority(Enum):
    """What a call is for, which decides what share of the limits it may use.

    `SYNC`: a pull. `INTERACTIVE`: a pull that a person waits for. `WEBHOOK`: the rows that events name.
    `WEBHOOK_RETRY`: rows that a good answer has already left out, which most likely do not exist.
    """

    SYNC = "sync"
    INTERACTIVE = "interactive"
    WEBHOOK = "webhook"
    WEBHOOK_RETRY = "webhook_retry"

    @property
    def is_webhook(self) -> bool:
        return self in (Priority.WEBHOOK, Priority.WEBHOOK_RETRY)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """The settings of one vendor.

    Attributes:
        per_minute: calls per tenant and minute.
        max_concurrent: calls in flight per tenant.
        per_day: calls per tenant and day.
        pause_at: the share of `per_day`, between 0 and 1, at which runs pause until the next day.
        app_per_minute: calls per minute of all tenants together.
        vendor_per_day: the most calls a day the vendor gives a tenant, whatever `per_day` is set to.
    """

    per_minute: int
    max_concurrent: int
    per_day: int
    pause_at: float
    app_per_minute: int
    vendor_per_day: int

    def minute_allowance(self, priority: Priority) -> int:
        """Return how many of a tenant's calls a minute those of this priority's kind, webhooks or pulls, may be.

        Webhooks leave pulls half of the minute, however many events wait. Pulls leave a fifteenth to webhooks and to
        people, unless a person waits for the pull itself.
        """
        if priority.is_webhook:
            return max(1, self.per_minute // 2)
        return self.per_minute - self.per_minute // 15 if priority is Priority.SYNC else self.per_minute

    def day_allowance(self, priority: Priority) -> tuple[int, int]:
        """Return how many calls a day this priority may use, and how many must remain by the vendor's own count.

        What lies above `pause_at` is for webhooks that have not yet shown that their row does not come.
        """
        if priority is Priority.WEBHOOK:
            return self.per_day, 0
        # What must remain by the vendor's count is a share of the vendor's day, however high the setting is.
        vendor_day = min(self.per_day, self.vendor_per_day)
        return math.floor(self.per_day * self.pause_at), vendor_day - math.floor(vendor_day * self.pause_at)


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to make one call now, or how long to wait before asking again.

    Attributes:
        wait: 0 when the call may be made, else the seconds after which to ask again.
        slot: the instant the call counts from; None when it may not be made.
        asked_at: our own clock before the permit was asked for.
        priority: what the call is for.
    """

    wait: float
    slot: datetime | None
    asked_at: datetime
    priority: Priority = Priority.SYNC


class RateLimiter:
    """Hands out permits for calls to one vendor.

    Args:
        db: the database that all replicas count in.
        clock: waits until a permit is valid.
        vendor: the vendor's word in `source`.
        limits: the settings.
        max_wait: the longest wait in seconds before a run is paused instead.
    """

    def __init__(self, db: Database, clock: Clock, vendor: str, limits: RateLimits, max_wait: float = 75) -> None:
        self._db = db
        self._clock = clock
        self._vendor = vendor
        self.limits = limits
        self._max_wait = max_wait
        self._requests: Coalescer[tuple[str, Priority], Decision] = Coalescer(self._take_calls)

    def concurrency_limit(self) -> asyncio.Semaphore:
        """Return a semaphore for one tenant's calls, so that no more than `max_concurrent` are in flight."""
        return asyncio.Semaphore(self.limits.max_concurrent)

    async def acquire(self, tenant_id: str, priority: Priority = Priority.SYNC) -> Permit:
        """Count a call and return its permit once it may be made, or a permit that says how long to wait.

        Raises:
            Paused: the wait would be longer than `max_wait`, or the day's share is used up.
        """
        asked_at = self._clock.now()
        decision, seconds, slot = await self._requests.ask((tenant_id, priority))
        if decision == "go":
            await self._clock.sleep(seconds)
            return Permit(0, slot, asked_at, priority)
        if decision == "day" or seconds > self._max_wait:
            raise Paused(await self._reason_of(tenant_id, decision), seconds)
        wait = min(seconds + random.uniform(0, 0.05), seconds * 1.5 + 0.01)  # noqa: S311 - jitter
        return Permit(wait, None, asked_at, priority)

    async def release(self, tenant_id: str, permit: Permit) -> None:
        """Count a finished call from its end if it took so long that the vendor may have counted it late."""
        if self._clock.now() - permit.asked_at <= timedelta(seconds=NETWORK_SLACK_SECONDS):
            return
        row_key = (RateLimitBudget.vendor == self._vendor, RateLimitBudget.tenant_id == tenant_id)
        async with self._db.transaction() as session:
            # Read once, because a call is found to be a webhook's by the same instant in both columns.
            ended_at = (await session.scalars(select(func.wall_clock()))).one()
            columns = (
                [RateLimitBudget.slots, RateLimitBudget.webhook_slots]
                if permit.priority.is_webhook
                else [RateLimitBudget.slots]
            )
            slots = {slots: func.array_append(func.array_remove(slots, permit.slot), ended_at) for slots in columns}
            await session.execute(update(RateLimitBudget).where(*row_key).values(slots))

    async def _take_calls(self, key: tuple[str, Priority], calls: int) -> Sequence[Decision]:
        """Ask for so many calls of a tenant at once; each gets an answer of its own."""
        tenant_id, priority = key
        day_share, day_reserve = self.limits.day_allowance(priority)
        values = {
            "calls": calls,
            "lock_timeout": LOCK_TIMEOUT,
            "vendor": self._vendor,
            "tenant_id": tenant_id,
            "per_minute": self.limits.per_minute,
            "app_per_minute": self.limits.app_per_minute,
            "day_share": day_share,
            "day_reserve": day_reserve,
            "is_webhook": priority.is_webhook,
            "kind_allowance": self.limits.minute_allowance(priority),
        }
        async with self._db.transaction() as session:
            # Autocommit: a process suspended between statement and commit would block every call of the app.
            connection = await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            return [Decision(*row) for row in await connection.execute(TAKE_CALLS, values)]

    async def _reason_of(self, tenant_id: str, decision: str) -> str:
        if decision == "day":
            return "day_share"
        async with self._db.transaction() as session:
            statement = select(RateLimitBudget.blocked_by).where(
                RateLimitBudget.vendor == self._vendor, RateLimitBudget.tenant_id == tenant_id
            )
            return await session.scalar(statement) or "minute"

    async def record_pause(self, tenant_id: str, error: RateLimited) -> None:
        """Let no replica call for as long as a 429 asked: the tenant, or the whole app if it named that limit."""
        seconds = retry_delay(error)
        counted_tenant = "" if error.limit == "app_minute" else tenant_id
        until = func.wall_clock() + timedelta(seconds=seconds)
        pause = {"blocked_until": func.greatest(RateLimitBudget.blocked_until, until), "blocked_by": error.limit}
        async with self._db.transaction() as session:
            row_key = (RateLimitBudget.vendor == self._vendor, RateLimitBudget.tenant_id == counted_tenant)
            await session.execute(update(RateLimitBudget).where(*row_key).values(pause))


def retry_delay(error: RateLimited) -> float:
    """Return the seconds to pause after a 429: what the vendor asked, up to a maximum, else a default with jitter."""
    default, longest = PAUSES.get(error.limit, UNKNOWN_LIMIT_PAUSE)
    if error.retry_after is None:
        return default * random.uniform(1, 1.25)  # noqa: S311 - jitter
    return min(error.retry_after, longest) + 0.25
