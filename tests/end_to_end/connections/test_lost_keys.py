"""Lost or wrong encryption keys, and altered secrets: what cannot be decrypted counts as absent, and is repaired."""

import base64
import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from tests.support.service import ENCRYPTION_KEYS, INTEGRATION, open_harness

OTHER = "other:" + "QkJC" * 10 + "QkI="
SAME_ID = ENCRYPTION_KEYS.partition(":")[0] + ":" + "QkJC" * 10 + "QkI="
CREDENTIALS = {"client_id": "SIMULATED-CLIENT", "client_secret": "simulated-secret"}
FROM_THE_CONSOLE = {"xero_client_id": None, "xero_client_secret": None, "xero_webhook_key": None}
SIGNING_KEY = "simulated-webhook-key"
KEYED = {"Idempotency-Key": "key-1"}
NOBODY = "00000000-0000-4000-8000-000000000000"
# Streams until it is closed; ends the connection; deletes what is looked at.
LEFT_OUT = {
    ("get", f"{INTEGRATION}/progress"),
    ("post", f"{INTEGRATION}/disconnect"),
    ("delete", f"{INTEGRATION}/webhook-key"),
}


def with_keys(dsn, keys=ENCRYPTION_KEYS, **settings):
    return open_harness(dsn, encryption_keys=SecretStr(keys), **{**FROM_THE_CONSOLE, **settings})


async def put(harness, path, body, **headers):
    response = await harness.call("PUT", f"{INTEGRATION}{path}", json=body, headers=headers)
    assert response.is_success, response.text
    return response


async def set_up(harness):
    """Set everything up from the console and sync one organisation."""
    await put(harness, "/credentials", CREDENTIALS)
    await put(harness, "/webhook-key", {"signing_key": SIGNING_KEY}, **KEYED)
    return await harness.connect_and_sync()


async def deliver(harness, key):
    """Deliver a probe signed with a key, and return the status."""
    body = b'{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"E"}'
    signature = base64.b64encode(hmac.digest(key.encode(), body, hashlib.sha256)).decode()
    headers = {"x-xero-signature": signature}
    return (await harness.client.post("/api/webhooks/xero", content=body, headers=headers)).status_code


async def banners(harness):
    return {banner["code"]: banner for banner in (await harness.integration_status())["banners"]}


async def check(harness):
    answer = (await harness.call("POST", f"{INTEGRATION}/check")).json()
    return answer["ok"], {one["name"]: one for one in answer["checks"]}


async def call_everything(harness):
    """Call every operation as an administrator, and return those that broke."""
    broken = []
    for path, operations in harness.app.openapi()["paths"].items():
        for method in operations:
            if (method, path) in LEFT_OUT:
                continue
            address = path.replace("{", "").replace("}", "")
            for name in ("customer_id", "invoice_id", "run_id", "link_id", "alert_id", "event_id"):
                address = address.replace(name, NOBODY)
            response = await harness.call(method.upper(), address, json={} if method != "get" else None)
            if response.status_code >= 500:
                broken.append((method, path, response.status_code))
    return broken


async def test_without_the_key_everything_answers_says_which_is_missing_and_can_be_repaired(dsn, logs):
    async with with_keys(dsn) as harness:
        [tenant_id] = await set_up(harness)
        begun = (await harness.call("POST", f"{INTEGRATION}/connect", json={})).json()["authorization_url"]
        cookies = dict(harness.client.cookies)
        assert not [entry for entry in logs if entry["event"] == "encryption_key_missing"]

    async with with_keys(dsn, OTHER) as harness:
        [told] = [entry for entry in logs if entry["event"] == "encryption_key_missing"]
        assert (told["log_level"], told["key_ids"]) == ("error", ["test"])

        card = await harness.integration_status()
        assert (card["state"], card["webhook"]["configured"]) == ("not_configured", False)
        banner = (await banners(harness))["encryption_key_missing"]
        assert (banner["severity"], banner["title"]) == ("critical", "Encryption key missing: test")
        assert banner["action"]["href"].endswith("/credentials")
        ok, checks = await check(harness)
        assert (ok, checks["encryption_keys"]["state"], checks["credentials"]["state"]) == (False, "failed", "failed")
        assert "the key test," in checks["encryption_keys"]["detail"]

        assert await call_everything(harness) == []
        assert await deliver(harness, SIGNING_KEY) == 401
        again = await harness.call(
            "PUT", f"{INTEGRATION}/webhook-key", json={"signing_key": SIGNING_KEY}, headers=KEYED
        )
        assert (again.status_code, again.json()["code"]) == (422, "idempotency_key_reused")
        harness.client.cookies.update(cookies)
        state = parse_qs(urlsplit(begun).query)["state"][0]
        back = await harness.client.get(f"{INTEGRATION}/callback", params={"state": state, "code": "c"})
        assert back.headers["location"].endswith("?xero=invalid_state")

        await put(harness, "/credentials", CREDENTIALS)
        card = await harness.integration_status()
        assert card["state"] == "reconnect_required"
        assert {"encryption_key_missing", "reconnect_required"} <= set(await banners(harness))
        await harness.sync()
        assert (await harness.selected_tenants())[tenant_id]["reason"]["code"] == "encryption_key_missing"

        assert (await harness.give_consent()).endswith("?xero=connected")
        await put(harness, "/webhook-key", {"signing_key": SIGNING_KEY})
        assert await deliver(harness, SIGNING_KEY) == 200
        assert (await harness.sync())["status"] == "succeeded"
        card = await harness.integration_status()
        assert (card["state"], card["webhook"]["configured"]) == ("connected", True)
        # What is left is a reply and the like, which expire by themselves.
        assert [banner["severity"] for banner in card["banners"]] == ["info"]
        assert (await check(harness))[0]


