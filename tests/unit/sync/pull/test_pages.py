"""Reading one page ahead: the next page is read while the one before is stored, and never a page too much."""

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import pytest

from app.billing.records import Batch, Resource
from app.connector import Page, PageRequest, RowKey, Traffic, VendorUnavailable
from app.sync.client.rate_limiter import Priority
from app.sync.client.tenant_client import Fetched
from app.sync.pull.cursor import CursorState, begin
from app.sync.pull.pages import read_pages

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
PAGES = 3
SIZE = 10


class PagesOfOneInstant:
    """A client of three pages whose rows all have one time stamp, so that the pull counts pages."""

    def __init__(self, fails_on=None, hangs_on=None):
        self.requests = []
        self.fails_on = fails_on
        self.hangs_on = hangs_on
        self.cancelled = 0

    async def fetch(self, request, priority):
        self.requests.append((request.page, priority))
        if request.page == self.fails_on:
            raise VendorUnavailable("Xero is not answering.")
        if request.page == self.hangs_on:
            await self._hang()
        number = request.page
        keys = [RowKey(f"row-{number}-{place}", START) for place in range(SIZE)]
        is_last = number == PAGES
        return Fetched(
            Page(Batch(), keys, [], SIZE, SIZE * PAGES, is_last, START + timedelta(hours=1), Traffic()), request
        )

    async def _hang(self):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def pages_of(client):
    request = PageRequest(Resource.INVOICES, page_size=SIZE)
    return aclosing(read_pages(client, begin(CursorState()), request, timedelta(minutes=5), Priority.INTERACTIVE))


async def let_others_run():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_next_page_is_asked_for_while_this_one_is_stored():
    client, seen = PagesOfOneInstant(), []
    async with pages_of(client) as steps:
        async for step in steps:
            await let_others_run()
            seen.append((step.state.page, [page for page, _ in client.requests], step.next_state.is_active))
    assert seen == [(1, [1, 2], True), (2, [1, 2, 3], True), (3, [1, 2, 3], False)]
    assert {priority for _, priority in client.requests} == {Priority.INTERACTIVE}


async def store_all(client, store):
    async with pages_of(client) as steps:
        async for step in steps:
            await let_others_run()
            store(step)


async def test_a_page_that_cannot_be_read_is_told_after_the_one_before_is_stored():
    stored = []
    with pytest.raises(VendorUnavailable):
        await store_all(PagesOfOneInstant(fails_on=2), lambda step: stored.append(step.state.page))
    assert stored == [1]


async def test_a_page_that_cannot_be_stored_ends_the_call_under_way():
    client = PagesOfOneInstant(hangs_on=2)

    def refuse(_step):
        raise RuntimeError("deselected")

    with pytest.raises(RuntimeError, match="deselected"):
        await store_all(client, refuse)
    assert client.cancelled == 1
    assert len(client.requests) == 2
