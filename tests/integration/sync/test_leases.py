"""Leases: an organisation must not have two owners, and no lock or connection may outlive its owner."""

import asyncio
from typing import Any, cast

import pytest
from sqlalchemy import text

from app.database_url import Pooler
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
SHORT_TIMINGS = LeaseTimings(ttl=0.3, heartbeat=0.1)


@pytest.fixture(params=Pooler)
def open_database(request):
    """Open the test's database, directly and behind a transaction pooler, as each replica does."""
    through = request.getfixturevalue("pooled_dsn" if request.param is Pooler.TRANSACTION else "dsn")
    return lambda: Database(through, pooler=request.param)


@pytest.fixture
async def db(open_database):
    database = open_database()
    yield database
    await database.close()


@pytest.fixture
async def other_db(open_database):
    database = open_database()
    yield database
    await database.close()


async def claim(db, owner, timings=DEFAULT_TIMINGS):
    async with db.transaction() as session:
        return await claim_lease(session, "xero", ORGANISATION, owner, timings)


async def renew(db, lease):
    async with db.transaction() as session:
        return await renew_lease(session, lease)


async def ensure_owned(db, lease):
    async with db.transaction() as session:
        await lock_lease(session, lease)


def connections_in_use(db):
    return cast("Any", db.engine.pool).checkedout()


async def test_of_many_claims_at_once_one_succeeds(db, other_db):
    claims = [claim(database, f"owner {number}") for number in range(10) for database in (db, other_db)]
    assert sum(lease is not None for lease in await asyncio.gather(*claims)) == 1


async def test_a_lease_that_is_renewed_cannot_be_claimed(db, clock):
    lease = await claim(db, "one")
    for _ in range(10):
        await clock.advance(DEFAULT_TIMINGS.heartbeat)
        assert await renew(db, lease)
        assert await claim(db, "other") is None
    await ensure_owned(db, lease)


async def test_an_expired_lease_can_be_claimed_and_its_former_owner_cannot_write_any_more(db, other_db, clock):
    former = await claim(db, "one")
    await clock.advance(DEFAULT_TIMINGS.ttl - 1)
    assert await claim(other_db, "other") is None
    await clock.advance(2)
    lease = await claim(other_db, "other")
    assert lease.fencing_token > former.fencing_token

    with pytest.raises(LeaseLost):
        await ensure_owned(db, former)
    assert not await renew(db, former)
    async with db.transaction() as session:
        await release_lease(session, former)
    await ensure_owned(other_db, lease)


async def test_an_expired_lease_that_nobody_claimed_is_still_its_owners(db, clock):
    lease = await claim(db, "one")
    await clock.advance(10 * DEFAULT_TIMINGS.ttl)
    await ensure_owned(db, lease)
    assert await renew(db, lease)
    assert await claim(db, "other") is None


async def test_the_same_owner_that_claims_again_has_a_new_token(db, clock):
    first = await claim(db, "one")
    await clock.advance(2 * DEFAULT_TIMINGS.ttl)
    assert await claim(db, "one")
    with pytest.raises(LeaseLost):
        await ensure_owned(db, first)


async def test_a_released_lease_can_be_claimed_at_once(db):
    lease = await claim(db, "one")
    async with db.transaction() as session:
        await release_lease(session, lease)
    assert await claim(db, "other")


async def test_a_claim_fails_while_a_page_is_being_written_and_a_renewal_does_not(db, other_db, clock):
    lease = await claim(db, "one")
    async with db.transaction() as session:
        await lock_lease(session, lease)
        assert await renew(other_db, lease)
        await clock.advance(2 * DEFAULT_TIMINGS.ttl)
        assert await claim(other_db, "other") is None
        await session.execute(text("INSERT INTO sync_schedules (name, due_at) VALUES ('a page', now())"))
    assert await claim(other_db, "other")


