"""The inbox: each event once, whoever delivers it at the same moment, and no two deliveries in each other's way."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.billing.records import Resource
from app.connector import Notice
from app.sync.webhooks import inbox
from app.sync.webhooks.drain import _lock

TENANT = "11111111-1111-4111-8111-111111111111"
MOMENT = datetime(2026, 11, 22, 10, tzinfo=UTC)
SELECTED = (
    "WITH g AS (INSERT INTO grants (vendor, vendor_user_id, scope_set, connected_by)"
    " VALUES ('xero', 'user', 'broad', 'tester') RETURNING id)"
    " INSERT INTO tenants (vendor, tenant_id, name, connection_id, grant_id, is_selected)"
    " SELECT 'xero', :tenant_id, 'An organisation', 'connection', id, true FROM g"
)


@pytest.fixture
async def organisation(db):
    async with db.transaction() as session:
        await session.execute(text(SELECTED), {"tenant_id": TENANT})


def notices(count, tenant_id=TENANT):
    return [
        Notice(tenant_id, f"row-{number}", "INVOICE", "UPDATE", MOMENT, Resource.INVOICES, None, {"number": number})
        for number in range(count)
    ]


async def accept(db, told):
    async with db.transaction() as session:
        return await inbox.accept(session, "xero", told)


async def events(db):
    async with db.transaction() as session:
        return (await session.execute(text("SELECT * FROM xero_webhook_events"))).mappings().all()


@pytest.mark.usefixtures("organisation")
async def test_two_deliveries_of_the_same_events_at_once_store_each_once(db, other_db):
    told = notices(60)
    shuffled = [random.Random(seed).sample(told, len(told)) for seed in range(8)]  # noqa: S311 - an order
    stored = await asyncio.gather(*(accept(db if n % 2 else other_db, one) for n, one in enumerate(shuffled)))
    assert sum(stored) == 60
    rows = await events(db)
    assert [row["deliveries"] for row in rows] == [8] * 60
    assert {row["status"] for row in rows} == {"pending"}


@pytest.mark.usefixtures("organisation")
async def test_deliveries_and_the_drain_do_not_deadlock_over_the_same_events(db, other_db):
    told = notices(60)
    await accept(db, told)
    ids = [row["id"] for row in await events(db)]

    async def drain(seed):
        async with other_db.transaction() as session:
            await _lock(session, random.Random(seed).sample(ids, len(ids)))  # noqa: S311 - an order
            await session.execute(text("UPDATE xero_webhook_events SET attempts = attempts + 1"))

    await asyncio.gather(*(accept(db, told) if n % 2 else drain(n) for n in range(12)))
    assert {(row["deliveries"], row["attempts"]) for row in await events(db)} == {(7, 6)}


@pytest.mark.usefixtures("organisation")
async def test_an_event_twice_in_one_delivery_is_one_row(db):
    assert await accept(db, [*notices(3), *notices(3)]) == 3
    assert [row["deliveries"] for row in await events(db)] == [2, 2, 2]


@pytest.mark.usefixtures("organisation")
async def test_another_moment_or_kind_is_another_event(db):
    [one] = notices(1)
    later = Notice(one.tenant_id, one.resource_id, "INVOICE", "UPDATE", MOMENT + timedelta(milliseconds=1),
                   one.resource, None, {})  # fmt: skip
    made = Notice(one.tenant_id, one.resource_id, "INVOICE", "CREATE", MOMENT, one.resource, None, {})
    assert await accept(db, [one, later, made]) == 3


async def test_an_organisation_that_is_not_ours_is_kept_and_ignored(db):
    assert await accept(db, notices(1, "22222222-2222-4222-8222-222222222222")) == 1
    [row] = await events(db)
    assert (row["status"], row["error"], row["processed_at"] is None) == ("ignored", inbox.NOT_OURS, False)


@pytest.mark.usefixtures("organisation")
async def test_a_grant_that_was_ended_makes_an_organisation_nobodys(db):
    async with db.transaction() as session:
        await session.execute(text("UPDATE grants SET state = 'disconnected'"))
    await accept(db, notices(1))
    [row] = await events(db)
    assert row["status"] == "ignored"
