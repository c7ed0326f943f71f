"""The budget: calls handed out so that all replicas together stay under every limit, and what the calls cost.

One statement hands out a call (`take_call` in the first migration), on the database's clock. Xero counts per
organisation 60 a minute, 5 at once and 5,000 a day, and 10,000 a minute for the app, as of November 2026; the settings
stay below. Calls at once are counted by the owner of the organisation's lease alone, since nobody else may call.
"""

import asyncio
import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import func, select, update

from app.clock import Clock
from app.connector import RateLimited
from app.db import Database
from app.sync.tables import Budget

# How long to hold still when the vendor names a limit but no time, and the longest time that is believed.
PAUSES = {"minute": (60.0, 300.0), "day": (3600.0, 86400.0), "concurrent": (1.0, 10.0), "app_minute": (20.0, 120.0)}
UNKNOWN_PAUSE = (60.0, 3600.0)
# A slot counts a second longer than the minute, for the call's travel. One that took longer counts from its end.
NETWORK_SLACK_SECONDS = 1.0


class Paused(RuntimeError):
    """No call may be made for longer than a tick should wait.

    Args:
        reason: `day_share` (our own pause below the cap), `day`, `minute`, `concurrent`, `app_minute` or `unknown`.
        seconds: how long from now.
    """

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(f"Paused for {seconds:.0f} seconds: {reason}.")
        self.reason = reason
        self.seconds = seconds

    def until(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.seconds)


class Priority(Enum):
    """Whose calls they are: a sync's, a person's who waits, or a webhook's. The later ones find room kept for them."""

    SYNC = "sync"
    INTERACTIVE = "person"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How often one vendor may be called.

    Attributes:
        per_minute: calls a minute per organisation.
        max_concurrent: calls under way at once per organisation.
        per_day: calls a day per organisation.
        pause_at: the share of the day's calls at which scheduled syncs pause.
        app_per_minute: calls a minute of all organisations together.
        vendor_per_day: the most calls a day the vendor gives one organisation, whatever `per_day` is set to.
    """

    per_minute: int
    max_concurrent: int
    per_day: int
    pause_at: float
    app_per_minute: int
    vendor_per_day: int

    def minute_allowance(self, priority: Priority) -> int:
        """Return the calls a minute one may use; a fifteenth is kept for webhooks and people who wait."""
        return self.per_minute - self.per_minute // 15 if priority is Priority.SYNC else self.per_minute

    def day_allowance(self, priority: Priority) -> tuple[int, int]:
        """Return the calls a day one may use, and how many must remain by the vendor's own count."""
        if priority is Priority.WEBHOOK:
            return self.per_day, 0
        # What must remain by the vendor's count is a share of the vendor's day, however high the setting is.
        theirs = min(self.per_day, self.vendor_per_day)
        return math.floor(self.per_day * self.pause_at), theirs - math.floor(theirs * self.pause_at)


@dataclass(frozen=True, slots=True)
class Permit:
    """What the budget says: a call may be made now, or is to be asked for again.

    Attributes:
        wait: 0, or the seconds after which to ask again.
        slot: the instant the call counts from when it may be made.
        asked_at: our own clock before the budget was asked.
    """

    wait: float
    slot: datetime | None
    asked_at: datetime


class RateLimiter:
    """Hands out the calls of one vendor.

    Args:
        db: where the budget is.
        clock: waits for a slot.
        vendor: whose calls.
        limits: the settings.
        patience: the longest wait in seconds that is sat out; beyond it the work is put off.
    """

    def __init__(self, db: Database, clock: Clock, vendor: str, limits: RateLimits, patience: float = 75) -> None:
        self._db = db
        self._clock = clock
        self._vendor = vendor
        self.limits = limits
        self._patience = patience

    def concurrency_limit(self) -> asyncio.Semaphore:
        """Return the gate an owner passes its calls through, so that no more than `max_concurrent` are under way."""
        return asyncio.Semaphore(self.limits.max_concurrent)

    async def acquire(self, tenant_id: str, priority: Priority = Priority.SYNC) -> Permit:
        """Count a call and return when it may be made, or return how long to wait before asking again.

        Raises:
            Paused: it would be too long a wait.
        """
        asked_at = self._clock.now()
        decision, seconds, slot = await self._ask(tenant_id, priority)
        if decision == "go":
            await self._clock.sleep(seconds)
            return Permit(0, slot, asked_at)
        if decision == "day" or seconds > self._patience:
            raise Paused(await self._why(tenant_id, decision), seconds)
        wait = min(seconds + random.uniform(0, 0.05), seconds * 1.5 + 0.01)  # noqa: S311 - jitter
        return Permit(wait, None, asked_at)

    async def release(self, tenant_id: str, permit: Permit) -> None:
        """Count a call that is over from now on if it took so long that the vendor may have counted it late."""
        if self._clock.now() - permit.asked_at <= timedelta(seconds=NETWORK_SLACK_SECONDS):
            return
        here = (Budget.vendor == self._vendor, Budget.tenant_id == tenant_id)
        later = func.array_append(func.array_remove(Budget.slots, permit.slot), func.wall_clock())
        async with self._db.transaction() as session:
            await session.execute(update(Budget).where(*here).values(slots=later))

    async def _ask(self, tenant_id: str, priority: Priority) -> tuple[str, float, datetime | None]:
        share, reserve = self.limits.day_allowance(priority)
        answer = func.take_call(
            self._vendor,
            tenant_id,
            self.limits.minute_allowance(priority),
            self.limits.app_per_minute,
            share,
            reserve,
        ).table_valued("decision", "seconds", "slot")
        async with self._db.transaction() as session:
            # Committed by the server itself: a process stopped at this moment would keep every call of the app waiting.
            connection = await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            row = (await connection.execute(select(answer.c.decision, answer.c.seconds, answer.c.slot))).one()
        return row.decision, row.seconds, row.slot

    async def _why(self, tenant_id: str, decision: str) -> str:
        if decision == "day":
            return "day_share"
        async with self._db.transaction() as session:
            statement = select(Budget.blocked_by).where(Budget.vendor == self._vendor, Budget.tenant_id == tenant_id)
            return await session.scalar(statement) or "minute"

    async def pause_until(self, tenant_id: str, error: RateLimited) -> None:
        """Make every replica hold still for as long as a 429 asked, within reason."""
        seconds = retry_delay(error)
        scope = "" if error.limit == "app_minute" else tenant_id
        until = func.wall_clock() + timedelta(seconds=seconds)
        blocked = {"blocked_until": func.greatest(Budget.blocked_until, until), "blocked_by": error.limit}
        async with self._db.transaction() as session:
            here = (Budget.vendor == self._vendor, Budget.tenant_id == scope)
            await session.execute(update(Budget).where(*here).values(blocked))


def retry_delay(error: RateLimited) -> float:
    """Return the seconds to hold still: what the vendor asked within reason, else a guess with jitter."""
    guess, longest = PAUSES.get(error.limit, UNKNOWN_PAUSE)
    if error.retry_after is None:
        return guess * random.uniform(1, 1.25)  # noqa: S311 - jitter
    return min(error.retry_after, longest) + 0.25
