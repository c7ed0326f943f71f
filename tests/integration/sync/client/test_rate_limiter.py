"""The rate limiter on a manual clock: replicas together must pass no limit, and use nearly all that is allowed."""

import heapq
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, cast

import pytest

from app.connector import RateLimited, Traffic
from app.sync.client.rate_limiter import Paused, Priority, RateLimiter, RateLimits, retry_delay
from app.sync.client.usage import record_traffic
from simulator.clock import Clock as SimulatorClock
from simulator.limits import Limits as SimulatorLimits
from simulator.options import SimulatorOptions
from tests.support.clocks import START

MINUTE = timedelta(seconds=60)
ORGANISATION = "an organisation"


def rate_limits(**settings):
    """Return the limits an installation has for Xero unless it is set otherwise."""
    defaults = RateLimits(
        per_minute=30, max_concurrent=4, per_day=5000, pause_at=0.9, app_per_minute=9000, vendor_per_day=5000
    )
    return replace(defaults, **settings)


async def wait_of(rate_limiter, tenant_id, priority=Priority.SYNC):
    return (await rate_limiter.acquire(tenant_id, priority)).wait


def most_in_a_minute(instants):
    first, most = 0, 0
    for last, instant in enumerate(instants):
        while instant - instants[first] >= MINUTE:
            first += 1
        most = max(most, last - first + 1)
    return most


async def call_for(minutes, clock, rate_limiters, organisations, latency=0.3):
    """Let every replica call for every organisation as fast as it may; return the calls' instants by organisation."""
    calls = defaultdict(list)
    end = clock.now() + timedelta(minutes=minutes)
    due_calls = [
        (clock.now(), number, rate_limiter, organisation)
        for number, (rate_limiter, organisation) in enumerate(
            (rate_limiter, organisation) for organisation in organisations for rate_limiter in rate_limiters
        )
    ]
    heapq.heapify(due_calls)
    while due_calls[0][0] < end:
        at, number, rate_limiter, organisation = heapq.heappop(due_calls)
        await clock.advance_to(at)
        wait = await wait_of(rate_limiter, organisation)
        if not wait:
            calls[organisation].append(clock.now())
        heapq.heappush(
            due_calls, (clock.now() + timedelta(seconds=wait or latency), number, rate_limiter, organisation)
        )
    return calls


async def test_organisations_on_two_replicas_pass_no_limit_in_any_minute_and_waste_little(db, other_db, clock):
    limits = rate_limits(per_minute=30)
    rate_limiters = [RateLimiter(database, clock, "xero", limits) for database in (db, other_db)]
    organisations = [f"organisation {number}" for number in range(4)]

    calls = await call_for(3, clock, rate_limiters, organisations)

    arrivals = sorted((at, organisation) for organisation, instants in calls.items() for at in instants)
    moment = [START]
    xero_limits = SimulatorLimits(SimulatorClock(lambda: moment[0]), SimulatorOptions())
    for instant, organisation in arrivals:
        moment[0] = instant
        assert xero_limits.admit(organisation, 1) is None
    for organisation in organisations:
        assert most_in_a_minute(calls[organisation]) <= 30
        assert len(calls[organisation]) >= 0.9 * 30 * 3
    assert most_in_a_minute([at for at, _ in arrivals]) <= 9000


async def test_all_organisations_together_stay_below_the_limit_of_the_app(db, other_db, clock):
    limits = rate_limits(per_minute=30, app_per_minute=60)
    rate_limiters = [RateLimiter(database, clock, "xero", limits) for database in (db, other_db)]
    calls = await call_for(2, clock, rate_limiters, [f"organisation {number}" for number in range(3)])
    instants = sorted(chain.from_iterable(calls.values()))
    assert most_in_a_minute(instants) <= 60
    assert len(instants) >= 0.9 * 60 * 2


async def test_after_an_idle_minute_a_full_burst_goes_at_once(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=30))
    began = clock.now()
    assert [await wait_of(rate_limiter, ORGANISATION) for _ in range(28)] == [0] * 28
    assert clock.now() - began < timedelta(seconds=1)
    assert 59 < await wait_of(rate_limiter, ORGANISATION) < 62


