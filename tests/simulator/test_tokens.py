"""The token endpoint: codes, rotation and its grace period, revocation, and every error."""

from base64 import urlsafe_b64encode
from hashlib import sha256

import jwt
import pytest

from tests.simulator.client import BROAD, CALLBACK, CLIENT, outcome_of

MINUTE = 60
DAY = 86_400


def claims_of(token):
    return jwt.decode(token, options={"verify_signature": False})


async def test_the_token_response_has_the_recorded_fields(xero):
    assert set(xero.tokens) == {"id_token", "access_token", "expires_in", "token_type", "refresh_token", "scope"}
    assert (xero.tokens["expires_in"], xero.tokens["token_type"], xero.tokens["scope"]) == (1800, "Bearer", BROAD)


async def test_the_access_token_carries_the_recorded_claims(xero):
    claims = claims_of(xero.tokens["access_token"])
    assert claims["iss"] == "https://identity.xero.com"
    assert claims["aud"] == "https://identity.xero.com/resources"
    assert claims["scope"] == BROAD.split()
    assert claims["xero_userid"] == xero.state.user.id
    assert claims["exp"] - claims["nbf"] == 1800
    assert {"sub", "jti", "auth_time", "global_session_id", "client_id"} <= set(claims)
    assert claims["authentication_event_id"] == (await xero.connections())[0]["authEventId"]


async def test_without_openid_and_offline_access_there_is_neither_id_nor_refresh_token(anonymous):
    await anonymous.sign_in("accounting.contacts.read")
    assert "id_token" not in anonymous.tokens
    assert "refresh_token" not in anonymous.tokens


async def test_client_credentials_may_be_sent_in_the_form(anonymous):
    code = outcome_of(await anonymous.authorize())["code"]
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": CALLBACK,
        "client_id": CLIENT[0],
        "client_secret": CLIENT[1],
    }
    assert (await anonymous.http.post("/connect/token", data=form)).status_code == 200


async def test_a_code_works_once(anonymous):
    code = outcome_of(await anonymous.authorize())["code"]
    assert (await anonymous.redeem(code)).status_code == 200
    again = await anonymous.redeem(code)
    assert (again.status_code, again.json()) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize(("age", "status"), [(5 * MINUTE - 1, 200), (5 * MINUTE, 400)])
async def test_a_code_is_valid_for_five_minutes(anonymous, clock, age, status):
    code = outcome_of(await anonymous.authorize())["code"]
    clock.advance(age)
    assert (await anonymous.redeem(code)).status_code == status


async def test_the_redirect_uri_must_be_the_one_of_the_consent(anonymous):
    code = outcome_of(await anonymous.authorize())["code"]
    response = await anonymous.redeem(code, redirect_uri=f"{CALLBACK}/")
    assert (response.status_code, response.json()) == (400, {"error": "invalid_grant"})


@pytest.mark.parametrize(("verifier", "status"), [("right-verifier", 200), ("wrong", 400), (None, 400)])
async def test_a_code_with_a_challenge_needs_its_verifier(anonymous, verifier, status):
    code_challenge = urlsafe_b64encode(sha256(b"right-verifier").digest()).rstrip(b"=").decode()
    response = await anonymous.authorize(code_challenge=code_challenge, code_challenge_method="S256")
    form = {} if verifier is None else {"code_verifier": verifier}
    assert (await anonymous.redeem(outcome_of(response)["code"], **form)).status_code == status


@pytest.mark.parametrize(
    ("auth", "grant_type", "error"),
    [
        (("SOMEBODY-ELSE", CLIENT[1]), "refresh_token", "invalid_client"),
        ((CLIENT[0], "wrong"), "refresh_token", "invalid_client"),
        (None, "refresh_token", "invalid_client"),
        (CLIENT, "client_credentials", "unauthorized_client"),
        (CLIENT, "password", "unsupported_grant_type"),
        (CLIENT, "refresh_token", "invalid_grant"),
    ],
)
async def test_the_token_endpoint_refuses_with_an_error_code_alone(anonymous, auth, grant_type, error):
    response = await anonymous.http.post("/connect/token", data={"grant_type": grant_type}, auth=auth)
    assert (response.status_code, response.json()) == (400, {"error": error})


