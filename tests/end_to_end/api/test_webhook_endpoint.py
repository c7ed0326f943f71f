"""The webhook endpoint: signatures over raw bytes, probes, sizes, keys, and the response to each."""

import asyncio
import hashlib
import hmac
import json
import time
from uuid import uuid4

from pydantic import SecretStr
from sqlalchemy import event

from app.db import DatabaseUnavailable
from tests.support.service import INTEGRATION, open_harness
from tests.support.webhooks import HOOK, KEY, PROBE, delivery, sign

# A signature that Xero could have made, with another key.
MISFIT = sign(b"", "another key")


async def post(harness, body, *signatures):
    headers = [("x-xero-signature", signature) for signature in signatures]
    return await harness.client.post(HOOK, content=body, headers=[*headers, ("content-type", "application/json")])


async def test_a_probe_is_answered_and_its_time_is_shown_in_the_integration_status(harness):
    response = await post(harness, PROBE, sign(PROBE))
    assert (response.status_code, response.json()) == (200, {"stored": 0})
    assert "set-cookie" not in response.headers
    assert (await harness.integration_status())["webhook"]["last_intent_to_receive_at"] is not None


async def test_anything_but_the_right_signature_is_401(harness):
    others = (
        (),
        ("",),
        ("/" + sign(PROBE)[1:],),
        (sign(PROBE), sign(PROBE)),
        (hmac.digest(KEY.encode(), PROBE, hashlib.sha256).hex(),),
        (sign(PROBE)[:-1],),
        ("caf\u00e9".encode(),),
        (f"{sign(PROBE)} x",),
        (sign(PROBE, "another key"),),
    )
    for signatures in others:
        assert (signatures, (await post(harness, PROBE, *signatures)).status_code) == (signatures, 401)
    await harness.engine.receiver.close()
    assert (await harness.integration_status())["webhook"]["signature_failures_24h"] == len(others)


async def test_wrong_probes_beside_a_right_one_are_no_mismatch(harness):
    await post(harness, PROBE, MISFIT)
    assert "webhook_signature_mismatch" in await harness.banner_codes()
    await post(harness, PROBE, sign(PROBE))
    await post(harness, PROBE, MISFIT)
    assert "webhook_signature_mismatch" not in await harness.banner_codes()


async def test_deliveries_without_a_signature_that_the_vendor_could_have_made_are_counted_and_are_no_mismatch(harness):
    for signatures in ((), ("wrong",), (MISFIT, MISFIT), (MISFIT[:-1],)):
        assert (await post(harness, PROBE, *signatures)).status_code == 401
    await harness.engine.receiver.close()
    status = await harness.integration_status()
    assert status["webhook"]["signature_failures_24h"] == 4
    assert [banner["code"] for banner in status["banners"]] == []


async def test_a_flood_of_wrong_signatures_writes_and_reads_the_database_once_a_second(harness):
    await post(harness, PROBE, sign(PROBE))
    statements = []
    event.listen(
        harness.services.deliveries_db.engine.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, *_: statements.append(statement),
    )
    began = time.monotonic()
    for _ in range(20):
        responses = await asyncio.gather(*(post(harness, PROBE, MISFIT) for _ in range(10)))
        assert {response.status_code for response in responses} == {401}
    await harness.engine.receiver.close()
    seconds = time.monotonic() - began
    reads = sum("FROM webhook_keys" in statement for statement in statements)
    writes = sum("webhook_signature_failures" in statement for statement in statements)
    assert 1 <= reads <= 2 + seconds * 1.2
    assert 1 <= writes <= 2 + seconds
    assert (await harness.integration_status())["webhook"]["signature_failures_24h"] == 200


async def test_requests_are_counted_by_the_whole_path_of_a_vendor_s_route(harness):
    await post(harness, PROBE, sign(PROBE))
    await harness.integration_status()
    await harness.read(f"{INTEGRATION}/webhook-events")
    lines = (await harness.client.get("/metrics")).text.splitlines()
    for method, route in (("POST", HOOK), ("GET", INTEGRATION), ("GET", f"{INTEGRATION}/webhook-events")):
        assert f'http_requests_total{{method="{method}",route="{route}",status="200"}} 1.0' in lines
    # The events of one id have another route, of which no id is a label.
    await harness.call("POST", f"{INTEGRATION}/webhook-events/{uuid4()}/dismiss", json={"reason": "x"})
    counted = (await harness.client.get("/metrics")).text
    assert f'route="{INTEGRATION}/webhook-events/{{event_id}}/dismiss",status="404"' in counted


async def test_the_signature_is_checked_over_the_bytes_as_received(harness):
    spaced = json.dumps(json.loads(PROBE), indent=4).encode()
    assert (await post(harness, spaced, sign(PROBE))).status_code == 401
    assert (await post(harness, spaced, sign(spaced))).status_code == 200


async def test_each_event_is_stored_once_however_often_it_is_delivered(harness):
    first = delivery()
    again = first.replace(b'"X"', b'"Y"')
    assert (await post(harness, first, sign(first))).json() == {"stored": 1}
    assert (await post(harness, again, sign(again))).json() == {"stored": 0}
    [event] = (await harness.read(f"{INTEGRATION}/webhook-events"))["items"]
    assert (event["deliveries"], event["status"], event["event_type"]) == (2, "ignored", "UPDATE")
    assert event["event_at"] == "2026-11-02T00:44:09.923000Z"


