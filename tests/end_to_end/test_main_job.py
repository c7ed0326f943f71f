"""The main job: connect, pick, sync, take a webhook, answer."""

from decimal import Decimal

from tests.support.oracle import assert_mirror_equals
from tests.support.service import CARD


async def test_a_sync_mirrors_every_receivable_and_nothing_payable(world):
    tenant_ids = await world.ready(organisations=2)

    for tenant_id in tenant_ids:
        await assert_mirror_equals(world, tenant_id)


async def test_a_paid_invoice_is_visible_after_its_webhook(world):
    [tenant_id] = await world.ready()
    invoice = next(row for row in (await world.read("/api/invoices", status="open"))["items"])

    await world.edit(tenant_id, edit="pay", invoice_id=invoice["external_id"], webhook=True)
    await world.work()

    seen = await world.read(f"/api/invoices/{invoice['id']}")
    assert seen["status"] == "paid"
    assert Decimal(seen["balance"]) == 0
    events = (await world.read(f"{CARD}/webhook-events", category="INVOICE"))["items"]
    assert [event["status"] for event in events] == ["processed"]


async def test_the_card_says_where_a_set_up_stands(world):
    assert (await world.card())["state"] == "not_connected"
    tenant_ids = await world.connect()
    assert (await world.card())["state"] == "choose_tenants"
    await world.pick(*tenant_ids[:1])
    card = await world.card()
    assert card["state"] == "connected"
    assert card["tenants"] == {"available": 3, "selected": 1}
    assert "first_sync" in [banner["code"] for banner in card["banners"]]
    await world.work()
    assert (await world.card())["banners"] == []
