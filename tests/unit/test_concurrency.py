"""Coalesced calls: whoever asks in the same moment shares one, and nobody gets an answer older than the question."""

import asyncio

import pytest

from app.concurrency import Coalescer


class Calls:
    """Counts calls; each waits until it is let go and returns its own number once per asker."""

    def __init__(self):
        self.callers = []
        self.cancelled = 0
        self.let_go = asyncio.Event()
        self.coalescer = Coalescer(self._call)

    async def _call(self, _key, callers):
        self.callers.append(callers)
        number = len(self.callers)
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if number > 2:
            raise ValueError("the third call")
        return [(number, position) for position in range(callers)]


async def steps():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_those_who_ask_in_the_same_moment_share_a_call_and_those_who_ask_later_make_another():
    calls = Calls()
    first = [asyncio.create_task(calls.coalescer.ask("one")) for _ in range(3)]
    await steps()
    second = asyncio.create_task(calls.coalescer.ask("one"))
    await steps()
    assert calls.callers == [3, 1]
    calls.let_go.set()
    assert await asyncio.gather(*first, second) == [(1, 0), (1, 1), (1, 2), (2, 0)]


async def test_different_questions_do_not_share_a_call():
    calls = Calls()
    calls.let_go.set()
    await asyncio.gather(calls.coalescer.ask("one"), calls.coalescer.ask("other"))
    assert calls.callers == [1, 1]


async def test_an_error_reaches_everybody_who_asked():
    calls = Calls()
    calls.let_go.set()
    for _ in range(2):
        await calls.coalescer.ask("one")
    asked = await asyncio.gather(*(calls.coalescer.ask("one") for _ in range(2)), return_exceptions=True)
    assert [type(error) for error in asked] == [ValueError, ValueError]


@pytest.mark.parametrize("are_cancelled", [1, 2])
async def test_a_call_ends_when_nobody_waits_for_it_any_more_and_not_before(are_cancelled):
    calls = Calls()
    askers = [asyncio.create_task(calls.coalescer.ask("one")) for _ in range(2)]
    await steps()
    for asker in askers[:are_cancelled]:
        asker.cancel()
    await steps()
    assert calls.cancelled == (1 if are_cancelled == 2 else 0)
    calls.let_go.set()
    results = await asyncio.gather(*askers, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == are_cancelled
    assert are_cancelled == 2 or results[1] == (1, 1)


async def test_who_asks_after_everybody_left_before_the_call_began_gets_an_answer():
    calls = Calls()
    calls.let_go.set()
    leaving = asyncio.create_task(calls.coalescer.ask("one"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert await calls.coalescer.ask("one") == (1, 0)
