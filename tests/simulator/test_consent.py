"""The login page: which requests it accepts, what the user selects, and the redirect to the app."""

import re

import pytest

from tests.simulator.client import BROAD, CALLBACK, GRANULAR, outcome_of


async def test_the_state_comes_back_unchanged_beside_the_code(anonymous):
    state = "a/b?c=d&é +%"
    assert outcome_of(await anonymous.authorize(state=state))["state"] == state


async def test_without_a_state_none_comes_back(anonymous):
    response = await anonymous.http.get(
        "/identity/connect/authorize",
        params={
            "response_type": "code",
            "client_id": "SIMULATED-CLIENT",
            "redirect_uri": CALLBACK,
            "scope": BROAD,
            "auto": "1",
        },
    )
    assert set(outcome_of(response)) == {"code", "scope"}


async def test_the_login_page_lists_every_tenant_and_forbids_framing(anonymous):
    response = await anonymous.authorize(auto="0")
    assert response.status_code == 200
    assert response.headers["x-frame-options"] == "DENY"
    for organisation in anonymous.state.organisations.values():
        assert organisation.tenant_id in response.text
        assert organisation.name in response.text


async def test_only_selected_organisations_are_connected(anonymous):
    page = (await anonymous.authorize(auto="0")).text
    fields = dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', page))
    fields.pop("auto")
    selected = list(anonymous.state.organisations)[1]
    response = await anonymous.http.post(
        "/identity/connect/authorize", data=fields | {"tenant": selected, "decision": "allow"}
    )
    anonymous.tokens = (await anonymous.redeem(outcome_of(response)["code"])).json()
    assert [row["tenantId"] for row in await anonymous.connections()] == [selected]


async def test_cancel_is_access_denied_and_connects_nothing(anonymous):
    fields = {
        "response_type": "code",
        "client_id": "SIMULATED-CLIENT",
        "redirect_uri": CALLBACK,
        "scope": BROAD,
        "state": "s",
    }
    response = await anonymous.http.post("/identity/connect/authorize", data=fields | {"decision": "cancel"})
    assert outcome_of(response) == {"error": "access_denied", "state": "s"}
    assert anonymous.state.connections.list_all() == []


async def test_the_control_api_can_cancel_or_select_for_the_user(anonymous):
    await anonymous.control("PUT", "/consent", automatic=True, decision="cancel")
    assert outcome_of(await anonymous.authorize(auto="0"))["error"] == "access_denied"
    await anonymous.control("PUT", "/consent", tenants=[anonymous.tenant])
    await anonymous.sign_in(auto="0")
    assert [row["tenantId"] for row in await anonymous.connections()] == [anonymous.tenant]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"scope": "openid accounting.everything"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": f"{BROAD} app.connections"}, "access_denied"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "x", "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
async def test_a_request_that_cannot_be_granted_redirects_with_its_error(anonymous, change, error):
    assert outcome_of(await anonymous.authorize(**change)) == {"error": error, "state": "s"}


@pytest.mark.parametrize("scope", [BROAD, "accounting.transactions"])
async def test_a_new_app_may_not_ask_for_broad_scopes(anonymous, scope):
    await anonymous.control("PATCH", "/options", app_may_ask_broad_scopes=False)
    assert outcome_of(await anonymous.authorize(scope))["error"] == "invalid_scope"
    assert "code" in outcome_of(await anonymous.authorize(GRANULAR))


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "SOMEBODY-ELSE"},
        {"redirect_uri": "http://127.0.0.1:8000/callback"},
        {"redirect_uri": "http://example.com/callback"},
        {"redirect_uri": "not a uri"},
        {"redirect_uri": ""},
    ],
)
async def test_an_unknown_client_or_redirect_uri_gets_an_error_page_and_no_redirect(anonymous, change):
    response = await anonymous.authorize(**change)
    assert response.status_code == 400
    assert "location" not in response.headers
    assert "unauthorized_client" in response.text


async def test_registered_redirect_uris_are_compared_byte_for_byte(anonymous):
    await anonymous.control("PATCH", "/options", redirect_uris=[CALLBACK])
    assert (await anonymous.authorize()).status_code == 302
    assert (await anonymous.authorize(redirect_uri=f"{CALLBACK}/")).status_code == 400
    assert (await anonymous.authorize(redirect_uri=CALLBACK.upper())).status_code == 400


async def test_a_user_connects_only_the_tenants_allowed_to_this_user(anonymous):
    second = list(anonymous.state.organisations)[1]
    await anonymous.control("PUT", "/user", id="6f1c1cf4-0000-4000-8000-000000000001", name="Cam", tenants=[second])
    await anonymous.sign_in()
    assert [row["tenantId"] for row in await anonymous.connections()] == [second]


async def test_later_consents_add_scopes_and_remove_none(anonymous):
    await anonymous.sign_in("offline_access accounting.contacts.read")
    await anonymous.sign_in("offline_access accounting.invoices.read")
    assert set(anonymous.tokens["scope"].split()) == {
        "offline_access",
        "accounting.contacts.read",
        "accounting.invoices.read",
    }
