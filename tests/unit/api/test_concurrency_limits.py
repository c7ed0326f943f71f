"""Requests beyond a limit wait in order while others are answered, and are refused once none is or they waited long."""

import asyncio

import pytest

from app.api.concurrency_limits import ClientDisconnected, ConcurrencyLimit, ConcurrencyLimits
from app.api.errors import Problem
from tests.support.loop_time import stopped_loop_time

# More than any of the tasks here needs until it waits.
STEPS = 20


async def never_disconnects():
    await asyncio.get_running_loop().create_future()


async def steps():
    """Let every task go on until it waits for something."""
    for _ in range(STEPS):
        await asyncio.sleep(0)


async def enter_one_by_one(limit, count, watch=never_disconnects):
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(limit.enter(watch)))
        await steps()
    return tasks


async def test_a_request_waits_on_while_those_before_it_are_answered_but_not_for_longer_than_the_longest_wait():
    limit = ConcurrencyLimit(1, stalled_seconds=3, longest_seconds=10)
    with stopped_loop_time() as time:
        first, *others = await enter_one_by_one(limit, 7)
        assert first.done()
        for seconds, answered in ((2.9, True), (2.9, True), (2.9, True)):
            time.advance(seconds)
            limit.leave(is_answered=answered)
            await steps()
        assert [task.done() for task in others] == [True] * 3 + [False] * 3
        time.advance(1.3)
        await steps()
        for task in others[3:]:
            with pytest.raises(Problem, match="10 seconds") as refused:
                await task
            assert refused.value.code == "overloaded"


async def test_failures_of_the_service_do_not_make_those_that_wait_wait_longer():
    limit = ConcurrencyLimit(1, stalled_seconds=3, longest_seconds=10)
    with stopped_loop_time() as time:
        _, second, third = await enter_one_by_one(limit, 3)
        time.advance(2)
        limit.leave(is_answered=False)
        await steps()
        assert second.result() == 2
        time.advance(1)
        await steps()
        with pytest.raises(Problem, match="3 seconds"):
            third.result()


@pytest.mark.parametrize("ends", ["cancelled", "disconnected"])
async def test_a_request_that_ends_at_the_instant_it_is_let_in_leaves_its_place_to_the_next(ends):
    limit = ConcurrencyLimit(1, stalled_seconds=3, longest_seconds=10)
    disconnected = asyncio.Event()

    async def watch():
        await disconnected.wait()
        raise ClientDisconnected

    await enter_one_by_one(limit, 1)
    [second] = await enter_one_by_one(limit, 1, watch)
    [third] = await enter_one_by_one(limit, 1)
    disconnected.set()
    limit.leave(is_answered=False)
    if ends == "cancelled":
        second.cancel()
    with pytest.raises(asyncio.CancelledError if ends == "cancelled" else ClientDisconnected):
        await second
    await steps()
    assert third.done()


async def test_few_of_a_kind_are_begun_in_one_step_of_the_event_loop():
    """Otherwise a hundred requests that never wait for anything would all be processed before one of another kind."""
    limits = ConcurrencyLimits()
    begun = []

    async def process(kind):
        limit = getattr(limits, kind)
        await limit.enter(never_disconnects)
        begun.append(kind)
        limit.leave(is_answered=True)

    async def refuse():
        await limits.take_turn_to_refuse()
        begun.append("refusal")

    kinds = ("reads", "writes", "deliveries", "other")
    tasks = [asyncio.create_task(process(kind)) for kind in kinds for _ in range(100)]
    tasks += [asyncio.create_task(refuse()) for _ in range(100)]
    most = dict.fromkeys((*kinds, "refusal"), 0)
    while not all(task.done() for task in tasks):
        begun.clear()
        await asyncio.sleep(0)
        most = {kind: max(count, begun.count(kind)) for kind, count in most.items()}
    # A delivery waits for the database soon, whatever else it does.
    assert most == {"reads": 1, "writes": 1, "deliveries": 8, "other": 1, "refusal": 1}
