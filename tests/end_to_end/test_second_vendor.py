"""A second vendor beside Xero: it works like the first, neither touches the other's rows, each has its own limits."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter
from datetime import datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.oracle import assert_mirror_equals
from tests.support.second_vendor import PROFILE, TENANT_ID, with_paper
from tests.support.service import IDLE_TIMEOUT_SECONDS, INTEGRATION, PUBLIC_URL, open_harness

XERO = INTEGRATION
PAPER = "/api/integrations/paper"
XERO_WEBHOOK = "/api/webhooks/xero"
PAPER_WEBHOOK = "/api/webhooks/paper"
LOCK_EVENTS = "LOCK TABLE xero_webhook_events IN EXCLUSIVE MODE"


@pytest.fixture
async def harness(dsn):
    async with open_harness(dsn, vendors=with_paper) as opened:
        yield opened


def paper_connector(harness):
    return harness.services.engines["paper"].connector


async def work_for_paper(harness):
    async with asyncio.timeout(IDLE_TIMEOUT_SECONDS):
        await harness.services.engines["paper"].worker.run_until_idle()


async def connect_paper(harness):
    started = (await harness.call("POST", f"{PAPER}/connect", json={})).json()
    state = parse_qs(urlsplit(started["authorization_url"]).query)["state"][0]
    back = await harness.client.get(f"{PAPER}/callback", params={"state": state, "code": "c"})
    assert back.headers["location"] == f"{PUBLIC_URL}/console?paper=connected"
    await harness.call("PUT", f"{PAPER}/tenants", json={"tenant_ids": [TENANT_ID]})
    await work_for_paper(harness)


async def sync_paper(harness):
    """Run one sync by hand and return its run."""
    started = await harness.call("POST", f"{PAPER}/sync")
    await work_for_paper(harness)
    return await harness.read(started.headers["location"])


async def deliver_to_xero(harness):
    event = {
        "resourceId": "00000000-0000-4000-8000-000000000001",
        "tenantId": "aef86862-2015-4b6b-88bc-d89032cecc50",
        "tenantType": "ORGANISATION",
        "eventCategory": "INVOICE",
        "eventType": "UPDATE",
        "eventDateUtc": "2026-11-02T00:44:09.923",
    }
    body = json.dumps({"events": [event], "entropy": "X"}).encode()
    signature = base64.b64encode(hmac.digest(b"simulated-webhook-key", body, hashlib.sha256)).decode()
    return await harness.client.post(XERO_WEBHOOK, content=body, headers={"x-xero-signature": signature})


async def deliver_to_paper(harness, signature="signed"):
    return await harness.client.post(PAPER_WEBHOOK, content=b"p-1", headers={"x-paper-signature": signature})


async def test_a_second_vendor_is_connected_synced_and_answered_like_the_first(harness):
    [tenant_id] = await harness.connect_and_sync()
    await connect_paper(harness)

    [invoice] = (await harness.read("/api/invoices", source="paper"))["items"]
    assert (invoice["number"], invoice["balance"], invoice["tenant_id"]) == ("P1", "60.00", TENANT_ID)
    summary = await harness.read(f"/api/customers/{invoice['customer_id']}/billing")
    assert [row["currency"] for row in summary["currencies"]] == ["CHF"]
    assert summary["currencies"][0]["unapplied_credit"] == "5.00"
    assert summary["sources"] == ["paper"]
    one = await harness.read(f"/api/invoices/{invoice['id']}")
    assert [payment["amount"] for payment in one["payments"]] == ["40.00"]
    await assert_mirror_equals(harness, tenant_id)


async def test_each_vendor_has_a_status_runs_and_webhooks_of_its_own(harness):
    await connect_paper(harness)
    assert (await harness.read(PAPER))["state"] == "connected"
    assert (await harness.integration_status())["state"] == "not_connected"
    assert [run["trigger"] for run in (await harness.read(f"{PAPER}/runs"))["items"]] == ["manual"]
    assert (await harness.read(f"{XERO}/runs"))["items"] == []

    assert (await deliver_to_paper(harness, "broken")).status_code == 401
    assert (await deliver_to_paper(harness)).json() == {"stored": 1}
    await work_for_paper(harness)
    [event] = (await harness.read(f"{PAPER}/webhook-events"))["items"]
    assert event["status"] == "processed"
    assert (await harness.read(f"{XERO}/webhook-events"))["items"] == []


async def test_the_day_limit_of_one_vendor_does_not_pause_the_other(harness):
    await harness.connect_and_sync()
    await connect_paper(harness)

    # Four calls a sync: nine of twelve may be used by syncs, so the third finds one left.
    assert [(await sync_paper(harness))["status"] for _ in range(2)] == ["succeeded", "paused"]
    assert len(paper_connector(harness).requests) == 9
    assert (await harness.sync())["status"] == "succeeded"

    [paper] = (await harness.read(f"{PAPER}/tenants"))["items"]
    xero = next(one for one in (await harness.read(f"{XERO}/tenants"))["items"] if one["selected"])
    assert (paper["health"], paper["reason"]["code"], paper["daily_cap"]) == ("paused", "rate_limited_day", 12)
    assert (xero["health"], xero["reason"], xero["daily_cap"]) == ("healthy", None, 5000)
    [banner] = (await harness.read(PAPER))["banners"]
    assert banner["title"] == "Paper Ledger has used its Paper calls for today"
    assert await harness.banner_codes() == []


async def test_each_vendor_is_asked_for_pages_of_its_own_size(harness):
    await harness.connect_and_sync()
    await connect_paper(harness)
    assert {request.page_size for request in paper_connector(harness).requests} == {PROFILE.largest_page}
    assert {parse_qs(call["query"])["pageSize"][0] for call in await harness.xero_calls()} == {"1000"}


async def test_each_vendor_is_called_as_often_at_once_as_it_allows(harness):
    requests = []
    are_two_in_flight = asyncio.Event()

    async def hold_until_two_are_in_flight(request):
        requests.append(request)
        if len(requests) > 1:
            are_two_in_flight.set()
        await are_two_in_flight.wait()

    harness.transport.after_call = hold_until_two_are_in_flight
    await harness.connect_and_sync()
    await connect_paper(harness)
    assert are_two_in_flight.is_set()
    assert paper_connector(harness).most_in_flight == 1


async def test_a_delivery_may_take_as_long_as_its_own_vendor_waits(harness):
    async with harness.services.db.transaction() as session:
        await (await session.connection()).exec_driver_sql(LOCK_EVENTS)
        xero = asyncio.create_task(deliver_to_xero(harness))
        paper = await deliver_to_paper(harness)
        assert (paper.status_code, paper.json()["code"]) == (503, "database_unavailable")
        assert not xero.done()
    assert (await xero).json() == {"stored": 1}


async def test_each_vendor_has_its_own_tiers(harness):
    paper = await harness.read(f"{PAPER}/usage")
    assert paper["month"]["allowances"] == {"free": 1000, "paid": None}
    gib = 1024**3
    xero = await harness.read(f"{XERO}/usage")
    assert xero["month"]["allowances"] == {
        "starter": None,
        "core": 10 * gib,
        "plus": 50 * gib,
        "advanced": 250 * gib,
    }


async def test_each_vendor_counts_the_lifetime_of_its_own_refresh_tokens(harness):
    await harness.connect()
    await connect_paper(harness)
    for path, days in ((PAPER, 10), (XERO, 60)):
        status = await harness.read(path)
        expires_at = datetime.fromisoformat(status["refresh_token_expires_at"])
        connected_at = datetime.fromisoformat(status["connected_at"])
        assert round((expires_at - connected_at).total_seconds() / 86_400, 1) == days


@pytest.mark.parametrize(
    ("path", "own", "foreign", "message"),
    [
        (PAPER, "billing_only", "broad", "Input should be 'whole' or 'billing_only'"),
        (XERO, "granular", "whole", "Input should be 'broad' or 'granular'"),
    ],
)
async def test_each_vendor_accepts_its_own_scope_sets_alone(harness, path, own, foreign, message):
    credentials = {"client_id": "id", "client_secret": "secret", "scope_set": foreign}
    for refused in (
        await harness.call("POST", f"{path}/connect", json={"scope_set": foreign}),
        await harness.call("PUT", f"{path}/credentials", json=credentials),
    ):
        assert (refused.status_code, refused.json()["code"]) == (422, "validation_failed")
        assert refused.json()["errors"] == [{"pointer": "/scope_set", "message": message}]
    assert (await harness.call("POST", f"{path}/connect", json={"scope_set": own})).status_code == 200
    assert (await harness.read(path))["scope_set"] == own


async def test_the_schema_of_two_vendors_tells_them_apart(harness, recwarn):
    schema = harness.app.openapi()

    assert [str(warning.message) for warning in recwarn] == []
    ids = [operation["operationId"] for path in schema["paths"].values() for operation in path.values()]
    assert [name for name, count in Counter(ids).items() if count > 1] == []
    assert schema["paths"][f"{XERO}/connect"]["post"]["operationId"] == "connect_xero"
    assert schema["paths"][f"{PAPER}/connect"]["post"]["operationId"] == "connect_paper"
    assert schema["paths"][PAPER_WEBHOOK]["post"]["operationId"] == "receive_webhook_paper"


@pytest.mark.parametrize(
    ("vendor", "path", "names"),
    [("Xero", XERO, ["broad", "granular"]), ("Paper", PAPER, ["whole", "billing_only"])],
)
async def test_the_schema_lists_the_scope_sets_of_each_vendor(harness, vendor, path, names):
    schema = harness.app.openapi()
    body = schema["paths"][f"{path}/credentials"]["put"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": f"#/components/schemas/{vendor}Credentials"}
    assert schema["components"]["schemas"][f"{vendor}Credentials"]["properties"]["scope_set"]["anyOf"][0] == {
        "type": "string",
        "enum": names,
    }
    status = schema["components"]["schemas"][f"{vendor}IntegrationStatus"]
    assert status["properties"]["scope_set"]["enum"] == names
    assert "Credentials" not in schema["components"]["schemas"]
