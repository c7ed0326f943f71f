"""The audit log: every action of a person is in it, and only administrators read it."""

from typing import Any

import pytest

from app.connections.key_rotation import rotate
from tests.support.service import INTEGRATION, open_harness

LOG = f"{INTEGRATION}/audit-log"
CREDENTIALS = {"client_id": "SIMULATED-CLIENT", "client_secret": "simulated-secret"}
CUSTOMER = {"external_id": "psa-1", "name": "A customer of the PSA"}
SERVICE = {
    "external_id": "service-1",
    "customer_external_id": "psa-1",
    "name": "Backup",
    "monthly_amount": "10.00",
    "currency": "NZD",
    "starts_on": "2026-01-01",
}
EVENT = {
    "external_id": "ticket-1",
    "customer_external_id": "psa-1",
    "at": "2026-11-20T10:00:00Z",
    "kind": "ticket",
    "title": "Printer",
}


@pytest.fixture
async def harness(dsn):
    """The service, whose credentials and webhook key are entered in the console."""
    async with open_harness(dsn, xero_client_id=None, xero_client_secret=None, xero_webhook_key=None) as opened:
        yield opened


async def do(harness, method, path, body=None, **options):
    response = await harness.call(method, path, json=body, **options)
    assert response.is_success, response.text
    return response


async def act(harness):
    """Do everything once that is to be found in the audit log, and return the actions in their order."""
    await do(harness, "PUT", f"{INTEGRATION}/credentials", CREDENTIALS)
    await do(harness, "PUT", f"{INTEGRATION}/webhook-key", {"signing_key": "k"})
    await do(harness, "DELETE", f"{INTEGRATION}/webhook-key")
    await do(harness, "POST", f"{INTEGRATION}/connect", {"scope_set": "granular"})
    # A choice that changes nothing is no action.
    await do(harness, "POST", f"{INTEGRATION}/connect", {"scope_set": "granular"})
    [tenant_id, *_] = await harness.connect()
    await harness.select_tenants(tenant_id)
    await harness.run_until_idle()
    await harness.sync()
    await do(harness, "POST", f"{INTEGRATION}/reconcile")
    await do(harness, "POST", f"{INTEGRATION}/webhook-events/replay", {"filter": {}, "reason": "try"})
    await do(harness, "PUT", "/api/psa/customers", {"items": [CUSTOMER]}, role="service")
    await do(harness, "PUT", "/api/psa/services", {"items": [SERVICE]}, role="service")
    await do(harness, "PUT", "/api/psa/timeline-events", {"items": [EVENT]}, role="service")
    link_id = (await harness.read("/api/matches"))["items"][0]["link_id"]
    for action in ("ignore", "unlink", "create"):
        await do(harness, "PUT", f"/api/matches/{link_id}", {"action": action}, role="analyst")
    await rotate(harness.services.db, harness.services.sealer, "command")
    await do(harness, "POST", f"{INTEGRATION}/disconnect")
    return [
        "integration_credentials_updated",
        "webhook_key_updated",
        "webhook_key_deleted",
        "integration_scope_set_updated",
        "xero_connected",
        "tenants_selected",
        "sync_started",
        "reconciliation_started",
        "webhook_events_replayed",
        "psa_customers_received",
        "psa_services_received",
        "psa_timeline_events_received",
        "match_ignored",
        "match_unlinked",
        "match_created",
        "key_rotation_started",
        "keys_rotated",
        "xero_disconnected",
    ]


async def read_all(harness, **filters):
    """Return every entry, four to a page, the oldest first."""
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = await harness.read(LOG, limit=4, **filters, **cursor)
        found += page["items"]
        if page["next_cursor"] is None:
            return found[::-1]
        assert len(page["items"]) == 4
        cursor = {"cursor": page["next_cursor"]}


async def test_every_action_is_written_and_found_by_action_actor_and_time(harness):
    done = await act(harness)
    entries = await read_all(harness)
    assert [entry["action"] for entry in entries] == done
    assert set(entries[0]) == {"id", "at", "actor", "action", "target", "details"}
    assert {entry["actor"] for entry in entries} == {"tester", "command"}
    details = {entry["action"]: entry["details"] for entry in entries}
    assert details["psa_customers_received"] == {"created": 1, "updated": 0, "unchanged": 0}
    assert details["sync_started"] == {"organisations": 1}
    # Two tokens, the client secret, and two consents that were begun and not finished.
    assert details["keys_rotated"]["total"] == 5
    assert "simulated-secret" not in str(entries)

    assert [entry["action"] for entry in await read_all(harness, action="match_ignored")] == ["match_ignored"]
    by_command = await read_all(harness, actor="command")
    assert [entry["action"] for entry in by_command] == ["key_rotation_started", "keys_rotated"]
    since, until = entries[5]["at"], entries[8]["at"]
    assert await read_all(harness, since=since, until=until) == entries[5:9]
    assert await read_all(harness, since=since, until=until, actor="nobody") == []


async def test_only_administrators_read_it_and_a_filter_that_cannot_be_used_is_422(harness):
    for role in ("analyst", "viewer", "service"):
        assert (await harness.call("GET", LOG, role=role)).status_code == 403
    for params in (
        {"since": "0001-01-01T00:00:00+14:00"},
        {"until": "9999-12-31T23:59:59-14:00"},
        {"since": "yesterday"},
        {"since": "2026-11-20T10:00:00"},
        {"actor": "a\0b"},
        {"who": "tester"},
    ):
        assert (await harness.call("GET", LOG, params=params)).status_code == 422, params
    await do(harness, "PUT", f"{INTEGRATION}/credentials", CREDENTIALS)
    await do(harness, "PUT", f"{INTEGRATION}/credentials", CREDENTIALS)
    cursor = (await harness.read(LOG, limit=1))["next_cursor"]
    assert (await harness.call("GET", LOG, params={"cursor": cursor, "actor": "tester"})).status_code == 400


async def test_a_refused_action_leaves_no_entry(harness):
    assert (await harness.call("POST", f"{INTEGRATION}/sync")).status_code == 409
    assert (await harness.call("PUT", f"{INTEGRATION}/tenants", json={"tenant_ids": ["x"]})).status_code == 422
    orphan = {**SERVICE, "customer_external_id": "unknown"}
    refused = await harness.call("PUT", "/api/psa/services", json={"items": [orphan]}, role="service")
    assert refused.status_code == 422
    assert await read_all(harness) == []