@pytest.mark.parametrize(("took", "counts_until"), [(0.5, 61), (10, 71), (90, 151)])
async def test_a_call_that_took_long_counts_from_its_end(db, clock, took, counts_until):
    """The vendor may count a call at any moment until it has answered."""
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=1))
    permit = await rate_limiter.acquire(ORGANISATION)
    await clock.advance(took)
    await rate_limiter.release(ORGANISATION, permit)
    await clock.advance_to(START + timedelta(seconds=max(counts_until - 9, took)))
    left = (START + timedelta(seconds=counts_until) - clock.now()).total_seconds()
    assert left <= await wait_of(rate_limiter, ORGANISATION) <= left + 0.1
    await clock.advance(left + 0.1)
    assert await wait_of(rate_limiter, ORGANISATION) == 0


async def test_calls_are_reserved_for_webhooks_and_for_people_who_wait(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=30))
    for _ in range(28):
        await wait_of(rate_limiter, ORGANISATION)
    assert await wait_of(rate_limiter, ORGANISATION) > 0
    assert [
        await wait_of(rate_limiter, ORGANISATION, priority) for priority in (Priority.WEBHOOK, Priority.INTERACTIVE)
    ] == [0, 0]
    assert await wait_of(rate_limiter, ORGANISATION, Priority.WEBHOOK) > 0


async def test_webhooks_leave_half_of_the_minute_to_pulls_however_many_events_wait(db, other_db, clock):
    here, there = (RateLimiter(database, clock, "xero", rate_limits(per_minute=30)) for database in (db, other_db))
    webhooks = [Priority.WEBHOOK, Priority.WEBHOOK_RETRY]
    assert [await wait_of(here, ORGANISATION, webhooks[number % 2]) for number in range(15)] == [0] * 15
    for priority in webhooks:
        assert 59 < await wait_of(there, ORGANISATION, priority) < 62
    assert [await wait_of(there, ORGANISATION) for _ in range(15)] == [0] * 15
    assert 59 < await wait_of(here, ORGANISATION) < 62


async def test_pulls_and_webhooks_that_want_everything_share_each_minute_in_halves(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=30))
    calls: dict[Priority, list[datetime]] = {Priority.SYNC: [], Priority.WEBHOOK: []}
    for _ in range(4 * 60):
        # Webhooks ask first, and ask again as long as they are given anything.
        for priority in (Priority.WEBHOOK, Priority.SYNC):
            while not await wait_of(rate_limiter, ORGANISATION, priority):
                calls[priority].append(clock.now())
        await clock.advance(1)
    assert most_in_a_minute(calls[Priority.WEBHOOK]) <= 15
    assert len(calls[Priority.SYNC]) >= 0.9 * 15 * 4
    assert most_in_a_minute(sorted(chain.from_iterable(calls.values()))) <= 30


async def test_a_slow_call_of_a_webhook_still_counts_as_a_webhooks(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=2))
    permit = await rate_limiter.acquire(ORGANISATION, Priority.WEBHOOK)
    await clock.advance(40)
    await rate_limiter.release(ORGANISATION, permit)
    await clock.advance(40)
    assert 20 < await wait_of(rate_limiter, ORGANISATION, Priority.WEBHOOK) < 22
    assert await wait_of(rate_limiter, ORGANISATION) == 0


async def acquire_all(rate_limiter, priority=Priority.SYNC, most=200):
    """Acquire permits while none has to be waited for; return how many, and the `Paused` that ended it if any."""
    for acquired in range(most):
        try:
            if await wait_of(rate_limiter, ORGANISATION, priority):
                return acquired, None
        except Paused as paused:
            return acquired, paused
    return most, None


async def test_syncs_pause_at_their_share_of_the_day_and_leave_the_rest_to_webhooks(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=1000, per_day=20, pause_at=0.9))
    acquired, paused = await acquire_all(rate_limiter)
    assert (acquired, paused.reason) == (18, "day_share")
    assert paused.until(clock.now()) <= START + timedelta(hours=24, seconds=5)
    assert (await acquire_all(rate_limiter, Priority.INTERACTIVE))[0] == 0
    acquired, paused = await acquire_all(rate_limiter, Priority.WEBHOOK)
    assert (acquired, paused.reason) == (2, "day_share")
    assert await wait_of(rate_limiter, "another organisation") == 0

    await clock.advance(24 * 3600 + 1)
    assert (await acquire_all(rate_limiter))[0] == 18


async def test_rows_that_an_answer_left_out_are_not_looked_for_with_the_last_tenth_of_the_day(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=1000, per_day=20, pause_at=0.9))
    acquired, paused = await acquire_all(rate_limiter, Priority.WEBHOOK_RETRY)
    assert (acquired, paused.reason) == (18, "day_share")
    assert (await acquire_all(rate_limiter, Priority.WEBHOOK))[0] == 2


