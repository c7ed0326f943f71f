"""Xero's limits and ours: kept, obeyed, told, and nobody else's business."""

import asyncio

import pytest

from tests.support.clocks import shift
from tests.support.oracle import assert_mirror_equals
from tests.support.service import CARD, open_world


async def tenants(world):
    return {one["tenant_id"]: one for one in (await world.read(f"{CARD}/tenants"))["items"] if one["selected"]}


async def until(look):
    for _ in range(1000):
        if await look():
            return
        await asyncio.sleep(0.02)


async def limit_banners(world):
    return [(one["code"], one["tenant_id"]) for one in (await world.card())["banners"]]


@pytest.mark.parametrize("kind", ["limit_minute", "limit_concurrent", "limit_appminute"])
async def test_a_short_limit_is_sat_out(dsn, kind):
    async with shift(dsn) as clock, open_world(dsn, clock=clock) as world:
        [tenant_id] = await world.ready()
        for retry_after in ("", "0", "-5", "soon"):
            await world.edit(tenant_id, edit="bulk_edit", resource="Invoices", count=5)
            await world.fault(kind, tenant_id=tenant_id, resource="Invoices", retry_after=retry_after, times=2)
            began = clock.now()
            run = await world.sync()
            assert (retry_after, run["status"]) == (retry_after, "succeeded")
            assert (clock.now() - began).total_seconds() < 200
        await assert_mirror_equals(world, tenant_id)


async def test_a_limit_that_is_sat_out_is_told_meanwhile_and_not_after(dsn, monkeypatch):
    async with shift(dsn) as clock, open_world(dsn, clock=clock) as world:
        [tenant_id] = await world.ready()
        seen: list[tuple[str, str]] = []
        healths: list[str] = []
        pass_time = clock.sleep

        async def look_and_sleep(seconds):
            seen.extend(await limit_banners(world))
            healths.append((await tenants(world))[tenant_id]["health"])
            await pass_time(seconds)

        monkeypatch.setattr(clock, "sleep", look_and_sleep)
        await world.fault("limit_minute", tenant_id=tenant_id, resource="Invoices", retry_after="30", times=1)
        assert (await world.sync())["status"] == "succeeded"
        assert ("rate_limited_minute", tenant_id) in seen
        assert "rate_limited" in healths
        assert await limit_banners(world) == []
        assert (await tenants(world))[tenant_id]["health"] == "healthy"


@pytest.mark.parametrize(
    ("limit", "retry_after", "least", "most"),
    [
        ("day", "66975", 66975, 66976),
        ("day", "", 3600, 4500),
        ("day", "1000000000", 86400, 86401),
        ("minute", "1000000000", 300, 301),
        ("minute", "200", 200, 201),
    ],
)
async def test_a_long_limit_pauses_this_organisation_until_it_is_over(dsn, limit, retry_after, least, most):
    banner = f"rate_limited_{limit}"
    async with shift(dsn) as clock, open_world(dsn, clock=clock) as world:
        limited, other = await world.ready(organisations=2)
        await world.edit(limited, edit="bulk_edit", resource="Invoices", count=5)
        await world.edit(other, edit="bulk_edit", resource="Invoices", count=5)
        await world.fault(f"limit_{limit}", tenant_id=limited, retry_after=retry_after, times=None)
        began = clock.now()
        run = await world.sync()
        # Paused is no failure: what is left is done later.
        assert run["status"] == "paused"
        now = await tenants(world)
        assert (now[limited]["health"], now[limited]["reason"]["code"]) == ("rate_limited", banner)
        assert now[other]["health"] == "healthy"
        assert await limit_banners(world) == [(banner, limited)]
        [row] = await world.rows("SELECT paused_until FROM tenants WHERE tenant_id = :t", t=limited)
        assert least - 1 <= (row["paused_until"] - began).total_seconds() <= most + 90
        await assert_mirror_equals(world, other)

        # Until then nothing is asked of Xero for it, tick after tick.
        await world.control("DELETE", "/faults")
        await world.control("DELETE", "/ledger")
        await world.sync()
        assert {call["tenant_id"] for call in await world.ledger()} == {other}
        await clock.move(most + 100)
        assert (await world.sync())["status"] == "succeeded"
        assert await limit_banners(world) == []
        await assert_mirror_equals(world, limited)


