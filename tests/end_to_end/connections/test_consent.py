"""The consent: every outcome, what each stores, and what must not be possible."""

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from tests.support.service import CARD, HOME, open_world

CALLBACK = f"{CARD}/callback"


async def begin(world, **wanted):
    """Return the address the browser is sent to, and its state."""
    started = (await world.call("POST", f"{CARD}/connect", json=wanted)).json()
    query = parse_qs(urlsplit(started["authorization_url"]).query)
    return started["authorization_url"], query


async def outcome(world, **params):
    response = await world.client.get(CALLBACK, params=params)
    assert response.status_code == 303
    return response.headers["location"]


async def count_stored(world):
    [row] = await world.rows(
        "SELECT (SELECT count(*) FROM grants) AS grants, (SELECT count(*) FROM tenants) AS tenants"
    )
    return row["grants"], row["tenants"]


async def test_the_address_asks_for_what_the_contract_says(world):
    url, query = await begin(world, scope_set="granular")

    assert url.startswith("http://xero.test/identity/connect/authorize?")
    assert query["redirect_uri"] == [f"{HOME}{CALLBACK}"]
    assert query["response_type"] == ["code"]
    assert query["code_challenge_method"] == ["S256"]
    assert set(query["scope"][0].split()) == {
        *("openid", "profile", "email", "offline_access"),
        *("accounting.invoices.read", "accounting.payments.read", "accounting.contacts.read"),
    }


async def test_the_redirect_uri_never_comes_from_a_header(world):
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}
    started = await world.call("POST", f"{CARD}/connect", json={}, headers=headers)
    assert "evil" not in started.text
    assert "evil" not in (await world.call("GET", CARD, headers=headers)).text


async def test_a_consent_stores_one_encrypted_token_set_and_lists_no_practice(world):
    assert await world.consent(return_to="/customers/42") == f"{HOME}/console/customers/42?xero=connected"

    assert await count_stored(world) == (1, 3)
    [grant] = await world.rows("SELECT access_token_sealed, refresh_token_sealed, scopes FROM grants")
    assert grant["access_token_sealed"].startswith("v1.test.")
    assert grant["refresh_token_sealed"].startswith("v1.test.")
    card = await world.card()
    assert "accounting.transactions.read" in card["scopes_granted"]
    assert card["connected_by"] == "tester"
    assert card["missing_scopes"] == []


async def test_no_secret_is_returned_or_stored_unencrypted(world):
    await world.connect()
    [consent] = await world.rows("SELECT * FROM consents")
    tokens = [
        *world.xero_app.simulator_state.tokens.access_tokens,
        *world.xero_app.simulator_state.tokens.refresh_tokens,
    ]
    dump = str(await world.rows("SELECT * FROM grants")) + str(consent)
    assert tokens
    assert not [token for token in tokens if token in dump or token in str(await world.card())]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "invalid_state"),
        ({"state": "made-up", "code": "c"}, "invalid_state"),
        ({"code": "c"}, "invalid_state"),
        ({"error": "access_denied"}, "invalid_state"),
    ],
)
async def test_a_callback_without_a_started_consent_changes_nothing(world, params, expected):
    assert await outcome(world, **params) == f"{HOME}/console?xero={expected}"
    assert await count_stored(world) == (0, 0)


async def test_a_callback_in_another_browser_is_refused_and_does_not_consume_the_state(world):
    url, query = await begin(world)
    address = (await world.xero.get(url)).headers["location"]
    cookies = dict(world.client.cookies)
    world.client.cookies.clear()

    assert (await world.client.get(address)).headers["location"].endswith("?xero=invalid_state")
    for name, value in cookies.items():
        world.client.cookies.set(name, value)
    assert (await world.client.get(address)).headers["location"].endswith("?xero=connected")
    assert query["state"]


async def test_of_twenty_simultaneous_callbacks_one_connects_and_one_code_is_exchanged(world):
    url, _ = await begin(world)
    address = (await world.xero.get(url)).headers["location"]
    headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in world.client.cookies.items())}

    answers = await asyncio.gather(*(world.client.get(address, headers=headers) for _ in range(20)))

    ends = sorted(answer.headers["location"].rpartition("=")[2] for answer in answers)
    assert ends == ["connected", *["invalid_state"] * 19]
    exchanged = [call for call in await world.control("GET", "/ledger") if call["path"].endswith("/connect/token")]
    assert len(exchanged) == 1


async def test_an_expired_state_says_so(world):
    url, _ = await begin(world)
    address = (await world.xero.get(url)).headers["location"]
    await world.execute("UPDATE consents SET expires_at = wall_clock() - interval '1 second'")
    assert (await world.client.get(address)).headers["location"].endswith("?xero=expired_state")
    assert await count_stored(world) == (0, 0)


