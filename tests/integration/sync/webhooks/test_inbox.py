"""The inbox: concurrent deliveries must store each event once, and neither they nor the drain may deadlock."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.billing.records import Resource
from app.connector import Notice
from app.sync.webhooks import inbox
from app.sync.webhooks.attempts import lock_events

TENANT = "11111111-1111-4111-8111-111111111111"
EVENT_AT = datetime(2026, 11, 22, 10, tzinfo=UTC)
INSERT_SELECTED_TENANT = (
    "WITH g AS (INSERT INTO grants (vendor, vendor_user_id, scope_set, connected_by)"
    " VALUES ('xero', 'user', 'broad', 'tester') RETURNING id)"
    " INSERT INTO tenants (vendor, tenant_id, name, connection_id, grant_id, is_selected)"
    " SELECT 'xero', :tenant_id, 'An organisation', 'connection', id, true FROM g"
)


@pytest.fixture
async def selected_organisation(db):
    async with db.transaction() as session:
        await session.execute(text(INSERT_SELECTED_TENANT), {"tenant_id": TENANT})


def notices(count, tenant_id=TENANT):
    return [
        Notice(tenant_id, f"row-{number}", "INVOICE", "UPDATE", EVENT_AT, Resource.INVOICES, None, {"number": number})
        for number in range(count)
    ]


async def accept(db, delivered):
    async with db.transaction() as session:
        [stored] = await inbox.store_deliveries(session, "xero", [delivered])
        return stored


async def events(db):
    async with db.transaction() as session:
        return (await session.execute(text("SELECT * FROM xero_webhook_events"))).mappings().all()


@pytest.mark.usefixtures("selected_organisation")
async def test_two_deliveries_of_the_same_events_at_once_store_each_once(db, other_db):
    delivered = notices(60)
    shuffled = [random.Random(seed).sample(delivered, len(delivered)) for seed in range(8)]  # noqa: S311 - an order
    stored = await asyncio.gather(*(accept(db if n % 2 else other_db, order) for n, order in enumerate(shuffled)))
    assert sum(stored) == 60
    rows = await events(db)
    assert [row["deliveries"] for row in rows] == [8] * 60
    assert {row["status"] for row in rows} == {"pending"}


@pytest.mark.usefixtures("selected_organisation")
async def test_an_event_of_several_deliveries_stored_together_is_new_with_the_first(db):
    one, two, three = notices(3)
    deliveries = [[one, one], [one, two], [], [two], [three]]
    async with db.transaction() as session:
        assert await inbox.store_deliveries(session, "xero", deliveries) == [1, 1, 0, 0, 1]
        assert await inbox.store_deliveries(session, "xero", deliveries) == [0] * 5
        assert await inbox.store_deliveries(session, "xero", [[]]) == [0]
    assert sorted((row["resource_id"], row["deliveries"]) for row in await events(db)) == [
        ("row-0", 6),
        ("row-1", 4),
        ("row-2", 2),
    ]


@pytest.mark.usefixtures("selected_organisation")
async def test_deliveries_and_the_drain_do_not_deadlock_over_the_same_events(db, other_db):
    delivered = notices(60)
    await accept(db, delivered)
    ids = [row["id"] for row in await events(db)]

    async def drain(seed):
        async with other_db.transaction() as session:
            await lock_events(session, random.Random(seed).sample(ids, len(ids)))  # noqa: S311 - an order
            await session.execute(text("UPDATE xero_webhook_events SET attempts = attempts + 1"))

    await asyncio.gather(*(accept(db, delivered) if n % 2 else drain(n) for n in range(12)))
    assert {(row["deliveries"], row["attempts"]) for row in await events(db)} == {(7, 6)}


@pytest.mark.usefixtures("selected_organisation")
async def test_an_event_twice_in_one_delivery_is_one_row(db):
    assert await accept(db, [*notices(3), *notices(3)]) == 3
    assert [row["deliveries"] for row in await events(db)] == [2, 2, 2]


@pytest.mark.usefixtures("selected_organisation")
async def test_another_instant_or_event_type_is_another_event(db):
    [notice] = notices(1)
    later = Notice(notice.tenant_id, notice.resource_id, "INVOICE", "UPDATE", EVENT_AT + timedelta(milliseconds=1),
                   notice.resource, None, {})  # fmt: skip
    created = Notice(notice.tenant_id, notice.resource_id, "INVOICE", "CREATE", EVENT_AT, notice.resource, None, {})
    assert await accept(db, [notice, later, created]) == 3


async def test_an_event_of_an_organisation_that_is_not_selected_is_stored_as_ignored(db):
    assert await accept(db, notices(1, "22222222-2222-4222-8222-222222222222")) == 1
    [row] = await events(db)
    assert (row["status"], row["error"], row["processed_at"] is None) == ("ignored", inbox.NOT_SELECTED, False)


@pytest.mark.usefixtures("selected_organisation")
async def test_an_event_of_a_disconnected_organisation_is_ignored(db):
    async with db.transaction() as session:
        await session.execute(text("UPDATE grants SET state = 'disconnected'"))
    await accept(db, notices(1))
    [row] = await events(db)
    assert row["status"] == "ignored"
