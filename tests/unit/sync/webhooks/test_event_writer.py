"""Storing deliveries together: each is answered when its own events are committed, and none for another's fault."""

import asyncio
import contextvars
from datetime import UTC, datetime

import pytest

from app.billing.records import Resource
from app.connector import Notice
from app.db import DatabaseUnavailable
from app.sync.webhooks import event_writer
from app.sync.webhooks.event_writer import EventWriter
from tests.support.loop_time import stopped_loop_time

# How long a delivery waits here: longer than any test takes, unless it moves the time.
SECONDS = 600.0
REQUEST = contextvars.ContextVar("request", default="none")


def delivery(name):
    at = datetime(2026, 11, 22, tzinfo=UTC)
    return [Notice("organisation", name, "INVOICE", "UPDATE", at, Resource.INVOICES, None, {})]


class Inbox:
    """Stores deliveries when it is let; those that it cannot store fail their whole transaction."""

    def __init__(self, faulty=()):
        self.transactions = []
        self.contexts = []
        self.may_commit = asyncio.Event()
        self.faulty = faulty
        self.error: Exception = ValueError("not storable")

    async def write(self, deliveries):
        names = [notices[0].resource_id for notices in deliveries]
        self.transactions.append(names)
        self.contexts.append(REQUEST.get())
        await self.may_commit.wait()
        if set(names) & set(self.faulty):
            raise self.error
        return [len(name) for name in names]


async def begin(writer, *names):
    tasks = [asyncio.create_task(writer.store(delivery(name))) for name in names]
    await steps()
    return tasks


async def steps():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_deliveries_that_come_during_a_commit_are_stored_together_in_the_next():
    inbox = Inbox()
    writer = EventWriter(inbox.write, SECONDS)
    tasks = await begin(writer, "a", "bb", "ccc")
    tasks += await begin(writer, "dddd")
    assert inbox.transactions == [["a", "bb", "ccc"]]
    assert not any(task.done() for task in tasks)
    inbox.may_commit.set()
    assert await asyncio.gather(*tasks) == [1, 2, 3, 4]
    assert inbox.transactions == [["a", "bb", "ccc"], ["dddd"]]
    assert await writer.store(delivery("later")) == 5


async def test_a_transaction_stores_at_most_so_many_deliveries(monkeypatch):
    monkeypatch.setattr(event_writer, "MAX_DELIVERIES", 2)
    inbox = Inbox()
    inbox.may_commit.set()
    writer = EventWriter(inbox.write, SECONDS)
    assert await asyncio.gather(*await begin(writer, "a", "b", "c", "d", "e")) == [1] * 5
    assert inbox.transactions == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_delivery_that_cannot_be_stored_fails_alone():
    inbox = Inbox(faulty=["bad"])
    inbox.may_commit.set()
    writer = EventWriter(inbox.write, SECONDS)
    stored = await asyncio.gather(*await begin(writer, "a", "bad", "ccc"), return_exceptions=True)
    assert stored == [1, inbox.error, 3]
    assert inbox.transactions == [["a", "bad", "ccc"], ["a"], ["bad"], ["ccc"]]


async def test_a_database_that_is_away_is_told_to_all_and_asked_once():
    inbox = Inbox(faulty=["a"])
    inbox.error = DatabaseUnavailable("away")
    inbox.may_commit.set()
    writer = EventWriter(inbox.write, SECONDS)
    stored = await asyncio.gather(*await begin(writer, "a", "b"), return_exceptions=True)
    assert stored == [inbox.error] * 2
    assert len(inbox.transactions) == 1


async def test_a_delivery_whose_client_is_gone_is_left_out_and_keeps_no_other_waiting():
    inbox = Inbox()
    writer = EventWriter(inbox.write, SECONDS)
    [being_stored] = await begin(writer, "a")
    [gone, waiting] = await begin(writer, "gone", "ccc")
    gone.cancel()
    await steps()
    being_stored.cancel()
    inbox.may_commit.set()
    assert await waiting == 3
    assert inbox.transactions == [["a"], ["ccc"]]


async def test_a_delivery_is_told_that_it_comes_too_late_whether_it_is_being_stored_or_waits():
    inbox = Inbox()
    with stopped_loop_time() as time:
        writer = EventWriter(inbox.write, SECONDS)
        [being_stored] = await begin(writer, "a")
        time.advance(SECONDS / 2)
        await steps()
        [waiting] = await begin(writer, "bb")
        time.advance(SECONDS / 2 + 1)
        await time.wait_until(being_stored.done, "the first was told")
        with pytest.raises(DatabaseUnavailable, match="in time"):
            await being_stored
        assert not waiting.done()
        time.advance(SECONDS / 2)
        await time.wait_until(waiting.done, "the second was told")
        with pytest.raises(DatabaseUnavailable, match="in time"):
            await waiting
        [later] = await begin(writer, "ccc")
        inbox.may_commit.set()
        assert await later == 3
        # What nobody waits for any more is not begun.
        assert inbox.transactions == [["a"], ["ccc"]]
    await writer.close()


async def test_a_transaction_does_not_run_in_the_context_of_the_request_that_began_it():
    inbox = Inbox()
    inbox.may_commit.set()
    REQUEST.set("of the first delivery")
    assert await EventWriter(inbox.write, SECONDS).store(delivery("a")) == 1
    assert inbox.contexts == ["none"]


async def test_closing_leaves_nobody_waiting():
    inbox = Inbox()
    writer = EventWriter(inbox.write, SECONDS)
    tasks = [*await begin(writer, "a"), *await begin(writer, "b")]
    await writer.close()
    for task in tasks:
        with pytest.raises(asyncio.CancelledError):
            await task
