"""Refused deliveries are written once a second, and none is lost when the process stops."""

import asyncio

from app.sync.webhooks import refusals
from app.sync.webhooks.refusals import RefusalCounter
from tests.support.loop_time import stopped_loop_time

SECONDS = refusals.WRITE_SECONDS


class Written:
    """Counts what is written; a write can be held up."""

    def __init__(self):
        self.counts = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def write(self, counts):
        await self.may_end.wait()
        self.counts.append((counts.refused, counts.mismatches))


async def let_tasks_run():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_first_is_written_at_once_and_those_of_the_next_second_together():
    with stopped_loop_time() as time:
        written, loop = Written(), asyncio.get_running_loop()
        counter = RefusalCounter(written.write, loop.time)
        for is_mismatch in (True, False, True):
            await counter.add(is_mismatch=is_mismatch)
        assert written.counts == [(1, 1)]
        await let_tasks_run()
        time.advance(SECONDS)
        await time.wait_until(lambda: len(written.counts) > 1, "the second's refusals are written")
        assert written.counts == [(1, 1), (2, 1)]


async def test_a_write_that_is_late_is_not_followed_by_another_within_the_second():
    with stopped_loop_time() as time:
        written, loop = Written(), asyncio.get_running_loop()
        counter = RefusalCounter(written.write, loop.time)
        for _ in range(2):
            await counter.add(is_mismatch=False)
        await let_tasks_run()
        time.advance(SECONDS)
        # The event loop is so busy that these come before the write that is due.
        for _ in range(2):
            await counter.add(is_mismatch=False)
        await time.wait_until(lambda: len(written.counts) > 1, "the second's refusals are written")
        await let_tasks_run()
        assert written.counts == [(1, 0), (3, 0)]


async def test_a_write_under_way_when_the_process_stops_is_waited_for_and_the_rest_is_written():
    with stopped_loop_time() as time:
        written, loop = Written(), asyncio.get_running_loop()
        counter = RefusalCounter(written.write, loop.time)
        await counter.add(is_mismatch=False)
        for _ in range(5):
            await counter.add(is_mismatch=False)
        written.may_end.clear()
        await let_tasks_run()
        time.advance(SECONDS)
        await let_tasks_run()
        await counter.add(is_mismatch=True)
        closing = asyncio.create_task(counter.close())
        await let_tasks_run()
        assert not closing.done()
        written.may_end.set()
        await closing
        assert written.counts == [(1, 0), (5, 0), (1, 1)]
