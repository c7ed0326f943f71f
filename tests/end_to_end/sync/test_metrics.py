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