async def test_broken_basic_authorization_is_an_invalid_client(anonymous):
    response = await anonymous.http.post("/connect/token", headers={"Authorization": "Basic !!!"})
    assert response.json() == {"error": "invalid_client"}


async def test_every_refresh_returns_a_new_pair_of_tokens(xero):
    first = xero.tokens
    second = (await xero.refresh()).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert (
        claims_of(second["access_token"])["authentication_event_id"]
        == (claims_of(first["access_token"])["authentication_event_id"])
    )


@pytest.mark.parametrize(("later", "status"), [(30 * MINUTE - 1, 200), (30 * MINUTE, 400)])
async def test_a_superseded_refresh_token_is_valid_for_another_thirty_minutes(xero, clock, later, status):
    assert (await xero.refresh()).status_code == 200
    clock.advance(later)
    assert (await xero.refresh()).status_code == status


async def test_using_a_superseded_refresh_token_does_not_extend_its_grace(xero, clock):
    await xero.refresh()
    clock.advance(20 * MINUTE)
    assert (await xero.refresh()).status_code == 200
    clock.advance(20 * MINUTE)
    assert (await xero.refresh()).json() == {"error": "invalid_grant"}


@pytest.mark.parametrize(("age", "status"), [(60 * DAY - 1, 200), (60 * DAY, 400)])
async def test_an_unused_refresh_token_is_valid_for_sixty_days(xero, clock, age, status):
    clock.advance(age)
    assert (await xero.refresh()).status_code == status


async def test_an_access_token_is_valid_for_thirty_minutes(xero, clock):
    clock.advance(30 * MINUTE - 1)
    assert (await xero.get("Invoices", page=1)).status_code == 200
    clock.advance(1)
    response = await xero.get("Invoices", page=1)
    assert response.status_code == 401
    assert response.json()["Detail"] == "TokenExpired: token expired at 11/22/2026 10:30:00"


async def test_the_control_api_can_expire_access_tokens_and_revoke_refresh_tokens(xero):
    await xero.control("POST", "/tokens/expire")
    assert (await xero.get("Invoices", page=1)).json()["Detail"].startswith("TokenExpired")
    xero.tokens = (await xero.refresh()).json()
    assert (await xero.get("Invoices", page=1)).status_code == 200
    await xero.control("POST", "/tokens/revoke")
    assert (await xero.refresh()).json() == {"error": "invalid_grant"}
    assert len(await xero.connections()) == 3, "revoked tokens do not remove connections"


async def test_a_revocation_has_no_body_and_removes_tokens_and_connections(xero):
    other = (await xero.refresh()).json()
    response = await xero.http.post("/connect/revocation", data={"token": xero.tokens["refresh_token"]}, auth=CLIENT)
    assert (response.status_code, response.content) == (200, b"")
    assert (await xero.refresh(other["refresh_token"])).json() == {"error": "invalid_grant"}
    assert await xero.connections() == []
    assert (await xero.get("Invoices", page=1)).status_code == 403


async def test_revoking_one_user_does_not_affect_the_other(xero):
    first = dict(xero.tokens)
    second_user = list(xero.state.users)[1]
    await xero.control("PUT", "/user", id=second_user)
    await xero.sign_in()
    await xero.http.post("/connect/revocation", data={"token": first["refresh_token"]}, auth=CLIENT)
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert (await xero.refresh()).status_code == 200


async def test_a_revocation_needs_client_credentials(xero):
    response = await xero.http.post("/connect/revocation", data={"token": xero.tokens["refresh_token"]})
    assert response.json() == {"error": "invalid_client"}
    assert (await xero.refresh()).status_code == 200


async def test_the_stats_count_each_token_call_by_its_outcome(xero):
    await xero.refresh()
    await xero.refresh("nonsense")
    assert (await xero.control("GET", "/stats"))["token_calls"] == {
        "authorization_code: ok": 1,
        "refresh_token: ok": 1,
        "refresh_token: invalid_grant": 1,
    }