async def test_a_user_who_refuses_ends_as_denied(world):
    await world.control("PUT", "/consent", {"automatic": True, "decision": "cancel"})
    assert (await world.consent()).endswith("?xero=denied")
    assert await count_stored(world) == (0, 0)


async def test_a_code_that_cannot_be_exchanged_stores_nothing(world):
    await world.fault("oauth_error", path="/connect/token", times=1)
    assert (await world.consent()).endswith("?xero=exchange_failed")
    assert await count_stored(world) == (0, 0)


async def test_a_wrong_client_secret_ends_as_a_failed_exchange(dsn):
    async with open_world(dsn, xero_client_secret="not the secret") as world:
        assert (await world.consent()).endswith("?xero=exchange_failed")


async def test_tenants_without_billing_data_are_not_listed(dsn):
    async with open_world(dsn, options={"organisations": 0}) as world:
        assert (await world.consent()).endswith("?xero=no_tenants")
        assert await count_stored(world) == (0, 0)


async def test_an_app_that_may_not_ask_for_the_broad_scope_ends_as_refused_by_xero(dsn):
    async with open_world(dsn, options={"app_may_ask_broad_scopes": False}) as world:
        assert (await world.consent()).endswith("?xero=exchange_failed")
        assert (await world.consent(scope_set="granular")).endswith("?xero=connected")
        assert (await world.card())["scope_set"] == "granular"


@pytest.mark.parametrize(
    "path",
    [
        *(
            "//evil.example",
            "/\\evil",
            "https:evil",
            "evil",
            "/%2f%2fevil",
            "/a\r\nSet-Cookie:x",
            "javascript:alert(1)",
        ),
        *("/a?x=1", "/a#b", "/../../x", "/a//b", "/" + "a" * 300, "/\u2044evil"),
    ],
)
async def test_the_return_path_is_a_plain_path_of_the_frontend(world, path):
    response = await world.call("POST", f"{CARD}/connect", json={"return_to": path})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_return_path")


async def test_connect_without_credentials_says_what_to_do(dsn):
    async with open_world(dsn, xero_client_id=None, xero_client_secret=None) as world:
        assert (await world.card())["state"] == "not_configured"
        response = await world.call("POST", f"{CARD}/connect", json={})
        assert (response.status_code, response.json()["code"]) == (409, "not_configured")

        given = {"client_id": "SIMULATED-CLIENT", "client_secret": "simulated-secret", "scope_set": "broad"}
        answer = await world.call("PUT", f"{CARD}/credentials", json=given)
        assert answer.json()["credentials_managed_by"] == "api"
        assert "simulated-secret" not in answer.text
        assert (await world.consent()).endswith("?xero=connected")


async def test_a_new_secret_alone_keeps_the_scope_set_that_was_chosen(dsn):
    async with open_world(dsn, xero_client_id=None, xero_client_secret=None) as world:
        given = {"client_id": "SIMULATED-CLIENT", "client_secret": "old", "scope_set": "granular"}
        await world.call("PUT", f"{CARD}/credentials", json=given)
        answer = await world.call(
            "PUT", f"{CARD}/credentials", json={"client_id": "SIMULATED-CLIENT", "client_secret": "new"}
        )
        assert answer.json()["scope_set"] == "granular"


async def test_credentials_of_the_environment_cannot_be_changed_here(world):
    given = {"client_id": "other", "client_secret": "other", "scope_set": "broad"}
    response = await world.call("PUT", f"{CARD}/credentials", json=given)
    assert (response.status_code, response.json()["code"]) == (409, "managed_by_environment")
    assert (await world.card())["credentials_managed_by"] == "environment"


async def test_reconnecting_keeps_the_grant_the_selection_and_the_cursors(world):
    [tenant_id] = await world.ready()
    before = await world.rows("SELECT id, version FROM grants")
    cursors = await world.rows("SELECT * FROM sync_cursors ORDER BY resource")
    await world.execute("UPDATE grants SET state = 'reconnect_required', reason = 'x'")
    assert (await world.card())["state"] == "reconnect_required"

    assert (await world.consent()).endswith("?xero=connected")

    after = await world.rows("SELECT id, version FROM grants")
    assert after[0]["id"] == before[0]["id"]
    assert (await world.card())["state"] == "connected"
    assert await world.rows("SELECT * FROM sync_cursors ORDER BY resource") == cursors
    selected = [row for row in (await world.read(f"{CARD}/tenants"))["items"] if row["selected"]]
    assert [row["tenant_id"] for row in selected] == [tenant_id]


