"""The gauges of the sync, which an operator's alarms read, must equal what the API shows."""

import re

from tests.support.service import INTEGRATION


async def gauges(harness):
    """Read the gauges, without the values kept from the last time they were read."""
    harness.services.metrics.sync_metrics_read_at = float("-inf")
    text = (await harness.client.get("/metrics")).text
    found = re.findall(r"^((?:billing|database)_\w+(?:{[^}]*})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_gauges_count_organisations_by_health_and_show_the_oldest_data(harness):
    first, second, *_ = await harness.connect()
    await harness.select_tenants(first, second)
    assert (await gauges(harness))['billing_sync_organisations{health="first_sync",source="xero"}'] == 2
    assert 'billing_sync_data_age_seconds{source="xero"}' not in await gauges(harness)
    await harness.run_until_idle()
    await harness.execute(
        "UPDATE tenants SET data_as_of = data_as_of - interval '1 hour' WHERE tenant_id = :t", t=first
    )
    await harness.add_fault("forbidden", tenant_id=second, times=None)
    await harness.sync()
    await harness.execute("UPDATE tenants SET data_as_of = now() - interval '2 hours' WHERE tenant_id = :t", t=second)

    values = await gauges(harness)

    assert values["database_ready"] == 1
    assert values['billing_sync_organisations{health="healthy",source="xero"}'] == 1
    assert values['billing_sync_organisations{health="forbidden",source="xero"}'] == 1
    assert 7200 <= values['billing_sync_data_age_seconds{source="xero"}'] < 7300


async def test_an_organisation_removed_at_the_vendor_is_counted_and_its_old_data_raises_no_alarm(harness):
    [first, _] = await harness.connect_and_sync(organisations=2)
    await harness.execute(
        "UPDATE tenants SET removed_at = now(), data_as_of = now() - interval '1 day' WHERE tenant_id = :t", t=first
    )
    values = await gauges(harness)
    assert values['billing_sync_organisations{health="removed",source="xero"}'] == 1
    assert values['billing_sync_organisations{health="healthy",source="xero"}'] == 1
    assert values['billing_sync_data_age_seconds{source="xero"}'] < 60


async def test_gauges_count_webhook_events(harness):
    [tenant_id] = await harness.connect_and_sync()
    assert (await gauges(harness))['billing_webhook_events{source="xero",status="waiting"}'] == 0
    await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=3, webhook=True)
    refused = await harness.client.post("/api/webhooks/xero", content=b"{}", headers={"x-xero-signature": "wrong"})
    assert refused.status_code == 401

    values = await gauges(harness)

    status = await harness.read(INTEGRATION)
    assert values['billing_webhook_events{source="xero",status="waiting"}'] == status["webhook"]["pending"] > 0
    assert values['billing_webhook_events{source="xero",status="failed"}'] == status["webhook"]["failed"]
    assert values['billing_webhook_signature_failures{source="xero"}'] == 1


async def test_gauges_read_again_at_once_come_from_the_values_kept(harness):
    before = (await harness.client.get("/metrics")).text
    await harness.connect()
    await harness.select_tenants(
        *[one["tenant_id"] for one in (await harness.read(f"{INTEGRATION}/tenants"))["items"]][:1]
    )
    after = (await harness.client.get("/metrics")).text
    assert "billing_sync_organisations{" not in before + after
    assert 'health="first_sync"' in str(await gauges(harness))


async def test_gauges_show_what_is_left_of_the_refresh_token_and_of_the_day_and_the_age_of_the_last_success(harness):
    first, second, third, *_ = await harness.connect()
    values = await gauges(harness)
    for name in ("billing_refresh_token_days_left", "billing_calls_left_today", "billing_last_success_age_seconds"):
        assert f'{name}{{source="xero"}}' not in values
    await harness.select_tenants(first, second)
    await harness.run_until_idle()
    for tenant_id, hours, calls in ((first, 1, 40), (second, 2, 90), (third, 9, 500)):
        await harness.execute(
            "UPDATE tenants SET last_success_at = wall_clock() - make_interval(hours => :h) WHERE tenant_id = :t",
            t=tenant_id,
            h=hours,
        )
        await harness.execute("UPDATE sync_budgets SET day_calls = :c WHERE tenant_id = :t", t=tenant_id, c=calls)
    await harness.execute("UPDATE grants SET refresh_expires_at = wall_clock() + interval '36 hours'")

    values = await gauges(harness)

    assert 7200 <= values['billing_last_success_age_seconds{source="xero"}'] < 7300
    assert values['billing_calls_left_today{source="xero"}'] == 5000 - 90
    assert 1.4 < values['billing_refresh_token_days_left{source="xero"}'] <= 1.5

    await harness.execute("UPDATE sync_budgets SET day_remaining = 12 WHERE tenant_id = :t", t=first)
    assert (await gauges(harness))['billing_calls_left_today{source="xero"}'] == 12
    await harness.execute("UPDATE sync_budgets SET day_started_at = day_started_at - interval '1 day'")
    assert (await gauges(harness))['billing_calls_left_today{source="xero"}'] == 5000
    await harness.execute("UPDATE tenants SET removed_at = now() WHERE tenant_id = :t", t=second)
    assert 3600 <= (await gauges(harness))['billing_last_success_age_seconds{source="xero"}'] < 3700


async def test_runs_that_ended_are_counted_with_their_duration_and_connections_as_they_are(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.sync()
    await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=3, webhook=True)
    await harness.run_until_idle()
    runs = {run["id"]: run for run in (await harness.read(f"{INTEGRATION}/runs"))["items"]}
    manual = [run for run in runs.values() if run["trigger"] == "manual"]
    webhook = [run for run in runs.values() if run["trigger"] == "webhook"]

    values = await gauges(harness)

    name = "billing_sync_run_duration_seconds"
    assert values[f'{name}_count{{source="xero",status="succeeded",trigger="manual"}}'] == len(manual) == 2
    assert not any("webhook" in key for key in values if key.startswith(name))
    assert webhook
    async with harness.services.db.transaction() as session:
        await session.connection()
        values = await gauges(harness)
        assert values['database_pool_connections{pool="api",state="in_use"}'] == 1
    values = await gauges(harness)
    pool = harness.services.db.engine.pool
    assert values['database_pool_connections{pool="api",state="in_use"}'] == 0
    assert values['database_pool_connections{pool="api",state="open"}'] == pool.checkedin() > 0
    assert values['database_pool_connections{pool="api",state="limit"}'] == 16
    assert values['database_pool_connections{pool="deliveries",state="limit"}'] == 4
    assert values['database_pool_connections{pool="sync",state="limit"}'] == 12