async def test_a_storm_of_refusals_at_one_organisation_leaves_the_others_alone(dsn):
    async with open_world(dsn, xero_page_size=20) as world:
        stormy, *others = await world.connect()
        await world.fault("limit_minute", tenant_id=stormy, retry_after="1", share=0.3, times=None)
        await world.pick(stormy, *others)
        await world.work()
        for tenant_id in others:
            assert (await tenants(world))[tenant_id]["health"] == "healthy"
            await assert_mirror_equals(world, tenant_id)
        await world.control("DELETE", "/faults")
        await world.execute("UPDATE sync_budgets SET blocked_until = NULL")
        await world.sync()
        await assert_mirror_equals(world, stormy)


async def test_nine_tenths_of_the_day_pause_the_first_sync_with_its_place_kept(dsn):
    options = {"contacts": 60, "invoices": 200, "payments": 100, "credit_notes": 20}
    settings = {"xero_page_size": 10, "xero_daily_cap": 20, "xero_requests_per_minute": 1000}
    async with shift(dsn) as clock, open_world(dsn, options=options, clock=clock, **settings) as world:
        [tenant_id, *_] = await world.connect()
        await world.pick(tenant_id)
        await world.work()
        assert len(await world.ledger()) == 18
        now = (await tenants(world))[tenant_id]
        assert (now["health"], now["reason"]["code"]) == ("paused", "rate_limited_day")
        assert await limit_banners(world) == [("rate_limited_day", tenant_id)]
        read = await world.rows("SELECT sum(rows_read) AS n FROM sync_cursors")
        assert read[0]["n"] > 100

        # The rest of the day is kept for webhooks.
        [invoice, *_] = await world.rows("SELECT external_id FROM billing_invoices WHERE status = 'open'")
        await world.edit(tenant_id, edit="pay", invoice_id=invoice["external_id"], webhook=True)
        await world.work()
        events = await world.rows("SELECT status FROM xero_webhook_events WHERE resource = 'invoices'")
        assert {row["status"] for row in events} == {"processed"}

        # Days later it is done, and no page was read twice.
        for _ in range(3):
            await clock.move(24 * 3600 + 60)
            await world.sync()
        assert (await tenants(world))[tenant_id]["health"] == "healthy"
        await assert_mirror_equals(world, tenant_id)
        pages = len(await world.state(tenant_id, "Contacts")) / 10
        assert len([call for call in await world.ledger() if call["resource"] == "Contacts"]) <= pages + 5


async def test_pulls_that_wait_for_the_minute_let_a_webhook_pass(dsn):
    async with open_world(dsn, xero_page_size=10, xero_requests_per_minute=30) as world:
        [tenant_id, *_] = await world.connect()
        rate_limiter = world.engine.worker._dependencies.rate_limiter  # noqa: SLF001 - the budget all of them share
        for _ in range(28):
            assert (await rate_limiter.acquire(tenant_id)).wait == 0
        await world.pick(tenant_id)
        pulling = asyncio.create_task(world.work())
        [contact, *_] = await world.state(tenant_id, "Contacts")
        await world.edit(tenant_id, edit="rename", contact_id=contact["id"], name="Renamed Ltd", webhook=True)
        async with asyncio.timeout(5):
            await until(lambda: world.rows("SELECT 1 FROM xero_webhook_events WHERE status = 'processed'"))
        assert not pulling.done()
        assert not await world.rows("SELECT 1 FROM billing_invoices")
        pulling.cancel()
        await asyncio.gather(pulling, return_exceptions=True)
        assert not await world.rows("SELECT 1 FROM sync_leases WHERE expires_at > wall_clock()")
