"""Leases: one owner at a time, told in its own transaction when it is not, and nothing held beyond its life."""

import asyncio
from typing import Any, cast

import pytest
from sqlalchemy import text

from app.db import Database, DatabaseUnavailable
from app.sync.leases import (
    DEFAULT_TIMINGS,
    FencedDatabase,
    LeaseLost,
    LeaseTimings,
    claim_lease,
    lock_lease,
    release_lease,
    renew_lease,
)
from tests.support.waiting import wait_until

ORGANISATION = "an organisation"
SHORT = LeaseTimings(ttl=0.3, heartbeat=0.1)


async def claim(db, owner, timings=DEFAULT_TIMINGS):
    async with db.transaction() as session:
        return await claim_lease(session, "xero", ORGANISATION, owner, timings)


async def renew(db, held):
    async with db.transaction() as session:
        return await renew_lease(session, held)


async def check(db, held):
    async with db.transaction() as session:
        await lock_lease(session, held)


def in_use(db):
    return cast("Any", db.engine.pool).checkedout()


async def test_of_many_claims_at_once_one_succeeds(db, other_db):
    claims = [claim(one, f"owner {number}") for number in range(10) for one in (db, other_db)]
    assert sum(held is not None for held in await asyncio.gather(*claims)) == 1


async def test_an_owner_with_a_heartbeat_is_left_alone(db, clock):
    held = await claim(db, "one")
    for _ in range(10):
        await clock.advance(DEFAULT_TIMINGS.heartbeat)
        assert await renew(db, held)
        assert await claim(db, "other") is None
    await check(db, held)


async def test_an_owner_past_its_lease_is_followed_and_cannot_write_any_more(db, other_db, clock):
    former = await claim(db, "one")
    await clock.advance(DEFAULT_TIMINGS.ttl - 1)
    assert await claim(other_db, "other") is None
    await clock.advance(2)
    held = await claim(other_db, "other")
    assert held.fencing_token > former.fencing_token

    with pytest.raises(LeaseLost):
        await check(db, former)
    assert not await renew(db, former)
    async with db.transaction() as session:
        await release_lease(session, former)
    await check(other_db, held)


async def test_an_expired_lease_that_nobody_took_is_still_its_owners(db, clock):
    held = await claim(db, "one")
    await clock.advance(10 * DEFAULT_TIMINGS.ttl)
    await check(db, held)
    assert await renew(db, held)
    assert await claim(db, "other") is None


async def test_the_same_owner_that_claims_again_has_a_new_token(db, clock):
    first = await claim(db, "one")
    await clock.advance(2 * DEFAULT_TIMINGS.ttl)
    assert await claim(db, "one")
    with pytest.raises(LeaseLost):
        await check(db, first)


async def test_a_lease_handed_back_may_be_claimed_at_once(db):
    held = await claim(db, "one")
    async with db.transaction() as session:
        await release_lease(session, held)
    assert await claim(db, "other")


async def test_takeover_waits_for_a_page_under_way_and_no_heartbeat_does(db, other_db, clock):
    held = await claim(db, "one")
    async with db.transaction() as session:
        await lock_lease(session, held)
        assert await renew(other_db, held)
        await clock.advance(2 * DEFAULT_TIMINGS.ttl)
        assert await claim(other_db, "other") is None
        await session.execute(text("INSERT INTO sync_schedules (name, due_at) VALUES ('a page', now())"))
    assert await claim(other_db, "other")


@pytest.mark.parametrize("is_within_a_message", [False, True])
async def test_a_transaction_that_stands_still_is_ended_by_whoever_wants_the_organisation(
    db, other_db, is_within_a_message
):
    held = await claim(db, "one", SHORT)
    with pytest.raises(DatabaseUnavailable):
        await stand_still(db, held, other_db, is_within_a_message)
    async with other_db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM sync_schedules")) == 0
    assert (await claim_when_free(other_db)).fencing_token > held.fencing_token


async def stand_still(db, held, other_db, is_within_a_message):
    """Begin to write, stop for so long that another becomes the owner, and go on."""
    async with db.transaction() as session:
        await lock_lease(session, held)
        if is_within_a_message:
            await send_half_a_message(session)
        assert await claim_when_free(other_db)
        await session.execute(text("INSERT INTO sync_schedules (name, due_at) VALUES ('a late page', now())"))


async def claim_when_free(db):
    """Claim again and again, as a worker does at every poll, until the lease is free."""
    claims = []

    async def is_claimed():
        claims.append(await claim(db, "other", SHORT))
        return claims[-1]

    await wait_until(is_claimed, "the lease is free")
    return claims[-1]


async def send_half_a_message(session):
    """Leave the server in the middle of reading a message, as a process does that is stopped while it writes one."""
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    raw._transport.write(b"Q\x00\x00\x10\x00SELECT")  # noqa: SLF001 - no library has a call for half a message


async def test_a_transaction_within_its_lease_is_left_alone(db, other_db):
    held = await claim(db, "one")
    async with db.transaction() as session:
        await lock_lease(session, held)
        await asyncio.sleep(SHORT.ttl * 1.5)
        assert await claim(other_db, "other", SHORT) is None
        await lock_lease(session, held)


async def test_a_short_wait_for_a_page_under_way_does_not_end_it(db, other_db, clock):
    held = await claim(db, "one")
    async with db.transaction() as session:
        await lock_lease(session, held)
        await clock.advance(2 * DEFAULT_TIMINGS.ttl)
        assert await claim(other_db, "other") is None
        await lock_lease(session, held)


async def test_one_organisations_pages_wait_outside_the_pool(dsn):
    db = Database(dsn, pool_size=1)
    held = await claim(db, "one")
    desk = FencedDatabase(db, held, asyncio.Semaphore(4))
    most = 0

    async def write():
        nonlocal most
        async with desk.write_transaction() as session:
            most = max(most, in_use(db))
            await session.execute(text("SELECT pg_sleep(0.02)"))

    await asyncio.gather(*(write() for _ in range(12)))
    assert most == 1
    await db.close()


async def test_tasks_cancelled_in_their_transactions_leave_the_pool_whole(db):
    held = await claim(db, "one")
    desk = FencedDatabase(db, held, asyncio.Semaphore(4))

    async def write(number):
        async with desk.write_transaction() as session:
            await session.execute(
                text("INSERT INTO sync_schedules (name, due_at) VALUES (:name, now())"), {"name": str(number)}
            )
            await session.execute(text("SELECT pg_sleep(0.02)"))

    for moment in range(12):
        tasks = [asyncio.create_task(write(f"{moment}-{number}")) for number in range(3)]
        await asyncio.sleep(0.004 * moment)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        async with db.transaction() as session:
            rows = await session.scalar(
                text("SELECT count(*) FROM sync_schedules WHERE name LIKE :names"), {"names": f"{moment}-%"}
            )
        # Whoever is cancelled during a commit cannot know; whoever was not cancelled has committed.
        assert rows >= sum(end is None for end in ended)

    async def is_pool_whole():
        return in_use(db) == 0

    # A session that is cancelled while it closes goes on closing in a task of its own.
    await wait_until(is_pool_whole, "every connection is back in the pool")
    await check(db, held)


async def test_no_lock_of_a_session_is_needed(db):
    held = await claim(db, "one")
    async with FencedDatabase(db, held, asyncio.Semaphore(4)).write_transaction() as session:
        await session.execute(text("SELECT 1"))
    async with db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