async def test_reconnecting_to_other_organisations_is_refused_and_changes_nothing(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])
    await world.execute("UPDATE grants SET state = 'reconnect_required', reason = 'x'")
    other = {"id": "11111111-2222-4333-8444-555555555555", "name": "Other", "tenants": [tenant_ids[1]]}
    await world.control("PUT", "/user", other)

    assert (await world.consent()).endswith("?xero=different_tenants")

    assert await count_stored(world) == (1, 3)
    assert (await world.card())["state"] == "reconnect_required"


async def test_a_second_user_adds_organisations_beside_an_active_connection(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])
    other = {"id": "11111111-2222-4333-8444-555555555555", "name": "Other", "tenants": [tenant_ids[1]]}
    await world.control("PUT", "/user", other)

    assert (await world.consent()).endswith("?xero=connected")

    assert await count_stored(world) == (2, 3)


async def test_disconnecting_deletes_tokens_at_once_even_when_xero_is_down(world):
    [tenant_id] = await world.ready()
    await world.fault("refused", path="/connect/revocation")

    card = (await world.call("POST", f"{CARD}/disconnect")).json()

    assert card["state"] == "not_connected"
    [grant] = await world.rows("SELECT access_token_sealed, refresh_token_sealed, revoke_token_sealed FROM grants")
    assert (grant["access_token_sealed"], grant["refresh_token_sealed"]) == (None, None)
    assert grant["revoke_token_sealed"]
    assert (await world.read("/api/invoices", tenant_id=tenant_id))["items"]

    await world.control("DELETE", "/faults")
    await world.engine.maintenance.run()
    [grant] = await world.rows("SELECT revoke_token_sealed FROM grants")
    assert grant["revoke_token_sealed"] is None
    assert all(token.is_revoked for token in world.xero_app.simulator_state.tokens.refresh_tokens.values())


async def test_a_crash_while_disconnecting_loses_no_revocation(world, monkeypatch):
    await world.ready()

    async def die(*_args):
        raise asyncio.CancelledError

    with monkeypatch.context() as moment:
        moment.setattr(world.engine.connector, "revoke", die)
        with pytest.raises(asyncio.CancelledError):
            await world.engine.disconnect("tester")
    assert not all(token.is_revoked for token in world.xero_app.simulator_state.tokens.refresh_tokens.values())

    await world.engine.maintenance.run()
    assert all(token.is_revoked for token in world.xero_app.simulator_state.tokens.refresh_tokens.values())


async def test_a_pending_revocation_does_not_end_a_new_connection(world):
    await world.ready()
    await world.fault("refused", path="/connect/revocation")
    await world.call("POST", f"{CARD}/disconnect")
    await world.control("DELETE", "/faults")

    assert (await world.consent()).endswith("?xero=connected")
    await world.engine.maintenance.run()

    assert (await world.sync())["status"] == "succeeded"
    assert any(not token.is_revoked for token in world.xero_app.simulator_state.tokens.refresh_tokens.values())


async def test_tokens_whose_key_is_missing_can_be_disconnected(world):
    await world.ready()
    await world.execute(
        "UPDATE grants SET refresh_token_sealed = 'v1.lost.AAAA', access_token_sealed = 'v1.lost.AAAA',"
        " refreshed_at = now() - interval '2 days'"
    )
    await world.engine.maintenance.run()

    card = (await world.call("POST", f"{CARD}/disconnect")).json()

    assert card["state"] == "not_connected"
    [grant] = await world.rows("SELECT refresh_token_sealed, revoke_token_sealed FROM grants")
    assert (grant["refresh_token_sealed"], grant["revoke_token_sealed"]) == (None, None)


async def test_a_sync_that_needs_a_missing_key_names_it(dsn):
    async with open_world(dsn) as world:
        await world.ready()
    async with open_world(dsn, encryption_keys=SecretStr("other:" + "QkJC" * 10 + "QkI=")) as world:
        run = await world.sync()
        assert run["status"] == "failed"
        assert "ENCRYPTION_KEYS" in run["error"]
        [tenant] = [row for row in (await world.read(f"{CARD}/tenants"))["items"] if row["selected"]]
        assert tenant["reason"]["code"] == "encryption_key_missing"


async def test_connecting_again_after_a_disconnect_needs_no_new_selection(world):
    [tenant_id] = await world.ready()
    await world.call("POST", f"{CARD}/disconnect")
    assert (await world.consent()).endswith("?xero=connected")
    assert (await world.card())["state"] == "connected"
    run = await world.sync()
    assert (run["status"], run["tenant_id"]) == ("succeeded", tenant_id)
