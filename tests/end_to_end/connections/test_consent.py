"""The consent: every outcome, what each stores, and what must not be possible."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from tests.support.service import INTEGRATION, PUBLIC_URL, open_harness

CALLBACK = f"{INTEGRATION}/callback"
# What is no plain path of the frontend.
OTHER_PATHS = (
    *("//evil.example", "/\\evil", "https:evil", "evil", "/%2f%2fevil", "/a\r\nSet-Cookie:x", "javascript:alert(1)"),
    *("/a?x=1", "/a#b", "/../../x", "/a//b", "/" + "a" * 300, "/\u2044evil"),
)


async def begin(harness, **wanted):
    """Return the address the browser is sent to, and its state."""
    started = (await harness.call("POST", f"{INTEGRATION}/connect", json=wanted)).json()
    query = parse_qs(urlsplit(started["authorization_url"]).query)
    return started["authorization_url"], query


async def outcome(harness, **params):
    response = await harness.client.get(CALLBACK, params=params)
    assert response.status_code == 303
    return response.headers["location"]


async def consent_without(harness, scope, **wanted):
    """Go through a consent that does not ask for one of its scopes; return how it ended."""
    url, query = await begin(harness, **wanted)
    assert scope in query["scope"][0].split()
    page = await harness.xero.get(url.replace(scope, ""))
    back = await harness.client.get(page.headers["location"])
    return back.headers["location"].rpartition("=")[2]


async def count_stored(harness):
    [row] = await harness.query(
        "SELECT (SELECT count(*) FROM grants) AS grants, (SELECT count(*) FROM tenants) AS tenants"
    )
    return row["grants"], row["tenants"]


async def test_the_address_asks_for_what_the_contract_says(harness):
    url, query = await begin(harness, scope_set="granular")

    assert url.startswith("http://xero.test/identity/connect/authorize?")
    assert query["redirect_uri"] == [f"{PUBLIC_URL}{CALLBACK}"]
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert set(query["scope"][0].split()) == {
        *("openid", "profile", "email", "offline_access"),
        *("accounting.invoices.read", "accounting.payments.read", "accounting.contacts.read"),
    }


async def test_the_redirect_uri_never_comes_from_a_header(harness):
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    started = await harness.call("POST", f"{INTEGRATION}/connect", json={}, headers=headers)
    assert "evil" not in started.text
    assert "evil" not in (await harness.call("GET", INTEGRATION, headers=headers)).text


async def test_a_consent_stores_one_encrypted_token_set_and_lists_no_practice(harness):
    assert await harness.give_consent(return_to="/customers/42") == f"{PUBLIC_URL}/console/customers/42?xero=connected"

    assert await count_stored(harness) == (1, 3)
    [grant] = await harness.query("SELECT access_token_sealed, refresh_token_sealed, scopes FROM grants")
    assert grant["access_token_sealed"].startswith("v1.test.")
    assert grant["refresh_token_sealed"].startswith("v1.test.")
    card = await harness.integration_status()
    assert "accounting.transactions.read" in card["scopes_granted"]
    assert card["connected_by"] == "tester"
    assert card["missing_scopes"] == []


async def test_no_secret_is_returned_or_stored_unencrypted(harness):
    await harness.connect()
    [consent] = await harness.query("SELECT * FROM consents")
    tokens = [
        *harness.simulator.simulator_state.tokens.access_tokens,
        *harness.simulator.simulator_state.tokens.refresh_tokens,
    ]
    dump = str(await harness.query("SELECT * FROM grants")) + str(consent)
    assert tokens
    assert not [token for token in tokens if token in dump or token in str(await harness.integration_status())]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "invalid_state"),
        ({"state": "made-up", "code": "c"}, "invalid_state"),
        ({"code": "c"}, "invalid_state"),
        ({"error": "access_denied"}, "invalid_state"),
    ],
)
async def test_a_callback_without_a_started_consent_changes_nothing(harness, params, expected):
    assert await outcome(harness, **params) == f"{PUBLIC_URL}/console?xero={expected}"
    assert await count_stored(harness) == (0, 0)


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_the_cookie_of_a_consent_is_for_the_callback_alone_and_for_no_script(dsn, scheme):
    async with open_harness(dsn, public_url=f"{scheme}://localhost:8000") as harness:
        started = await harness.call("POST", f"{INTEGRATION}/connect", json={})
    [cookie] = started.headers.get_list("set-cookie")
    _, *attributes = cookie.lower().split("; ")
    expected = {"httponly", "samesite=lax", f"path={CALLBACK}", "max-age=600"}
    assert set(attributes) == expected | ({"secure"} if scheme == "https" else set())


async def test_a_callback_in_another_browser_is_refused_and_does_not_consume_the_state(harness):
    url, query = await begin(harness)
    address = (await harness.xero.get(url)).headers["location"]
    cookies = dict(harness.client.cookies)
    harness.client.cookies.clear()

    assert (await harness.client.get(address)).headers["location"].endswith("?xero=invalid_state")
    for name, value in cookies.items():
        harness.client.cookies.set(name, value)
    assert (await harness.client.get(address)).headers["location"].endswith("?xero=connected")
    assert query["state"]


async def test_of_twenty_simultaneous_callbacks_one_connects_and_one_code_is_exchanged(harness):
    url, _ = await begin(harness)
    address = (await harness.xero.get(url)).headers["location"]
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in harness.client.cookies.items())}

    answers = await asyncio.gather(*(harness.client.get(address, headers=headers) for _ in range(20)))

    ends = sorted(answer.headers["location"].rpartition("=")[2] for answer in answers)
    assert ends == ["connected", *["invalid_state"] * 19]
    exchanged = [call for call in await harness.control("GET", "/ledger") if call["path"].endswith("/connect/token")]
    assert len(exchanged) == 1


async def test_an_expired_state_says_so(harness):
    url, _ = await begin(harness)
    address = (await harness.xero.get(url)).headers["location"]
    await harness.execute("UPDATE consents SET expires_at = wall_clock() - interval '1 second'")
    assert (await harness.client.get(address)).headers["location"].endswith("?xero=expired_state")
    assert await count_stored(harness) == (0, 0)


async def test_a_user_who_refuses_ends_as_denied(harness):
    await harness.control("PUT", "/consent", {"automatic": True, "decision": "cancel"})
    assert (await harness.give_consent()).endswith("?xero=denied")
    assert await count_stored(harness) == (0, 0)


async def test_a_code_that_cannot_be_exchanged_stores_nothing(harness):
    await harness.add_fault("oauth_error", path="/connect/token", times=1)
    assert (await harness.give_consent()).endswith("?xero=exchange_failed")
    assert await count_stored(harness) == (0, 0)


async def test_a_wrong_client_secret_ends_as_a_failed_exchange(dsn):
    async with open_harness(dsn, xero_client_secret="not the secret") as harness:
        assert (await harness.give_consent()).endswith("?xero=exchange_failed")


@pytest.mark.parametrize(
    ("scope_set", "scope", "unread"),
    [
        ("broad", "accounting.transactions.read", {"invoices", "credit_memos", "payments"}),
        ("granular", "accounting.payments.read", {"payments"}),
    ],
)
async def test_a_missing_scope_is_named_until_it_is_granted_and_the_rest_is_synced(harness, scope_set, scope, unread):
    assert await consent_without(harness, scope, scope_set=scope_set) == "missing_scope"

    card = await harness.integration_status()
    assert (card["state"], card["missing_scopes"]) == ("needs_permission", [scope])
    [banner] = [banner for banner in card["banners"] if banner["code"] == "needs_permission"]
    assert scope in banner["body"]
    assert banner["action"]["href"] == f"{INTEGRATION}/connect"
    [tenant_id, *_] = [tenant["tenant_id"] for tenant in (await harness.read(f"{INTEGRATION}/tenants"))["items"]]
    await harness.select_tenants(tenant_id)
    run = await harness.sync()
    assert run["status"] == "partial"
    assert {each["resource"] for each in run["resources"] if each["status"] != "succeeded"} == unread

    assert (await harness.give_consent(scope_set=scope_set)).endswith("?xero=connected")
    card = await harness.integration_status()
    assert (card["state"], card["missing_scopes"]) == ("connected", [])
    assert (await harness.sync())["status"] == "succeeded"


async def test_a_consent_without_offline_access_stores_nothing_and_ends_no_connection(harness):
    assert await consent_without(harness, "offline_access") == "missing_offline_access"
    assert await count_stored(harness) == (0, 0)
    assert (await harness.integration_status())["state"] == "not_connected"

    [tenant_id] = await harness.connect_and_sync()
    grants = await harness.query("SELECT * FROM grants")
    # Xero adds what a user grants to what the user granted before, so this has to be another user.
    other = {"id": "11111111-2222-4333-8444-555555555555", "name": "Other", "tenants": [tenant_id]}
    await harness.control("PUT", "/user", other)
    assert await consent_without(harness, "offline_access") == "missing_offline_access"
    assert await harness.query("SELECT * FROM grants") == grants
    assert (await harness.sync())["status"] == "succeeded"


async def test_tenants_without_billing_data_are_not_listed(dsn):
    async with open_harness(dsn, options={"organisations": 0}) as harness:
        assert (await harness.give_consent()).endswith("?xero=no_tenants")
        assert await count_stored(harness) == (0, 0)


@pytest.mark.parametrize("word", ["invalid_scope", "unauthorized_client"])
async def test_scopes_that_are_refused_when_the_code_is_exchanged_are_told_apart_from_other_failures(harness, word):
    [tenant_id] = await harness.connect_and_sync()
    grant = await harness.query("SELECT * FROM grants")
    await harness.add_fault("oauth_error", path="/connect/token", text=word)
    assert (await harness.give_consent(return_to="/a")).endswith("/a?xero=scope_refused")
    assert await harness.query("SELECT * FROM grants") == grant
    assert (await harness.sync())["status"] == "succeeded"
    assert list(await harness.selected_tenants()) == [tenant_id]


async def test_an_app_that_may_not_ask_for_the_broad_scope_ends_as_refused_by_xero(dsn):
    async with open_harness(dsn, options={"app_may_ask_broad_scopes": False}) as harness:
        assert (await harness.give_consent()).endswith("?xero=scope_refused")
        assert await count_stored(harness) == (0, 0)
        assert (await harness.give_consent(scope_set="granular")).endswith("?xero=connected")
        assert (await harness.integration_status())["scope_set"] == "granular"


async def test_the_return_path_is_a_plain_path_of_the_frontend(harness):
    for path in OTHER_PATHS:
        response = await harness.call("POST", f"{INTEGRATION}/connect", json={"return_to": path})
        assert (path, response.status_code, response.json()["code"]) == (path, 422, "invalid_return_path")


async def test_connect_without_credentials_says_what_to_do(dsn):
    async with open_harness(dsn, xero_client_id=None, xero_client_secret=None) as harness:
        assert (await harness.integration_status())["state"] == "not_configured"
        response = await harness.call("POST", f"{INTEGRATION}/connect", json={})
        assert (response.status_code, response.json()["code"]) == (409, "not_configured")

        given = {"client_id": "SIMULATED-CLIENT", "client_secret": "simulated-secret", "scope_set": "broad"}
        answer = await harness.call("PUT", f"{INTEGRATION}/credentials", json=given)
        assert answer.json()["credentials_managed_by"] == "api"
        assert "simulated-secret" not in answer.text
        assert (await harness.give_consent()).endswith("?xero=connected")


async def test_a_new_secret_alone_keeps_the_scope_set_that_was_chosen(dsn):
    async with open_harness(dsn, xero_client_id=None, xero_client_secret=None) as harness:
        given = {"client_id": "SIMULATED-CLIENT", "client_secret": "old", "scope_set": "granular"}
        await harness.call("PUT", f"{INTEGRATION}/credentials", json=given)
        answer = await harness.call(
            "PUT", f"{INTEGRATION}/credentials", json={"client_id": "SIMULATED-CLIENT", "client_secret": "new"}
        )
        assert answer.json()["scope_set"] == "granular"


async def test_credentials_of_the_environment_cannot_be_changed_here(harness):
    given = {"client_id": "other", "client_secret": "other", "scope_set": "broad"}
    response = await harness.call("PUT", f"{INTEGRATION}/credentials", json=given)
    assert (response.status_code, response.json()["code"]) == (409, "managed_by_environment")
    assert (await harness.integration_status())["credentials_managed_by"] == "environment"


async def test_reconnecting_keeps_the_grant_the_selection_and_the_cursors(harness):
    [tenant_id] = await harness.connect_and_sync()
    before = await harness.query("SELECT id, version FROM grants")
    cursors = await harness.query("SELECT * FROM sync_cursors ORDER BY resource")
    await harness.execute("UPDATE grants SET state = 'reconnect_required', reason = 'x'")
    assert (await harness.integration_status())["state"] == "reconnect_required"

    assert (await harness.give_consent()).endswith("?xero=connected")

    after = await harness.query("SELECT id, version FROM grants")
    assert after[0]["id"] == before[0]["id"]
    assert (await harness.integration_status())["state"] == "connected"
    assert await harness.query("SELECT * FROM sync_cursors ORDER BY resource") == cursors
    selected = [row for row in (await harness.read(f"{INTEGRATION}/tenants"))["items"] if row["selected"]]
    assert [row["tenant_id"] for row in selected] == [tenant_id]


async def test_reconnecting_to_other_organisations_is_refused_and_changes_nothing(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    await harness.execute("UPDATE grants SET state = 'reconnect_required', reason = 'x'")
    other = {"id": "11111111-2222-4333-8444-555555555555", "name": "Other", "tenants": [tenant_ids[1]]}
    await harness.control("PUT", "/user", other)

    assert (await harness.give_consent()).endswith("?xero=different_tenants")

    assert await count_stored(harness) == (1, 3)
    assert (await harness.integration_status())["state"] == "reconnect_required"


async def test_a_second_user_adds_organisations_beside_an_active_connection(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    other = {"id": "11111111-2222-4333-8444-555555555555", "name": "Other", "tenants": [tenant_ids[1]]}
    await harness.control("PUT", "/user", other)

    assert (await harness.give_consent()).endswith("?xero=connected")

    assert await count_stored(harness) == (2, 3)


async def test_disconnecting_deletes_tokens_at_once_even_when_xero_is_down(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.add_fault("refused", path="/connect/revocation")

    card = (await harness.call("POST", f"{INTEGRATION}/disconnect")).json()

    assert card["state"] == "not_connected"
    [grant] = await harness.query("SELECT access_token_sealed, refresh_token_sealed, revoke_token_sealed FROM grants")
    assert (grant["access_token_sealed"], grant["refresh_token_sealed"]) == (None, None)
    assert grant["revoke_token_sealed"]
    assert (await harness.read("/api/invoices", tenant_id=tenant_id))["items"]

    await harness.control("DELETE", "/faults")
    await harness.engine.maintenance.run()
    [grant] = await harness.query("SELECT revoke_token_sealed FROM grants")
    assert grant["revoke_token_sealed"] is None
    assert all(token.is_revoked for token in harness.simulator.simulator_state.tokens.refresh_tokens.values())


async def test_a_crash_while_disconnecting_loses_no_revocation(harness, monkeypatch):
    await harness.connect_and_sync()

    async def die(*_args):
        raise asyncio.CancelledError

    with monkeypatch.context() as moment:
        moment.setattr(harness.engine.connector, "revoke", die)
        with pytest.raises(asyncio.CancelledError):
            await harness.engine.disconnect("tester")
    assert not all(token.is_revoked for token in harness.simulator.simulator_state.tokens.refresh_tokens.values())

    await harness.engine.maintenance.run()
    assert all(token.is_revoked for token in harness.simulator.simulator_state.tokens.refresh_tokens.values())


async def test_a_pending_revocation_does_not_end_a_new_connection(harness):
    await harness.connect_and_sync()
    await harness.add_fault("refused", path="/connect/revocation")
    await harness.call("POST", f"{INTEGRATION}/disconnect")
    await harness.control("DELETE", "/faults")

    assert (await harness.give_consent()).endswith("?xero=connected")
    await harness.engine.maintenance.run()

    assert (await harness.sync())["status"] == "succeeded"
    assert any(not token.is_revoked for token in harness.simulator.simulator_state.tokens.refresh_tokens.values())


async def test_tokens_whose_key_is_missing_can_be_disconnected(harness):
    await harness.connect_and_sync()
    await harness.execute(
        "UPDATE grants SET refresh_token_sealed = 'v1.lost.AAAA', access_token_sealed = 'v1.lost.AAAA',"
        " refreshed_at = now() - interval '2 days'"
    )
    await harness.engine.maintenance.run()

    card = (await harness.call("POST", f"{INTEGRATION}/disconnect")).json()

    assert card["state"] == "not_connected"
    [grant] = await harness.query("SELECT refresh_token_sealed, revoke_token_sealed FROM grants")
    assert (grant["refresh_token_sealed"], grant["revoke_token_sealed"]) == (None, None)


async def test_a_sync_that_needs_a_missing_key_names_it(dsn):
    async with open_harness(dsn) as harness:
        await harness.connect_and_sync()
    async with open_harness(dsn, encryption_keys=SecretStr("other:" + "QkJC" * 10 + "QkI=")) as harness:
        run = await harness.sync()
        assert run["status"] == "failed"
        assert "ENCRYPTION_KEYS" in run["error"]
        [tenant] = [row for row in (await harness.read(f"{INTEGRATION}/tenants"))["items"] if row["selected"]]
        assert tenant["reason"]["code"] == "encryption_key_missing"


async def test_connecting_again_after_a_disconnect_needs_no_new_selection(harness):
    [tenant_id] = await harness.connect_and_sync()
    await harness.call("POST", f"{INTEGRATION}/disconnect")
    assert (await harness.give_consent()).endswith("?xero=connected")
    assert (await harness.integration_status())["state"] == "connected"
    run = await harness.sync()
    assert (run["status"], run["tenant_id"]) == ("succeeded", tenant_id)
