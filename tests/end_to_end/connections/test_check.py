"""The pre-flight check: each check passes, fails or has to wait for a step of the set-up, and nothing is assumed."""

import pytest
from pydantic import SecretStr

from tests.support.service import INTEGRATION, open_harness

ID, SECRET = "SIMULATED-CLIENT", "simulated-secret"


async def check(harness):
    """Return the answer of the check, and its checks by name; each that did not pass says what to do."""
    response = await harness.call("POST", f"{INTEGRATION}/check")
    assert response.status_code == 200, response.text
    answer = response.json()
    checks = {one["name"]: one for one in answer["checks"]}
    assert answer["ok"] == all(one["ok"] for one in checks.values())
    assert all(one["ok"] == (one["state"] == "passed") for one in checks.values())
    assert all(one["fix"] for one in checks.values() if not one["ok"])
    return answer, checks


def states(checks):
    return {name: one["state"] for name, one in checks.items() if one["state"] != "passed"}


async def save_secret(harness, secret):
    body = {"client_id": ID, "client_secret": secret}
    assert (await harness.call("PUT", f"{INTEGRATION}/credentials", json=body)).status_code == 200


async def test_the_check_follows_the_set_up_and_tries_the_secret_at_xero(dsn):
    async with open_harness(dsn, xero_client_id=None, xero_client_secret=None, xero_webhook_key=None) as harness:
        answer, checks = await check(harness)
        steps = ("credentials", "connection", "scopes", "organisations")
        assert (answer["ok"], states(checks)) == (False, dict.fromkeys(steps, "not_yet"))
        assert answer["summary"] == "Client id and secret are missing."
        assert checks["webhook_key"]["ok"], "the key is optional"

        await save_secret(harness, "not the secret")
        answer, checks = await check(harness)
        assert states(checks) == {**dict.fromkeys(steps, "not_yet"), "credentials": "failed"}
        assert "invalid_client" in checks["credentials"]["detail"]
        assert answer["summary"] == checks["credentials"]["detail"]

        await save_secret(harness, SECRET)
        assert states((await check(harness))[1]) == dict.fromkeys(steps[1:], "not_yet")
        await harness.add_fault("unavailable", path="/connect/token")
        _, checks = await check(harness)
        assert checks["credentials"]["state"] == "failed"
        assert "did not say whether" in checks["credentials"]["detail"]

        tenant_ids = await harness.connect()
        assert states((await check(harness))[1]) == {"organisations": "not_yet"}
        await harness.select_tenants(*tenant_ids)
        answer, checks = await check(harness)
        assert (answer["ok"], answer["summary"]) == (True, "Connected to Xero: 3 organisations visible.")


async def test_a_new_secret_at_xero_is_noticed_while_the_access_token_is_still_good(harness):
    await harness.select_tenants(*await harness.connect())
    await harness.control("PATCH", "/options", {"client_secret": "a new one"})
    _, checks = await check(harness)
    assert states(checks) == {"credentials": "failed"}


async def test_each_picked_organisation_is_read_once_and_one_that_cannot_be_read_fails(harness):
    tenant_ids = await harness.connect()
    picked, other = tenant_ids[:2], tenant_ids[2]
    await harness.select_tenants(*picked)
    await harness.control("DELETE", "/ledger")
    assert (await check(harness))[0]["ok"]
    calls = await harness.xero_calls()
    assert sorted(call["tenant_id"] for call in calls) == sorted(picked)
    listed = await harness.selected_tenants()
    assert [listed[tenant_id]["calls_today"] for tenant_id in picked] == [1, 1]

    await harness.add_fault("organisation_offline", tenant_id=other, times=None)
    assert (await check(harness))[0]["ok"]
    await harness.add_fault("organisation_offline", tenant_id=picked[0], times=None)
    _, checks = await check(harness)
    assert states(checks) == {"organisations": "failed"}
    detail = checks["organisations"]["detail"]
    assert detail.startswith(f"1 of 2 picked organisations could not be read. {listed[picked[0]]['name']}: ")
    assert listed[picked[1]]["name"] not in detail


@pytest.mark.parametrize("kind", ["forbidden", "limit_day", "limit_concurrent", "server_error", "scope_missing"])
async def test_a_failure_of_any_kind_is_told_at_once_and_not_waited_out(harness, kind):
    [picked, *_] = await harness.connect()
    await harness.select_tenants(picked)
    await harness.control("DELETE", "/ledger")
    await harness.add_fault(kind, tenant_id=picked, times=None)
    _, checks = await check(harness)
    assert checks["organisations"]["state"] == "failed"
    assert len(await harness.xero_calls()) == 1


async def test_a_dead_connection_fails_and_says_why(harness):
    await harness.connect_and_sync()
    await harness.control("POST", "/tokens/revoke", {})
    await harness.control("POST", "/tokens/expire")
    await harness.sync()
    _, checks = await check(harness)
    assert states(checks) == {"connection": "failed", "organisations": "failed"}
    assert "connect Xero again" in checks["connection"]["detail"]


async def test_the_check_of_an_app_that_the_environment_sets_is_tried_too(dsn):
    async with open_harness(dsn, xero_client_secret=SecretStr("not the secret")) as harness:
        assert (await check(harness))[1]["credentials"]["state"] == "failed"
