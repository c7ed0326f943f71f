"""An organisation whose figures are old must not be shown as healthy, and must say why it is not."""

import re

from tests.support.clocks import shifted_clock
from tests.support.service import open_harness

INTERVAL = 900


async def health_and_code(harness, tenant_id):
    tenant = (await harness.selected_tenants())[tenant_id]
    return tenant["health"], tenant["reason"] and tenant["reason"]["code"]


async def counted_health(harness):
    """Return the healths of which the metrics count at least one organisation."""
    harness.services.metrics.sync_metrics_read_at = float("-inf")
    text = (await harness.client.get("/metrics")).text
    return set(re.findall(r'^billing_sync_organisations{health="(\w+)",source="xero"} [1-9]', text, re.MULTILINE))


async def test_data_older_than_three_intervals_are_not_healthy_and_say_why(dsn):
    async with (
        shifted_clock(dsn) as clock,
        open_harness(dsn, clock=clock, sync_interval_seconds=INTERVAL) as harness,
    ):
        [tenant_id] = await harness.connect_and_sync()
        await clock.advance(3 * INTERVAL - 60)
        assert await health_and_code(harness, tenant_id) == ("healthy", None)
        assert await counted_health(harness) == {"healthy"}

        await clock.advance(120)
        assert await health_and_code(harness, tenant_id) == ("failing", "data_stale")
        assert await counted_health(harness) == {"failing"}
        tenant = (await harness.selected_tenants())[tenant_id]
        assert "figures are of" in tenant["reason"]["message"]

        await harness.start_sync()
        await harness.execute("UPDATE sync_run_resources SET status = 'running' WHERE status = 'pending'")
        assert await health_and_code(harness, tenant_id) == ("syncing", "data_stale")
        assert "under way" in (await harness.selected_tenants())[tenant_id]["reason"]["message"]
        await harness.run_until_idle()
        assert await health_and_code(harness, tenant_id) == ("healthy", None)


async def test_a_schedule_that_has_stopped_is_named_as_the_reason(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await harness.engine.tick()
        await harness.run_until_idle()
        await clock.advance(8 * INTERVAL)
        assert "schedule has stopped" in (await harness.selected_tenants())[tenant_id]["reason"]["message"]


async def test_old_data_with_a_known_problem_keep_its_reason_and_unread_rows_are_no_excuse(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        [tenant_id] = await harness.connect_and_sync()
        [row, *_] = await harness.xero_rows(tenant_id, "Invoices")
        await harness.edit_books(tenant_id, edit="spoil", resource="Invoices", id=row["id"], fields={"Total": "a lot"})
        await harness.edit_books(tenant_id, edit="stamp", resource="Invoices", id=row["id"])
        await harness.sync()
        assert await health_and_code(harness, tenant_id) == ("partial", "partial_sync")
        await clock.advance(4 * INTERVAL)
        assert await health_and_code(harness, tenant_id) == ("failing", "data_stale")
        await harness.add_fault("forbidden", tenant_id=tenant_id, times=None)
        await harness.sync()
        assert await health_and_code(harness, tenant_id) == ("forbidden", "tenant_forbidden")


async def test_an_organisation_that_is_not_selected_is_not_called_stale(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        first, second = await harness.connect_and_sync(organisations=2)
        await harness.select_tenants(second)
        await clock.advance(8 * INTERVAL)
        listed = (await harness.read("/api/integrations/xero/tenants"))["items"]
        [deselected] = [tenant for tenant in listed if tenant["tenant_id"] == first]
        assert (deselected["health"], deselected["reason"]) == ("not_selected", None)
