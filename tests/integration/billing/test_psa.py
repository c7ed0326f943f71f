"""The PSA's feed: bulk upserts that can be repeated and are written completely or not at all."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from app.billing.psa import (
    MAX_ITEMS,
    PsaCustomer,
    PsaEvent,
    PsaService,
    TooManyItems,
    UnknownPsaCustomer,
    UpsertCounts,
    upsert_customers,
    upsert_services,
    upsert_timeline_events,
)
from tests.support.factories import Ledger, at


class PsaFeed(Ledger):
    async def send(self, *items):
        kinds: dict[type, Any] = {
            PsaCustomer: upsert_customers,
            PsaService: upsert_services,
            PsaEvent: upsert_timeline_events,
        }
        async with self.db.transaction() as session:
            return await kinds[type(items[0])](session, items)


@pytest.fixture
async def feed(db):
    feed = PsaFeed(db)
    await feed.send(customer("p1"), customer("p2"))
    return feed


def customer(external_id, name="Acme", **more):
    return PsaCustomer(external_id, name, **more)


def service(external_id="s1", customer_id="p1", **more):
    facts = {"name": "Backup", "monthly_amount": Decimal("10.50"), "currency": "NZD", "starts_on": date(2026, 1, 1)}
    return PsaService(external_id, customer_id, **{**facts, **more})


def event(external_id="e1", customer_id="p1", **more):
    return PsaEvent(external_id, customer_id, **{"at": at(0), "kind": "ticket", "title": "Printer", **more})


async def written_versions(feed, table):
    """Return the transactions that wrote or locked each row, and where it lies."""
    return await feed.rows(f"(SELECT ctid::text, xmin::text, xmax::text FROM {table})")  # noqa: S608 - named above


@pytest.mark.parametrize(
    ("make", "change", "table"),
    [
        (customer, {"name": "Acme New"}, "customers"),
        (customer, {"email": "a@acme.example"}, "customers"),
        (service, {"monthly_amount": Decimal(12)}, "billing_services"),
        (service, {"ends_on": date(2026, 12, 31)}, "billing_services"),
        (service, {"customer_id": "p2"}, "billing_services"),
        (event, {"title": "Printer on fire"}, "external_timeline_events"),
        (event, {"customer_id": "p2"}, "external_timeline_events"),
    ],
)
async def test_the_same_again_is_unchanged_and_costs_no_write_and_a_change_is_an_update(feed, make, change, table):
    first = await feed.send(make("x1"), make("x2"))
    before = await written_versions(feed, table)
    again = await feed.send(make("x2"), make("x1"))
    unwritten = await written_versions(feed, table) == before
    changed = await feed.send(make("x1", **change), make("x2"), make("x3"))

    assert (first, again, changed) == (UpsertCounts(2, 0, 0), UpsertCounts(0, 0, 2), UpsertCounts(1, 1, 1))
    assert unwritten


async def test_of_an_id_that_comes_twice_the_last_item_counts(feed):
    assert await feed.send(service(name="Old"), service(name="New")) == UpsertCounts(1, 0, 0)
    assert (await feed.row("billing_services"))["name"] == "New"


@pytest.mark.parametrize("make", [service, event])
async def test_an_item_of_an_unknown_customer_is_named_and_nothing_is_written(feed, make):
    with pytest.raises(UnknownPsaCustomer, match=r"Item 1 .*'nobody'.*send the customer first") as caught:
        await feed.send(make("x1"), make("x2", "nobody"), make("x3", "nobody else"))

    assert (caught.value.position, caught.value.external_id) == (1, "nobody")
    assert await feed.count("billing_services") == await feed.count("external_timeline_events") == 0


@pytest.mark.parametrize("make", [customer, service, event])
async def test_a_call_may_have_a_thousand_items_and_not_one_more(feed, make):
    with pytest.raises(TooManyItems, match=r"1001"):
        await feed.send(*(make(f"x{number}") for number in range(MAX_ITEMS + 1)))

    assert await feed.send(*(make(f"x{number}") for number in range(MAX_ITEMS))) == UpsertCounts(MAX_ITEMS, 0, 0)


async def test_money_and_instants_are_stored_exactly(feed):
    await feed.send(service(monthly_amount=Decimal("123456789012.123456")))
    await feed.send(event(at=at(1.5)))

    assert str((await feed.row("billing_services"))["monthly_amount"]) == "123456789012.123456"
    assert (await feed.row("timeline_events"))["at"] == at(1.5)


async def test_events_of_the_psa_have_its_source_and_are_not_mixed_up_with_others_of_the_same_id(feed):
    await feed.send(event("7"))
    await feed.run(
        "INSERT INTO timeline_events (source, customer_id, at, kind, title, dedupe_key)"
        " SELECT 'rmm', id, now(), 'device_alert', 'Disk', '7' FROM customers LIMIT 1"
    )
    await feed.send(event("7"))

    assert [row["source"] for row in await feed.rows("timeline_events", order="source")] == ["psa", "rmm"]
