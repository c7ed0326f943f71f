"""Xero's limits and ours: each must be waited for and shown, and must hold up no other organisation."""

import asyncio

import pytest

from tests.support.clocks import frozen_clock, shifted_clock
from tests.support.oracle import assert_mirror_equals
from tests.support.service import open_harness
from tests.support.waiting import wait_until

# What Xero may say of how long to wait is tested whole with the rate limiter and with the errors of Xero.
SHORT_LIMITS = (("limit_minute", ""), ("limit_minute", "soon"), ("limit_concurrent", "0"), ("limit_appminute", "-5"))


async def limit_banners(harness):
    return [(one["code"], one["tenant_id"]) for one in (await harness.integration_status())["banners"]]


async def test_a_short_limit_is_waited_for_and_the_sync_succeeds(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        [tenant_id] = await harness.connect_and_sync()
        for kind, retry_after in SHORT_LIMITS:
            await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=5)
            await harness.add_fault(kind, tenant_id=tenant_id, resource="Invoices", retry_after=retry_after, times=2)
            began = clock.now()
            run = await harness.sync()
            assert (kind, run["status"]) == (kind, "succeeded")
            assert (clock.now() - began).total_seconds() < 200
        await assert_mirror_equals(harness, tenant_id)


async def test_a_limit_is_shown_while_it_is_waited_for_and_not_afterwards(dsn, monkeypatch):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        [tenant_id] = await harness.connect_and_sync()
        seen: list[tuple[str, str]] = []
        healths: list[str] = []
        sleep = clock.sleep

        async def record_and_sleep(seconds):
            seen.extend(await limit_banners(harness))
            healths.append((await harness.selected_tenants())[tenant_id]["health"])
            await sleep(seconds)

        monkeypatch.setattr(clock, "sleep", record_and_sleep)
        await harness.add_fault("limit_minute", tenant_id=tenant_id, resource="Invoices", retry_after="30", times=1)
        assert (await harness.sync())["status"] == "succeeded"
        assert ("rate_limited_minute", tenant_id) in seen
        assert "rate_limited" in healths
        assert await limit_banners(harness) == []
        assert (await harness.selected_tenants())[tenant_id]["health"] == "healthy"


@pytest.mark.parametrize(
    ("limit", "retry_after", "least", "most"),
    [
        ("day", "66975", 66975, 66976),
        ("minute", "200", 200, 201),
    ],
)
async def test_a_long_limit_pauses_its_organisation_until_it_is_over(dsn, limit, retry_after, least, most):
    banner = f"rate_limited_{limit}"
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        limited, other = await harness.connect_and_sync(organisations=2)
        await harness.edit_books(limited, edit="bulk_edit", resource="Invoices", count=5)
        await harness.edit_books(other, edit="bulk_edit", resource="Invoices", count=5)
        await harness.add_fault(f"limit_{limit}", tenant_id=limited, retry_after=retry_after, times=None)
        began = clock.now()
        run = await harness.sync()
        # Paused, not failed: a later run continues.
        assert run["status"] == "paused"
        now = await harness.selected_tenants()
        assert (now[limited]["health"], now[limited]["reason"]["code"]) == ("rate_limited", banner)
        assert now[other]["health"] == "healthy"
        assert await limit_banners(harness) == [(banner, limited)]
        [row] = await harness.query("SELECT paused_until FROM tenants WHERE tenant_id = :t", t=limited)
        assert least - 1 <= (row["paused_until"] - began).total_seconds() <= most + 90
        await assert_mirror_equals(harness, other)

        # Until then no run calls Xero for it.
        await harness.control("DELETE", "/faults")
        await harness.control("DELETE", "/ledger")
        await harness.sync()
        assert {call["tenant_id"] for call in await harness.xero_calls()} == {other}
        await clock.advance(most + 100)
        assert (await harness.sync())["status"] == "succeeded"
        assert await limit_banners(harness) == []
        await assert_mirror_equals(harness, limited)