async def test_an_unreadable_body_with_a_valid_signature_is_accepted_and_stored_for_a_person_to_look_at(harness):
    for body in (b"not json", b'{"events": 7}', b"[" * 5000, b"\xff\xfe", b'{"events": [{"a": NaN}]}'):
        response = await post(harness, body, sign(body))
        assert (response.status_code, response.json()) == (200, {"stored": 0}), body[:20]
    events = (await harness.read(f"{INTEGRATION}/webhook-events"))["items"]
    assert {event["status"] for event in events} <= {"dead", "ignored"}
    assert len(events) >= 4


async def test_a_body_over_a_mebibyte_is_413(harness):
    body = b" " * (1024 * 1024 + 1)
    assert (await post(harness, body, sign(body))).status_code == 413


async def test_without_a_key_everything_is_401(dsn):
    async with open_harness(dsn, xero_webhook_key=None) as harness:
        assert (await post(harness, PROBE, sign(PROBE))).status_code == 401
        assert (
            await harness.call("PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": "first"})
        ).status_code == 204
        assert (await post(harness, PROBE, sign(PROBE, "first"))).status_code == 200

        await harness.call("PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": "second"})
        assert (await post(harness, PROBE, sign(PROBE, "second"))).status_code == 200
        assert (await post(harness, PROBE, sign(PROBE, "first"))).status_code == 200
        await harness.execute("UPDATE webhook_keys SET expires_at = wall_clock() WHERE expires_at IS NOT NULL")
        harness.engine.receiver.clear_key_cache()
        assert (await post(harness, PROBE, sign(PROBE, "first"))).status_code == 401

        assert (await harness.call("DELETE", f"{INTEGRATION}/webhook-key")).status_code == 204
        assert (await post(harness, PROBE, sign(PROBE, "second"))).status_code == 401


async def test_the_previous_key_of_the_environment_is_good_as_long_as_it_is_set(dsn):
    new, old = SecretStr("new"), SecretStr("old")
    async with open_harness(dsn, xero_webhook_key=new, xero_webhook_key_previous=old) as harness:
        for key, status in (("new", 200), ("old", 200), ("older", 401)):
            assert (await post(harness, PROBE, sign(PROBE, key))).status_code == status
        changed = await harness.call("PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": "other"})
        assert changed.status_code == 409
    async with open_harness(dsn, xero_webhook_key=new) as harness:
        assert (await post(harness, PROBE, sign(PROBE, "old"))).status_code == 401


async def test_a_key_set_on_another_replica_is_valid_at_once(dsn):
    async with open_harness(dsn, xero_webhook_key=None) as harness, open_harness(dsn, xero_webhook_key=None) as other:
        await harness.call("PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": "first"})
        assert (await post(other, PROBE, sign(PROBE, "first"))).status_code == 200
        await harness.call("PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": "second"})
        assert (await post(other, PROBE, sign(PROBE, "second"))).status_code == 200
        assert (await post(other, PROBE, sign(PROBE, "first"))).status_code == 200


async def test_the_acknowledgement_may_be_empty(dsn):
    async with open_harness(dsn, xero_webhook_ack="empty") as harness:
        good, bad = await post(harness, PROBE, sign(PROBE)), await post(harness, PROBE, "wrong")
        assert (good.status_code, good.content) == (200, b"")
        assert (bad.status_code, bad.content) == (401, b"")


async def test_while_the_database_is_unavailable_a_probe_is_accepted_and_events_are_refused(harness, monkeypatch):
    def fail():
        raise DatabaseUnavailable("unavailable")

    monkeypatch.setattr(harness.services.deliveries_db, "transaction", fail)
    body = delivery()
    assert (await post(harness, PROBE, sign(PROBE))).status_code == 200
    assert (await post(harness, PROBE, "wrong")).status_code == 401
    refused = await post(harness, body, sign(body))
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")


async def test_events_of_unknown_categories_are_stored_as_ignored_and_cost_no_call(harness):
    [tenant_id] = await harness.connect_and_sync()
    calls = len(await harness.xero_calls())
    body = delivery(tenant_id, eventCategory="OVERPAYMENT")
    assert (await post(harness, body, sign(body))).json() == {"stored": 1}
    body = delivery(tenant_id, eventCategory="SUBSCRIPTION", tenantType="APPLICATION", number=2)
    assert (await post(harness, body, sign(body))).json() == {"stored": 1}
    await harness.run_until_idle()
    events = (await harness.read(f"{INTEGRATION}/webhook-events"))["items"]
    assert {event["status"] for event in events} == {"ignored"}
    assert len(await harness.xero_calls()) == calls


async def test_the_integration_status_counts_events_that_wait_and_events_that_failed(harness):
    await harness.execute(
        "INSERT INTO xero_webhook_events (vendor, tenant_id, resource_id, category, event_type, event_at, status,"
        " payload, received_at) SELECT vendor, 't', vendor || status || number, 'INVOICE', 'UPDATE', now(), status,"
        " '{}', timestamptz '2026-11-01 10:00Z' + number * interval '1 hour'"
        " FROM (VALUES ('pending', 3), ('failed', 2), ('dead', 1), ('processed', 4), ('ignored', 1)) AS has(status, n),"
        " unnest(ARRAY['xero', 'other']) AS vendor, generate_series(1, CASE vendor WHEN 'xero' THEN n ELSE 9 END)"
        " AS number"
    )

    webhook = (await harness.integration_status())["webhook"]

    assert (webhook["pending"], webhook["failed"]) == (3, 3)
    assert webhook["last_event_at"] == "2026-11-01T14:00:00Z"
