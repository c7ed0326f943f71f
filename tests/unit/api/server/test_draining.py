"""A signal to stop first lets the process drain, and only then reaches the server."""

import asyncio
import os
import signal

import pytest

from app.api.server.draining import Drain, DrainingSignals
from tests.support.waiting import wait_until


@pytest.fixture
def received():
    """The signals that reached the server's own handlers."""
    numbers = []
    former = {
        number: signal.signal(number, lambda number, _frame: numbers.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    yield numbers
    for number, handler in former.items():
        signal.signal(number, handler)


async def wait_for_one(received):
    async def is_there():
        return received

    await wait_until(is_there, "the server's handler was called")


async def test_the_server_gets_a_signal_when_the_drain_is_over(received):
    drain = Drain()
    with DrainingSignals(drain, seconds=0.05):
        os.kill(os.getpid(), signal.SIGTERM)
        assert await drain.wait(30)
        assert received == []
        os.kill(os.getpid(), signal.SIGTERM)
        await wait_for_one(received)
    assert received == [signal.SIGTERM]
    os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM] * 2, "the server's handler is not in its place again"


async def test_a_second_interrupt_stops_the_server_at_once(received):
    drain = Drain()
    with DrainingSignals(drain, seconds=3600):
        os.kill(os.getpid(), signal.SIGINT)
        assert await drain.wait(30)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0)
        assert received == []
        os.kill(os.getpid(), signal.SIGINT)
        await wait_for_one(received)
    assert received == [signal.SIGINT]


async def test_waiting_for_a_drain_that_does_not_begin_ends_in_time():
    assert await Drain().wait(0.01) is False
