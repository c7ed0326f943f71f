"""What an operator's alarms go by: the gauges of the sync, equal to what the service says elsewhere."""

import re

from tests.support.service import INTEGRATION


async def gauges(harness):
    """Read the gauges anew."""
    harness.services.metrics.sync_metrics_read_at = float("-inf")
    text = (await harness.client.get("/metrics")).text
    found = re.findall(r"^((?:billing|database)_\w+(?:{[^}]*})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


async def test_gauges_tell_of_organisations_by_health_and_of_the_stalest(harness):
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

    told = await gauges(harness)

    assert told["database_ready"] == 1
    assert told['billing_sync_organisations{health="healthy",source="xero"}'] == 1
    assert told['billing_sync_organisations{health="forbidden",source="xero"}'] == 1
    assert 7200 <= told['billing_sync_data_age_seconds{source="xero"}'] < 7300


async def test_an_organisation_removed_at_the_vendor_is_told_and_makes_nothing_stale(harness):
    [first, _] = await harness.connect_and_sync(organisations=2)
    await harness.execute(
        "UPDATE tenants SET removed_at = now(), data_as_of = now() - interval '1 day' WHERE tenant_id = :t", t=first
    )
    told = await gauges(harness)
    assert told['billing_sync_organisations{health="removed",source="xero"}'] == 1
    assert told['billing_sync_organisations{health="healthy",source="xero"}'] == 1
    assert told['billing_sync_data_age_seconds{source="xero"}'] < 60


async def test_gauges_tell_of_the_inbox(harness):
    [tenant_id] = await harness.connect_and_sync()
    assert (await gauges(harness))['billing_webhook_events{source="xero",status="waiting"}'] == 0
    await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=3, webhook=True)
    refused = await harness.client.post("/api/webhooks/xero", content=b"{}", headers={"x-xero-signature": "wrong"})
    assert refused.status_code == 401

    told = await gauges(harness)

    card = await harness.read(INTEGRATION)
    assert told['billing_webhook_events{source="xero",status="waiting"}'] == card["webhook"]["pending"] > 0
    assert told['billing_webhook_events{source="xero",status="failed"}'] == card["webhook"]["failed"]
    assert told['billing_webhook_signature_failures{source="xero"}'] == 1


async def test_whoever_asks_without_pause_is_answered_from_what_was_read(harness):
    before = (await harness.client.get("/metrics")).text
    await harness.connect()
    await harness.select_tenants(
        *[one["tenant_id"] for one in (await harness.read(f"{INTEGRATION}/tenants"))["items"]][:1]
    )
    after = (await harness.client.get("/metrics")).text
    assert "billing_sync_organisations{" not in before + after
    assert 'health="first_sync"' in str(await gauges(harness))
