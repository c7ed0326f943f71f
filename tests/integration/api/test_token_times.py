"""Tokens of an issuer whose clock is not ours, as they are sent over HTTP."""

import jwt
import pytest

from tests.support.api import AUDIENCE, NOON, SECRET


async def read_with_token(api, **claims):
    token = jwt.encode({"sub": "ann", "role": "viewer", "aud": AUDIENCE, **claims}, SECRET, algorithm="HS256")
    return await api.client.get("/api/customers", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_a_clock_a_minute_ahead_is_accepted_and_one_further_ahead_is_told_that_the_clocks_differ(api, claim):
    now = int(NOON.timestamp())
    for ahead in (0, 1, 60):
        assert (await read_with_token(api, exp=now + 3600, **{claim: now + ahead})).status_code == 200

    refused = await read_with_token(api, exp=now + 3600, **{claim: now + 61})
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
    assert "the clocks of its issuer and of this service differ" in refused.json()["detail"]
    assert refused.headers["www-authenticate"] == "Bearer"


async def test_an_expired_token_is_refused_to_the_second(api):
    now = int(NOON.timestamp())
    assert (await read_with_token(api, exp=now + 1)).status_code == 200
    refused = await read_with_token(api, exp=now, nbf=now + 30)
    assert "expired" in refused.json()["detail"]