async def test_another_key_of_the_same_id_is_told_from_a_missing_one(dsn, logs):
    async with with_keys(dsn) as harness:
        await set_up(harness)
    async with with_keys(dsn, SAME_ID) as harness:
        assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == ["secrets_unreadable"]
        shown = await banners(harness)
        assert "encryption_key_missing" not in shown
        assert "another key of the same id" in shown["secrets_unreadable"]["body"]
        assert (await check(harness))[1]["encryption_keys"]["state"] == "failed"
        assert await call_everything(harness) == []
        assert (await harness.call("POST", f"{INTEGRATION}/disconnect")).status_code == 200
    async with with_keys(dsn) as harness:
        # The right key is back: what was not replaced meanwhile is good again.
        assert await deliver(harness, SIGNING_KEY) == 200
        assert (await harness.integration_status())["state"] == "not_connected"


async def alter(harness, table, column, where="true"):
    """Change the last but one character of a sealed value, and return how many rows that concerned."""
    changed = f"CASE right({column}, 5) WHEN 'AAAA=' THEN 'BBBB=' ELSE 'AAAA=' END"
    statement = f"UPDATE {table} SET {column} = left({column}, -5) || {changed} WHERE {where} RETURNING 1"  # noqa: S608 - constants
    return len(await harness.query(statement))


async def test_an_altered_access_token_is_refreshed_and_an_altered_refresh_token_is_told(harness):
    [tenant_id] = await harness.connect_and_sync()
    assert await alter(harness, "grants", "access_token_sealed") == 1
    assert (await banners(harness))["secrets_unreadable"]["severity"] == "critical"
    assert (await harness.sync())["status"] == "succeeded"
    assert await banners(harness) == {}
    assert 401 not in {call["status"] for call in await harness.xero_calls()}, "nothing was sent in its place"

    assert await alter(harness, "grants", "refresh_token_sealed") == 1
    assert set(await banners(harness)) == {"secrets_unreadable", "reconnect_required"}
    # The access token is another secret, and good until it expires.
    assert (await harness.sync())["status"] == "succeeded"
    await harness.execute("UPDATE grants SET access_expires_at = wall_clock()")
    assert (await harness.sync())["status"] == "failed"
    assert (await harness.selected_tenants())[tenant_id]["reason"]["code"] == "encryption_key_missing"

    assert (await harness.give_consent()).endswith("?xero=connected")
    assert (await harness.sync())["status"] == "succeeded"
    assert await banners(harness) == {}


async def test_one_altered_webhook_key_leaves_the_others_good(dsn):
    async with with_keys(dsn) as harness:
        for key in ("first", "second", "third"):
            await put(harness, "/webhook-key", {"signing_key": key})
        newest = "created_at = (SELECT max(created_at) FROM webhook_keys)"
        assert await alter(harness, "webhook_keys", "key_sealed", newest) == 1
        harness.engine.receiver.clear_key_cache()
        assert [await deliver(harness, key) for key in ("first", "second", "third")] == [200, 200, 401]
        assert (await banners(harness))["secrets_unreadable"]["action"]["href"].endswith("/webhook-key")
        await put(harness, "/webhook-key", {"signing_key": "fourth"})
        assert [await deliver(harness, key) for key in ("second", "third", "fourth")] == [200, 401, 200]
        assert await banners(harness) == {}


async def test_secrets_that_the_environment_replaces_are_not_asked_for(dsn):
    async with with_keys(dsn) as harness:
        await put(harness, "/credentials", CREDENTIALS)
        await put(harness, "/webhook-key", {"signing_key": SIGNING_KEY})
    async with open_harness(dsn, encryption_keys=SecretStr(OTHER)) as harness:
        assert await banners(harness) == {}
        assert (await check(harness))[1]["encryption_keys"]["state"] == "passed"
