"""A second vendor: one folder, one line, and everything works for it; neither touches the other's rows."""

from urllib.parse import parse_qs, urlsplit

from app.connections.vendor_app import VendorConfig
from app.main import make_vendors
from tests.support.oracle import assert_mirror_equals
from tests.support.second_vendor import LEDGER, PaperConnector
from tests.support.service import INTEGRATION, PUBLIC_URL, open_harness

PAPER = "/api/integrations/paper"


def with_paper(settings, http):
    config = VendorConfig(
        vendor="paper",
        redirect_uri=f"{PUBLIC_URL}{PAPER}/callback",
        return_url=f"{PUBLIC_URL}/console",
        webhook_url=f"{PUBLIC_URL}/api/webhooks/paper",
        scope_set="broad",
        client_id="id",
        client_secret="secret",
    )
    return [*make_vendors(settings, http), (PaperConnector(), config)]


async def connect_paper(harness):
    started = (await harness.call("POST", f"{PAPER}/connect", json={})).json()
    state = parse_qs(urlsplit(started["authorization_url"]).query)["state"][0]
    back = await harness.client.get(f"{PAPER}/callback", params={"state": state, "code": "c"})
    assert back.headers["location"] == f"{PUBLIC_URL}/console?paper=connected"
    await harness.call("PUT", f"{PAPER}/tenants", json={"tenant_ids": [LEDGER]})
    await harness.services.engines["paper"].worker.run_until_idle()


async def test_a_second_vendor_is_connected_synced_and_answered_like_the_first(dsn):
    async with open_harness(dsn, vendors=with_paper) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await connect_paper(harness)

        [invoice] = (await harness.read("/api/invoices", source="paper"))["items"]
        assert (invoice["number"], invoice["balance"], invoice["tenant_id"]) == ("P1", "60.00", LEDGER)
        summary = await harness.read(f"/api/customers/{invoice['customer_id']}/billing")
        assert [row["currency"] for row in summary["currencies"]] == ["CHF"]
        assert summary["currencies"][0]["unapplied_credit"] == "5.00"
        assert summary["sources"] == ["paper"]
        one = await harness.read(f"/api/invoices/{invoice['id']}")
        assert [payment["amount"] for payment in one["payments"]] == ["40.00"]
        await assert_mirror_equals(harness, tenant_id)


async def test_each_vendor_has_a_card_runs_and_webhooks_of_its_own(dsn):
    async with open_harness(dsn, vendors=with_paper) as harness:
        await connect_paper(harness)
        assert (await harness.read(PAPER))["state"] == "connected"
        assert (await harness.integration_status())["state"] == "not_connected"
        assert [run["trigger"] for run in (await harness.read(f"{PAPER}/runs"))["items"]] == ["manual"]
        assert (await harness.read(f"{INTEGRATION}/runs"))["items"] == []

        hook = "/api/webhooks/paper"
        assert (await harness.client.post(hook, content=b"p-1", headers={"x-paper-seal": "broken"})).status_code == 401
        told = await harness.client.post(hook, content=b"p-1", headers={"x-paper-seal": "sealed"})
        assert told.json() == {"stored": 1}
        await harness.services.engines["paper"].worker.run_until_idle()
        [event] = (await harness.read(f"{PAPER}/webhook-events"))["items"]
        assert event["status"] == "processed"
        assert (await harness.read(f"{INTEGRATION}/webhook-events"))["items"] == []