@pytest.mark.parametrize("is_within_a_message", [False, True])
async def test_a_stuck_transaction_of_an_expired_lease_is_terminated_by_the_next_claim(
    db, other_db, is_within_a_message
):
    lease = await claim(db, "one", SHORT_TIMINGS)
    with pytest.raises(DatabaseUnavailable):
        await write_too_late(db, lease, other_db, is_within_a_message)
    async with other_db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM sync_schedules")) == 0
    assert (await claim_when_free(other_db)).fencing_token > lease.fencing_token


async def write_too_late(db, lease, other_db, is_within_a_message):
    """Open a transaction, stop until another replica owns the lease, and write in it."""
    async with db.transaction() as session:
        await lock_lease(session, lease)
        if is_within_a_message:
            await send_half_a_message(session)
        assert await claim_when_free(other_db)
        await session.execute(text("INSERT INTO sync_schedules (name, due_at) VALUES ('a late page', now())"))


async def claim_when_free(db):
    """Claim again and again, as a worker does at every poll, until the claim succeeds."""
    claims = []

    async def is_claimed():
        claims.append(await claim(db, "other", SHORT_TIMINGS))
        return claims[-1]

    await wait_until(is_claimed, "the lease is free")
    return claims[-1]


async def send_half_a_message(session):
    """Send the beginning of a message alone, as a process does that is stopped while it sends one."""
    connection = await session.connection()
    raw = (await connection.get_raw_connection()).driver_connection
    raw._transport.write(b"Q\x00\x00\x10\x00SELECT")  # noqa: SLF001 - no library has a call for half a message


async def test_a_transaction_of_a_lease_that_has_not_expired_is_not_terminated(db, other_db):
    lease = await claim(db, "one")
    async with db.transaction() as session:
        await lock_lease(session, lease)
        await asyncio.sleep(SHORT_TIMINGS.ttl * 1.5)
        assert await claim(other_db, "other", SHORT_TIMINGS) is None
        await lock_lease(session, lease)


async def test_a_transaction_shorter_than_a_lease_is_not_terminated_although_the_lease_has_expired(db, other_db, clock):
    lease = await claim(db, "one")
    async with db.transaction() as session:
        await lock_lease(session, lease)
        await clock.advance(2 * DEFAULT_TIMINGS.ttl)
        assert await claim(other_db, "other") is None
        await lock_lease(session, lease)


async def test_pages_of_one_organisation_wait_for_each_other_without_a_connection(dsn):
    db = Database(dsn, pool_size=1)
    lease = await claim(db, "one")
    fenced_db = FencedDatabase(db, lease, asyncio.Semaphore(4))
    most_in_use = 0

    async def write():
        nonlocal most_in_use
        async with fenced_db.write_transaction() as session:
            most_in_use = max(most_in_use, connections_in_use(db))
            await session.execute(text("SELECT pg_sleep(0.02)"))

    await asyncio.gather(*(write() for _ in range(12)))
    assert most_in_use == 1
    await db.close()


async def test_tasks_cancelled_in_their_transactions_leave_no_connection_in_use(db):
    lease = await claim(db, "one")
    fenced_db = FencedDatabase(db, lease, asyncio.Semaphore(4))

    async def write(number):
        async with fenced_db.write_transaction() as session:
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
        # A task cancelled during its commit may have committed; one that was not cancelled has.
        assert rows >= sum(end is None for end in ended)

    async def are_returned():
        return connections_in_use(db) == 0

    # A session that is cancelled while it closes goes on closing in a task of its own.
    await wait_until(are_returned, "every connection is back in the pool")
    await ensure_owned(db, lease)


async def test_no_lock_of_a_database_session_is_taken(db):
    lease = await claim(db, "one")
    async with FencedDatabase(db, lease, asyncio.Semaphore(4)).write_transaction() as session:
        await session.execute(text("SELECT 1"))
    async with db.transaction() as session:
        assert await session.scalar(text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")) == 0