async def test_a_daily_cap_above_the_vendors_limit_does_not_change_what_must_remain_of_the_limit(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=100_000, per_day=1_000_000, pause_at=0.9))
    await wait_of(rate_limiter, ORGANISATION)
    await record_remaining(db, day_remaining=501)
    assert (await acquire_all(rate_limiter, most=50))[0] == 50
    await record_remaining(db, day_remaining=500)
    assert (await acquire_all(rate_limiter))[0] == 0


async def test_one_call_an_hour_may_find_out_whether_the_vendors_day_is_over(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits(per_minute=1000, per_day=5000, pause_at=0.9))
    await wait_of(rate_limiter, ORGANISATION)
    await record_remaining(db, day_remaining=100)
    assert (await acquire_all(rate_limiter))[0] == 0
    await clock.advance(1800)
    assert (await acquire_all(rate_limiter))[0] == 0
    await clock.advance(1801)
    assert (await acquire_all(rate_limiter))[0] == 1
    await record_remaining(db, day_remaining=99)
    assert (await acquire_all(rate_limiter))[0] == 0
    await clock.advance(3601)
    assert await wait_of(rate_limiter, ORGANISATION) == 0
    await record_remaining(db, day_remaining=4999)
    assert (await acquire_all(rate_limiter, most=50))[0] == 50


async def record_remaining(db, day_remaining):
    async with db.transaction() as session:
        await record_traffic(session, "xero", ORGANISATION, Traffic(calls=1, day_remaining=day_remaining))


@pytest.mark.parametrize(
    ("limit", "retry_after", "least", "most"),
    [
        ("minute", 22, 22, 23),
        ("minute", None, 60, 75),
        ("minute", 0, 0, 1),
        ("minute", 1e9, 300, 301),
        ("day", 66975, 66975, 66976),
        ("day", None, 3600, 4500),
        ("day", 1e9, 86400, 86401),
        ("concurrent", None, 1, 1.25),
        ("concurrent", 1e9, 10, 11),
        ("app_minute", None, 20, 25),
        ("unknown", None, 60, 75),
        ("unknown", 1e9, 3600, 3601),
    ],
)
def test_a_retry_delay_is_what_the_vendor_asked_for_up_to_a_maximum(limit, retry_after, least, most):
    assert least <= retry_delay(RateLimited("", limit, retry_after)) <= most


async def test_a_limit_that_was_hit_pauses_every_replica_and_no_other_organisation(db, other_db, clock):
    here, there = (RateLimiter(database, clock, "xero", rate_limits()) for database in (db, other_db))
    await wait_of(here, ORGANISATION)
    await here.record_pause(ORGANISATION, RateLimited("", "minute", 22))
    assert 22 < await wait_of(there, ORGANISATION) < 23
    assert await wait_of(there, "another organisation") == 0
    await clock.advance(23)
    assert await wait_of(there, ORGANISATION) == 0


async def test_the_apps_limit_pauses_every_organisation(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits())
    await wait_of(rate_limiter, ORGANISATION)
    await rate_limiter.record_pause(ORGANISATION, RateLimited("", "app_minute", None))
    assert await wait_of(rate_limiter, "another organisation") > 19


async def test_a_wait_that_is_too_long_raises_paused_with_its_reason(db, clock):
    rate_limiter = RateLimiter(db, clock, "xero", rate_limits())
    await wait_of(rate_limiter, ORGANISATION)
    await rate_limiter.record_pause(ORGANISATION, RateLimited("", "day", 66975))
    with pytest.raises(Paused) as paused:
        await wait_of(rate_limiter, ORGANISATION)
    assert paused.value.reason == "day"
    assert 66970 < paused.value.seconds < 66980


async def test_no_lock_of_the_rate_limiter_outlives_its_statement(db, other_db, clock):
    """A process that is stopped before it reads the answer must not make every other one wait."""
    async with db.transaction() as session:
        rate_limiter = RateLimiter(cast("Any", _OpenTransactionDatabase(session)), clock, "xero", rate_limits())
        assert await wait_of(rate_limiter, ORGANISATION) == 0
        assert await wait_of(RateLimiter(other_db, clock, "xero", rate_limits()), ORGANISATION) == 0


class _OpenTransactionDatabase:
    """A database whose one transaction is the test's, which stays open."""

    def __init__(self, session):
        self._session = session

    @asynccontextmanager
    async def transaction(self):
        yield self._session
