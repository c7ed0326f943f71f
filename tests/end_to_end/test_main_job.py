"""The main job: connect, select, sync, receive a webhook, answer."""

from decimal import Decimal

from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION


async def test_a_sync_mirrors_every_receivable_and_nothing_payable(harness):
    tenant_ids = await harness.connect_and_sync(organisations=2)

    for tenant_id in tenant_ids:
        await assert_mirror_equals(harness, tenant_id)


async def test_a_paid_invoice_is_visible_after_its_webhook(harness):
    [tenant_id] = await harness.connect_and_sync()
    invoice = next(row for row in (await harness.read("/api/invoices", status="open"))["items"])

    await harness.edit_books(tenant_id, edit="pay", invoice_id=invoice["external_id"], webhook=True)
    await harness.run_until_idle()

    found = await harness.read(f"/api/invoices/{invoice['id']}")
    assert found["status"] == "paid"
    assert Decimal(found["balance"]) == 0
    events = (await harness.read(f"{INTEGRATION}/webhook-events", category="INVOICE"))["items"]
    assert [event["status"] for event in events] == ["processed"]


async def test_the_integration_status_shows_how_far_the_set_up_is(harness):
    assert (await harness.integration_status())["state"] == "not_connected"
    tenant_ids = await harness.connect()
    assert (await harness.integration_status())["state"] == "choose_tenants"
    await harness.select_tenants(*tenant_ids[:1])
    status = await harness.integration_status()
    assert status["state"] == "connected"
    assert status["tenants"] == {"available": 3, "selected": 1}
    assert "first_sync" in [banner["code"] for banner in status["banners"]]
    await harness.run_until_idle()
    assert (await harness.integration_status())["banners"] == []