async def test_an_organisation_with_many_limited_calls_holds_up_no_other(dsn):
    async with open_harness(dsn, xero_page_size=20) as harness:
        limited, *others = await harness.connect()
        await harness.add_fault("limit_minute", tenant_id=limited, retry_after="1", share=0.3, times=None)
        await harness.select_tenants(limited, *others)
        await harness.run_until_idle()
        for tenant_id in others:
            assert (await harness.selected_tenants())[tenant_id]["health"] == "healthy"
            await assert_mirror_equals(harness, tenant_id)
        await harness.control("DELETE", "/faults")
        await harness.execute("UPDATE sync_budgets SET blocked_until = NULL")
        await harness.sync()
        await assert_mirror_equals(harness, limited)


async def test_a_first_sync_pauses_at_nine_tenths_of_the_day_and_continues_from_its_cursors(dsn):
    options = {"contacts": 60, "invoices": 200, "payments": 100, "credit_notes": 20}
    settings = {"xero_page_size": 10, "xero_daily_cap": 20, "xero_requests_per_minute": 1000}
    async with shifted_clock(dsn) as clock, open_harness(dsn, options=options, clock=clock, **settings) as harness:
        [tenant_id, *_] = await harness.connect()
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        assert len(await harness.xero_calls()) == 18
        now = (await harness.selected_tenants())[tenant_id]
        assert (now["health"], now["reason"]["code"]) == ("paused", "rate_limited_day")
        assert await limit_banners(harness) == [("rate_limited_day", tenant_id)]
        read = await harness.query("SELECT sum(rows_read) AS n FROM sync_cursors")
        assert read[0]["n"] > 100

        # The rest of the day is reserved for webhooks.
        [invoice, *_] = await harness.query("SELECT external_id FROM billing_invoices WHERE status = 'open'")
        await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice["external_id"], webhook=True)
        await harness.run_until_idle()
        events = await harness.query("SELECT status FROM xero_webhook_events WHERE resource = 'invoices'")
        assert {row["status"] for row in events} == {"processed"}

        # Days later it is complete, and hardly any page was read twice.
        for _ in range(3):
            await clock.advance(24 * 3600 + 60)
            await harness.sync()
        assert (await harness.selected_tenants())[tenant_id]["health"] == "healthy"
        await assert_mirror_equals(harness, tenant_id)
        pages = len(await harness.xero_rows(tenant_id, "Contacts")) / 10
        assert len([call for call in await harness.xero_calls() if call["resource"] == "Contacts"]) <= pages + 5


async def test_a_webhook_does_not_wait_for_the_minute_that_pulls_wait_for(dsn):
    async with (
        frozen_clock(dsn) as clock,
        open_harness(dsn, clock=clock, xero_page_size=10, xero_requests_per_minute=30) as harness,
    ):
        [tenant_id, *_] = await harness.connect()
        rate_limiter = harness.engine.worker._dependencies.rate_limiter  # noqa: SLF001 - the one that the pulls ask
        for _ in range(28):
            assert (await rate_limiter.acquire(tenant_id)).wait == 0
        await harness.select_tenants(tenant_id)
        # The minute never passes, so that every pull waits for as long as the test lasts.
        pulling = asyncio.create_task(harness.run_until_idle())
        [contact, *_] = await harness.xero_rows(tenant_id, "Contacts")
        await harness.edit_books(tenant_id, edit="rename", contact_id=contact["id"], name="Renamed Ltd", webhook=True)

        async def is_processed():
            return await harness.query("SELECT 1 FROM xero_webhook_events WHERE status = 'processed'")

        await wait_until(is_processed, "the webhook event is processed")
        assert not pulling.done()
        assert not await harness.query("SELECT 1 FROM billing_invoices")
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)
        assert not await harness.query("SELECT 1 FROM sync_leases WHERE expires_at > wall_clock()")
