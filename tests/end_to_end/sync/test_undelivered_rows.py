"""Webhook events whose rows Xero does not return must cost little and hold up neither pulls nor other events."""

import asyncio
import os
from uuid import UUID

from tests.support.clocks import frozen_clock, shifted_clock
from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION, open_harness
from tests.support.waiting import wait_until

# How many events; the number is 3,000, and a smaller one shows the same in less time.
EVENTS = int(os.environ.get("UNDELIVERED_EVENTS", "200"))
IDS_PER_READ = 40
WITHOUT_LIMITS = {"limits_enabled": False}


def event(tenant_id, row_id, category="INVOICE"):
    return {
        "resourceUrl": f"https://api.xero.com/api.xro/2.0/Invoices/{row_id}",
        "resourceId": row_id,
        "tenantId": tenant_id,
        "tenantType": "ORGANISATION",
        "eventCategory": category,
        "eventType": "UPDATE",
        "eventDateUtc": "2026-11-22T10:00:00.000",
    }


async def send_unknown(harness, tenant_id, count, category="INVOICE", first=0):
    """Deliver signed events that name rows which Xero does not have."""
    ids = [str(UUID(int=(0xBAD << 100) + number)) for number in range(first, first + count)]
    for start in range(0, count, 500):
        events = [event(tenant_id, row_id, category) for row_id in ids[start : start + 500]]
        await harness.control("POST", "/webhook/send", {"events": events})


async def receivables(harness, tenant_id, most):
    rows = [row["id"] for row in await harness.xero_rows(tenant_id, "Invoices") if row["type"] == "ACCREC"]
    return rows[:most]


async def count_by_status(harness):
    rows = await harness.query("SELECT status, count(*) AS events FROM xero_webhook_events GROUP BY status")
    return {row["status"]: row["events"] for row in rows}


async def work_for(harness, clock, minutes):
    """Let the worker work, and time pass in steps of half a minute."""
    for _ in range(2 * minutes):
        await harness.run_until_idle()
        await clock.advance(30)


async def is_waiting(harness):
    return bool((await count_by_status(harness)).keys() & {"pending", "failed"})


async def test_events_whose_rows_xero_does_not_return_cost_two_reads_a_batch_and_end_with_a_reason(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock, options=WITHOUT_LIMITS) as harness:
        [tenant_id] = await harness.connect_and_sync()
        good = await receivables(harness, tenant_id, 10)
        await harness.control("DELETE", "/ledger")
        await send_unknown(harness, tenant_id, EVENTS)
        await harness.control("POST", "/webhook/send", {"events": [event(tenant_id, row_id) for row_id in good]})
        await work_for(harness, clock, 5)
        assert await count_by_status(harness) == {"dead": EVENTS, "processed": len(good)}
        calls = await harness.xero_calls()
        assert len(calls) <= 2 * (EVENTS / IDS_PER_READ) + 10
        [dead] = (await harness.read(f"{INTEGRATION}/webhook-events", status="dead", limit=1))["items"]
        assert dead["attempts"] == 2
        assert "without this row" in dead["error"]

        # A replay looks twice again, in whole batches.
        await harness.control("DELETE", "/ledger")
        body = {"filter": {"status": "dead"}, "reason": "Is it there now?"}
        await harness.call("POST", f"{INTEGRATION}/webhook-events/replay", json=body)
        await work_for(harness, clock, 5)
        assert await count_by_status(harness) == {"dead": EVENTS, "processed": len(good)}
        assert len(await harness.xero_calls()) <= 2 * (EVENTS / IDS_PER_READ) + 10


async def test_a_row_that_can_be_read_a_moment_after_its_event_is_stored(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock, options=WITHOUT_LIMITS) as harness:
        [tenant_id] = await harness.connect_and_sync()
        # An answer that leaves every row out, as a copy of Xero's data does that lags behind.
        await harness.add_fault(
            "status",
            resource="Invoices",
            status=200,
            content_type="application/json",
            text='{"Status": "OK", "DateTimeUTC": "/Date(1795000000000)/", "Invoices": []}',
        )
        [row_id] = await receivables(harness, tenant_id, 1)
        await harness.edit_books(tenant_id, edit="change_reference", id=row_id, reference="New", webhook=True)
        await work_for(harness, clock, 2)
        assert await count_by_status(harness) == {"processed": 1}
        [row] = await harness.query("SELECT reference FROM billing_invoices WHERE external_id = :id", id=row_id)
        assert row["reference"] == "New"


