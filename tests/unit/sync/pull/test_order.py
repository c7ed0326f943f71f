"""The order of storing: what refers to invoices waits for them, and for nothing that will not come."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app.sync.pull.order import StoreOrder

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def at(hours):
    return START + timedelta(hours=hours)


async def begin_waiting(order, newest):
    waiting = asyncio.create_task(order.wait_for(newest))
    await steps()
    return waiting


async def steps():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_page_waits_until_the_invoices_have_reached_its_newest_time_stamp():
    order = StoreOrder(has_invoices=True)
    waiting = await begin_waiting(order, at(2))
    for hours, is_done in ((None, False), (1, False), (2, True)):
        await order.advance(None if hours is None else at(hours))
        await steps()
        assert waiting.done() == is_done
    assert (await begin_waiting(order, at(1))).done()


@pytest.mark.parametrize("newest", [None, at(9)])
async def test_nothing_waits_without_invoices_or_once_their_pull_has_ended(newest):
    assert (await begin_waiting(StoreOrder(has_invoices=False), newest)).done()
    order = StoreOrder(has_invoices=True)
    waiting = await begin_waiting(order, newest)
    assert waiting.done() == (newest is None)
    await order.finish()
    await steps()
    assert waiting.done()
