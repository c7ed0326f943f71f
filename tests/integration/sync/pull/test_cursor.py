"""Cursors and runs in their tables: a crash or a change of settings must lose no row, and no run may stay open."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.billing.records import Resource
from app.main import create_app
from app.sync import progress, run_history, run_work, runs
from app.sync.leases import DEFAULT_TIMINGS, claim_lease, release_lease
from app.sync.tables import ResourceStatus, RunTrigger
from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION, ShortWaitClock, open_harness, settings_for
from tests.support.waiting import wait_until


@pytest.mark.parametrize("ends_at", [1, 3, 7])
async def test_a_cancelled_pull_continues_after_its_last_committed_page(dsn, ends_at):
    async with open_harness(dsn, xero_page_size=10, options={"limits_enabled": False}) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.select_tenants(tenant_id)
        syncing = asyncio.create_task(harness.run_until_idle())
        requested: list[object] = []

        async def end(request):
            requested.append(request)
            if len(requested) == ends_at:
                syncing.cancel()

        harness.transport.after_call = end
        await asyncio.gather(syncing, return_exceptions=True)
        assert syncing.cancelled()
        harness.transport.after_call = None
        assert not await harness.query("SELECT 1 FROM sync_leases WHERE expires_at > wall_clock()")

        await harness.run_until_idle()

        await assert_mirror_equals(harness, tenant_id)
        [run] = (await harness.read(f"{INTEGRATION}/runs"))["items"]
        assert run["status"] == "succeeded"
        pages = sum(resource["calls"] for resource in run["resources"])
        # Of each of the four resources, at most the page being stored and the one after it were requested in vain.
        assert len(await harness.xero_calls()) <= pages + 8


async def test_a_pull_continued_with_another_page_size_starts_from_its_first_page(dsn):
    """A row that moves behind the page being read is found when the pages are read again, smaller pages or not."""
    async with open_harness(dsn, xero_page_size=20, options={"limits_enabled": False}) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.control("POST", "/clock", {"advance_seconds": 900})
        made = await harness.edit_books(tenant_id, edit="bulk_insert", resource="Invoices", count=300)
        new = {change["id"] for change in made["changes"]}
        invoices = await harness.xero_rows(tenant_id, "Invoices")
        added = [row for row in invoices if row["id"] in new and row["type"] == "ACCREC"]
        earliest = min(added, key=lambda row: (row["updated_at"], row["id"]))["id"]
        await harness.call("POST", f"{INTEGRATION}/sync")
        syncing = asyncio.create_task(harness.run_until_idle())
        requested = [0]

        async def stamp_then_cancel(request):
            if request.url.path.endswith("/Invoices"):
                requested.append(int(request.url.params["page"]))
                if requested[-1] == 10 > requested[-2]:
                    await harness.edit_books(tenant_id, edit="stamp", resource="Invoices", id=earliest)
                if requested[-1] == 14 < requested[-2]:
                    syncing.cancel()

        harness.transport.after_call = stamp_then_cancel
        await asyncio.gather(syncing, return_exceptions=True)
        harness.transport.after_call = None

        other = create_app(settings_for(dsn, xero_page_size=10), clock=ShortWaitClock(), transport=harness.transport)
        await other.state.services.engines["xero"].worker.run_until_idle()
        await other.state.services.close()

        await assert_mirror_equals(harness, tenant_id)


async def is_a_lock_waited_for(db):
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with db.transaction() as session:
        return await session.scalar(text(waiting))


async def test_work_added_while_a_run_is_being_finished_goes_into_another_run(db, other_db):
    async def add(tenant_id):
        async with db.transaction() as session:
            return await runs.open_run(session, runs.RunRequest("xero", RunTrigger.MANUAL, [tenant_id]))

    run_id = await add("one")
    async with db.transaction() as closing:
        for resource in Resource:
            await run_work.finish_resource(closing, run_id, "one", resource)
        await runs.finish_if_done(closing, run_id)
        adding = asyncio.create_task(add("other"))

        async def is_waiting_or_done():
            return adding.done() or await is_a_lock_waited_for(other_db)

        await wait_until(is_waiting_or_done, "the other transaction waits for this one")
    assert await adding != run_id


async def test_a_run_without_pending_work_takes_no_more_although_it_is_not_finished_yet(db):
    async def request_run():
        async with db.transaction() as session:
            return await runs.open_run(session, runs.RunRequest("xero", RunTrigger.MANUAL, ["one"]))

    run_id = await request_run()
    assert await request_run() == run_id
    async with db.transaction() as session:
        for resource in Resource:
            await run_work.finish_resource(session, run_id, "one", resource)
    assert await request_run() != run_id
    async with db.transaction() as session:
        assert len(await run_work.claim_work(session, "xero", "one")) == len(Resource)


async def test_an_organisation_requested_again_is_read_again_where_the_run_could_not_read_it(db):
    async def request_run(*tenant_ids):
        async with db.transaction() as session:
            return await runs.open_run(session, runs.RunRequest("xero", RunTrigger.MANUAL, tenant_ids))

    run_id = await request_run("one", "two")
    async with db.transaction() as session:
        for number, resource in enumerate(Resource):
            given_up = ((ResourceStatus.PAUSED, "Deselected."), (ResourceStatus.FAILED, "Forbidden."))
            outcome = (*given_up, None, None)[number]
            await run_work.finish_resource(session, run_id, "one", resource, outcome)
    assert await request_run("one") == run_id
    async with db.transaction() as session:
        work = await run_work.claim_work(session, "xero", "one")
    assert [one.resource for one in work] == list(Resource)[:2]


async def test_a_run_whose_owner_died_before_finishing_it_is_finished_by_the_next_tick(db):
    async def close_and_read_status():
        async with db.transaction() as session:
            await runs.close_orphaned_runs(session, "xero")
            found = await run_history.find_run(session, "xero", run_id)
        assert found
        return found[0].status

    async with db.transaction() as session:
        run_id = await runs.open_run(session, runs.RunRequest("xero", RunTrigger.MANUAL, ["one"]))
        lease = await claim_lease(session, "xero", "one", "its owner", DEFAULT_TIMINGS)
    assert lease
    assert await close_and_read_status() == "running"
    async with db.transaction() as session:
        for resource in Resource:
            await run_work.finish_resource(session, run_id, "one", resource)
    # A lease is held, so its owner is about to finish it.
    assert await close_and_read_status() == "running"
    async with db.transaction() as session:
        await release_lease(session, lease)
    assert await close_and_read_status() == "succeeded"


async def test_a_tick_that_is_not_due_waits_for_no_lock(db):
    async def open_tick():
        async with db.transaction() as session:
            return await runs.open_tick(session, "xero", timedelta(minutes=15), ["one"])

    assert await open_tick()
    async with db.transaction() as holder:
        await holder.execute(text("SELECT 1 FROM sync_schedules FOR UPDATE"))
        # Waiting for this lock would fail with a lock timeout: it is released after the answer alone.
        assert await open_tick() is None


async def test_one_pull_of_an_organisation_is_claimed_at_a_time_and_a_reconciliation_beside_it(db):
    async with db.transaction() as session:
        pull_id = await runs.open_run(session, runs.RunRequest("xero", RunTrigger.MANUAL, ["one"]))
        reconciliation_id = await runs.open_run(session, runs.RunRequest("xero", RunTrigger.RECONCILE, ["one"]))
        other = uuid4()
        await session.execute(
            text(
                "INSERT INTO sync_runs (id, vendor, trigger, started_at)"
                " VALUES (:id, 'xero', 'schedule', now() + interval '1 second')"
            ),
            {"id": other},
        )
        await session.execute(
            text("INSERT INTO sync_run_resources (run_id, tenant_id, resource) VALUES (:id, 'one', 'invoices')"),
            {"id": other},
        )
    claimed = []
    async with db.transaction() as session:
        work = await run_work.claim_work(session, "xero", "one")
        claimed.append({one.run_id for one in work})
        busy = set(runs.equivalent_triggers(work[0].trigger))
        work = await run_work.claim_work(session, "xero", "one", busy)
        claimed.append({one.run_id for one in work})
    assert claimed in ([{pull_id}, {reconciliation_id}], [{reconciliation_id}, {pull_id}])


async def test_a_sync_by_hand_does_not_wait_for_a_reconciliation(dsn):
    async with open_harness(dsn, options={"limits_enabled": False}) as harness:
        [tenant_id] = await harness.connect_and_sync()
        started: list[str] = []

        async def sync_meanwhile(_request):
            if not started:
                started.append((await harness.call("POST", f"{INTEGRATION}/sync")).headers["location"])

        harness.transport.after_call = sync_meanwhile
        reconciliation = await harness.call("POST", f"{INTEGRATION}/reconcile")
        await harness.run_until_idle()
        sync, reconciled = await harness.read(started[0]), await harness.read(reconciliation.headers["location"])
        assert (sync["status"], reconciled["status"]) == ("succeeded", "succeeded")
        assert sync["id"] != reconciled["id"]
        await assert_mirror_equals(harness, tenant_id)


async def test_progress_events_become_visible_in_the_order_of_their_ids(db):
    """A reader asks for the events after the last id it has seen, so none with a lower id may be committed later."""
    async with db.transaction() as first:
        await progress.publish(first, "page", {"number": 1})
        async with db.transaction() as second:
            await second.execute(text("SET LOCAL lock_timeout = '200ms'"))
            with pytest.raises(Exception, match="lock timeout"):
                await progress.publish(second, "page", {"number": 2})


async def test_old_runs_progress_events_and_webhook_events_are_deleted(dsn):
    async with open_harness(dsn) as harness:
        await harness.connect_and_sync()
        await harness.execute("UPDATE sync_runs SET finished_at = finished_at - interval '91 days'")
        await harness.execute("UPDATE progress_events SET at = at - interval '7 hours'")
        await harness.execute(
            "INSERT INTO xero_webhook_events"
            " (tenant_id, resource_id, category, event_type, event_at, payload, status, received_at)"
            " SELECT 't', status, 'INVOICE', 'UPDATE', now(), '{}', status, now() - days * interval '1 day'"
            " FROM unnest(ARRAY['ignored', 'processed', 'pending', 'dead'], ARRAY[91, 89, 91, 91]) AS x(status, days)"
        )
        await harness.engine.maintenance.run()
        assert not await harness.query("SELECT 1 FROM sync_runs")
        assert not await harness.query("SELECT 1 FROM progress_events")
        left = await harness.query("SELECT status FROM xero_webhook_events ORDER BY status")
        assert [row["status"] for row in left] == ["pending", "processed"]
    async with open_harness(dsn, webhook_event_days=88) as harness:
        await harness.engine.maintenance.run()
        left = await harness.query("SELECT status FROM xero_webhook_events")
        assert [row["status"] for row in left] == ["pending"]
