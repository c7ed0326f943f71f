"""A quiet tick: what it finds is stored at little cost, and nothing that a person sees of it may be missing."""

import asyncio
from contextlib import contextmanager

import pytest
from sqlalchemy import event
from typing_extensions import override

from app.billing.records import Resource
from app.sync.pull import quarantine
from app.sync.run_execution import LAST_PAGES_SECONDS
from tests.support.service import ShortWaitClock, open_harness

RUNS = "/api/integrations/xero/runs"
# What is asked of the database once for the four pulls of an organisation.
ONCE = (
    "take_call(",
    "JOIN tenant_grants AS r",
    "refresh_token_sealed",
    "FROM sync_cursors",
    "UPDATE sync_cursors",
    "api_usage",
)
CURSORS = "SELECT resource, next_since, completed_at, is_walking FROM sync_cursors ORDER BY resource"
USAGE = "SELECT sum(calls) AS calls FROM api_usage"
PAGES = "SELECT data->>'resource' AS resource FROM progress_events WHERE kind = 'page' AND data->>'run_id' = '{}'"


class LastPagesClock(ShortWaitClock):
    """Decides whether the time for which last pages are held passes at once or never."""

    is_over = False

    @override
    async def sleep(self, seconds):
        if seconds != LAST_PAGES_SECONDS:
            await super().sleep(seconds)
        elif not self.is_over:
            await asyncio.Event().wait()


@pytest.fixture
def clock():
    return LastPagesClock()


@pytest.fixture
async def harness(dsn, clock):
    async with open_harness(dsn, clock=clock) as opened:
        yield opened


@contextmanager
def transactions_of(harness):
    """Record the statements of each transaction of the sync in the block."""
    found: list[list[str]] = []
    under_way: dict[object, list[str]] = {}
    engine = harness.services.sync_db.engine.sync_engine

    def begin(connection):
        under_way[connection] = []
        found.append(under_way[connection])

    def record(connection, _cursor, statement, *_):
        under_way[connection].append(statement)

    event.listen(engine, "begin", begin)
    event.listen(engine, "before_cursor_execute", record)
    yield found
    event.remove(engine, "begin", begin)
    event.remove(engine, "before_cursor_execute", record)


async def tick(harness):
    """Do a tick and return its run."""
    await harness.execute("UPDATE sync_schedules SET due_at = now() WHERE name LIKE 'tick:%'")
    assert await harness.engine.tick()
    await harness.run_until_idle()
    return (await harness.read(f"{RUNS}?limit=1"))["items"][0]


async def test_what_four_quiet_answers_say_is_stored_by_one_transaction_with_the_end_of_the_run(harness):
    await harness.connect_and_sync()
    await tick(harness)
    before = await harness.query(CURSORS)
    [usage] = await harness.query(USAGE)
    with transactions_of(harness) as transactions:
        run = await tick(harness)

    assert run["status"] == "succeeded"
    saving = [each for each in transactions if any("UPDATE sync_cursors" in statement for statement in each)]
    assert len(saving) == 1
    assert any("UPDATE tenants SET" in statement for statement in saving[0])
    statements = [statement for transaction in transactions for statement in transaction]
    counted = {part: sum(part in statement for statement in statements) for part in ONCE}
    # The sum of the rows that are missing is read from the cursors too.
    assert counted == dict.fromkeys(ONCE, 1) | {"FROM sync_cursors": 2}

    assert [each["fetched"] > 0 for each in run["resources"]] == [True] * 4
    assert [each["calls"] for each in run["resources"]] == [1] * 4
    assert (await harness.query(USAGE))[0]["calls"] == usage["calls"] + 4
    assert sorted(row["resource"] for row in await harness.query(PAGES.format(run["id"]))) == sorted(Resource)
    after = await harness.query(CURSORS)
    assert [row["next_since"] for row in after] == [row["next_since"] for row in before]
    assert all(new["completed_at"] > old["completed_at"] for new, old in zip(after, before, strict=True))


async def test_a_tick_that_is_killed_with_pages_held_is_done_again_whole(harness):
    await harness.connect_and_sync()
    await tick(harness)
    before = await harness.query(CURSORS)
    await harness.execute("UPDATE sync_schedules SET due_at = now() WHERE name LIKE 'tick:%'")
    assert await harness.engine.tick()
    answers = 0

    async def kill_at_the_last_answer(_request):
        nonlocal answers
        answers += 1
        if answers == len(Resource):
            working.cancel()

    harness.transport.after_call = kill_at_the_last_answer
    working = asyncio.create_task(harness.run_until_idle())
    await asyncio.gather(working, return_exceptions=True)
    harness.transport.after_call = None
    assert await harness.query(CURSORS) == before

    await harness.run_until_idle()
    run = (await harness.read(f"{RUNS}?limit=1"))["items"][0]
    assert run["status"] == "succeeded"
    assert [each["calls"] for each in run["resources"]] == [1] * 4


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_page_that_cannot_be_stored_does_not_keep_the_others_from_being_stored(
    harness, clock, monkeypatch, is_over
):
    clock.is_over = is_over
    await harness.connect_and_sync()
    await tick(harness)
    before = await harness.query(CURSORS)
    reject_incomplete = quarantine.reject_incomplete

    async def fail_on_payments(session, lease, page):
        if page.batch.payments:
            raise ZeroDivisionError
        return await reject_incomplete(session, lease, page)

    monkeypatch.setattr(quarantine, "reject_incomplete", fail_on_payments)
    run = await tick(harness)
    assert {each["resource"]: each["status"] for each in run["resources"]} == {
        resource.value: "failed" if resource is Resource.PAYMENTS else "succeeded" for resource in Resource
    }
    after = await harness.query(CURSORS)
    moved = {new["resource"]: new["completed_at"] > old["completed_at"] for new, old in zip(after, before, strict=True)}
    assert moved == {resource.value: resource is not Resource.PAYMENTS for resource in Resource}


async def test_pages_are_stored_although_another_pull_of_the_run_takes_long(harness, clock):
    await harness.connect_and_sync()
    await tick(harness)
    [before] = await harness.query("SELECT max(completed_at) AS at FROM sync_cursors")
    stored = "SELECT resource FROM sync_cursors WHERE completed_at > CAST(:before AS timestamptz)"
    clock.is_over = True
    found: list[dict[str, str]] = []

    async def wait_for_the_others(request):
        if request.url.path.endswith("/Payments"):
            while len(found) < len(Resource) - 1:
                found[:] = await harness.query(stored, before=before["at"])

    harness.transport.after_call = wait_for_the_others
    run = await tick(harness)
    assert run["status"] == "succeeded"
    assert Resource.PAYMENTS not in {row["resource"] for row in found}


@pytest.mark.parametrize("is_deselected", [False, True])
async def test_pages_held_while_the_organisation_is_deselected_are_not_stored(harness, is_deselected):
    await harness.connect_and_sync()
    await tick(harness)
    before = await harness.query(CURSORS)

    async def deselect(_request):
        await harness.execute("UPDATE tenants SET is_selected = false")

    harness.transport.after_call = deselect if is_deselected else None
    run = await tick(harness)
    assert run["status"] == ("paused" if is_deselected else "succeeded")
    assert (await harness.query(CURSORS) == before) == is_deselected