async def test_a_single_row_that_xero_does_not_know_is_asked_for_twice(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock, options=WITHOUT_LIMITS) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.control("DELETE", "/ledger")
        await send_unknown(harness, tenant_id, 20, "CREDITNOTE")
        await work_for(harness, clock, 5)
        assert await count_by_status(harness) == {"dead": 20}
        assert len(await harness.xero_calls()) == 40


async def test_a_row_that_cannot_be_read_is_asked_for_twice_in_whole_batches(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock, options=WITHOUT_LIMITS) as harness:
        [tenant_id] = await harness.connect_and_sync()
        rows = await receivables(harness, tenant_id, 30)
        for row_id in rows:
            await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=row_id, fields={"Total": "a lot"})
        await harness.control("DELETE", "/ledger")
        await harness.control("POST", "/webhook/send", {"events": [event(tenant_id, row_id) for row_id in rows]})
        await work_for(harness, clock, 3)
        assert await count_by_status(harness) == {"dead": 30}
        assert len(await harness.xero_calls()) == 2
        [dead] = (await harness.read(f"{INTEGRATION}/webhook-events", status="dead", limit=1))["items"]
        assert "quarantine" in dead["error"]


async def test_a_burst_of_events_leaves_a_pull_its_half_of_the_minute_and_does_not_delay_its_start(dsn):
    async with frozen_clock(dsn) as clock, open_harness(dsn, clock=clock, xero_requests_per_minute=30) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=5)
        await harness.control("DELETE", "/ledger")
        await send_unknown(harness, tenant_id, 200, "CREDITNOTE")
        # The minute never passes, so that the drain makes the calls it may make and then waits for as long as the test
        # lasts.
        working = asyncio.create_task(harness.run_until_idle())

        async def count_lookups():
            return len(await harness.xero_calls())

        async def have_webhooks_used_their_half():
            return await count_lookups() == 15

        await wait_until(have_webhooks_used_their_half, "webhooks have used their half of the minute")
        run = await harness.start_sync()

        async def is_synced():
            return (await harness.read(run))["status"] == "succeeded"

        await wait_until(is_synced, "the pull is at its end beside the waiting drain")
        assert await count_lookups() == 15 + 4
        assert not working.done()
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        await assert_mirror_equals(harness, tenant_id)


async def test_the_last_tenth_of_the_day_is_left_to_events_whose_rows_come(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(
            dsn, clock=clock, options=WITHOUT_LIMITS, xero_daily_cap=40, xero_requests_per_minute=1000
        ) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        await send_unknown(harness, tenant_id, 32, "CREDITNOTE")
        await work_for(harness, clock, 10)
        # 4 calls of the first sync and 32 first looks are nine tenths of the day; no second look follows.
        assert len(await harness.xero_calls()) == 36
        assert await count_by_status(harness) == {"failed": 32}

        for row_id in await receivables(harness, tenant_id, 3):
            await harness.edit_books(tenant_id, edit="change_reference", id=row_id, reference="New", webhook=True)
            await harness.run_until_idle()
        assert await count_by_status(harness) == {"failed": 32, "processed": 3}
        assert len(await harness.xero_calls()) == 39

        # The next day they are looked for once more.
        await clock.advance(24 * 3600)
        await work_for(harness, clock, 10)
        assert await count_by_status(harness) == {"dead": 32, "processed": 3}


async def test_an_outage_is_no_reason_to_read_every_row_on_its_own(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock, options=WITHOUT_LIMITS) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.control("DELETE", "/ledger")
        await harness.add_fault("server_error", resource="Invoices", times=None)
        await send_unknown(harness, tenant_id, 400)
        await work_for(harness, clock, 20)
        # At most three batches, each asked for four times, every five minutes.
        assert 12 < len(await harness.xero_calls()) <= 5 * 12
        await harness.control("DELETE", "/faults")
        await harness.control("DELETE", "/ledger")
        await work_for(harness, clock, 30)
        assert await count_by_status(harness) == {"dead": 400}
        # Twelve batches were counted as failed and are read in smaller ones now.
        assert len(await harness.xero_calls()) <= 120
