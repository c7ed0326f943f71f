"""Bearer tokens are accepted only with a valid signature, audience, time and role; keys are fetched and cached."""

import base64
import hmac
import json
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from app.api.auth import Actor, KeySet, TokenVerifier, is_protected, mint_token
from app.api.errors import Problem
from tests.support.api import AUDIENCE, NOON, SECRET, ManualClock

URL = "https://login.test/jwks"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())


class Provider:
    """An identity provider that can be made unreachable; counts the requests for its keys."""

    def __init__(self, *keys):
        self.keys = list(keys)
        self.is_unreachable = False
        self.request_count = 0

    async def fetch_json(self, url):
        assert url == URL
        self.request_count += 1
        if self.is_unreachable:
            raise ConnectionError
        return {"keys": self.keys}


def public(key, kid, **extra):
    algorithm = (
        jwt.algorithms.ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else jwt.algorithms.RSAAlgorithm
    )
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig", **extra}


def claims(**changes):
    now = NOON.timestamp()
    full = {"sub": "ann", "role": "admin", "aud": AUDIENCE, "exp": now + 60, **changes}
    return {name: value for name, value in full.items() if value is not None}


# When the tokens of `sign` expire.
EXPIRY = NOON.timestamp() + 60


def sign(key=SECRET, algorithm="HS256", headers=None, **changes):
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def raw_token(header, payload, signature=b""):
    parts = [json.dumps(header).encode(), json.dumps(payload).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def verifier(secret=SECRET, provider=None, clock=None):
    clock = clock or ManualClock()
    keys = KeySet(URL, provider.fetch_json, clock) if provider else None
    return TokenVerifier(secret, keys, AUDIENCE, clock)


async def rejection_of(token, by=None):
    with pytest.raises(Problem) as caught:
        await (by or verifier()).verify(token)
    return caught.value


async def test_a_minted_token_is_accepted():
    token = mint_token(SECRET, "service", "psa", hours=1, audience=AUDIENCE, now=NOON)
    assert await verifier().verify(token) == Actor("psa", "service", NOON.timestamp() + 3600)


@pytest.mark.parametrize("role", ["admin", "analyst", "viewer", "service"])
async def test_every_role_of_the_contract_is_accepted(role):
    assert (await verifier().verify(sign(role=role))).role == role


@pytest.mark.parametrize("role", [None, "root", "Admin", "", ["admin"], 1])
async def test_an_unknown_role_is_403(role):
    assert (await rejection_of(sign(role=role))).status_code == 403


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": NOON.timestamp()},
        {"exp": NOON.timestamp() - 1},
        {"exp": True},
        {"exp": "9999999999"},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"aud": None},
        {"aud": "another"},
        {"aud": ["another"]},
        {"nbf": NOON.timestamp() + 61},
        {"nbf": "now"},
        {"iat": NOON.timestamp() + 61},
        {"iat": "now"},
        {"sub": "x" * 256},
        {"sub": "a\0b"},
    ],
)
async def test_a_token_with_wrong_times_audience_or_subject_is_401(changes):
    problem = await rejection_of(sign(**changes))
    assert (problem.status_code, problem.headers) == (401, {"WWW-Authenticate": "Bearer"})


@pytest.mark.parametrize("claim", ["nbf", "iat"])
async def test_an_issuer_whose_clock_is_a_minute_ahead_is_believed_and_one_further_ahead_is_told_so(claim):
    assert await verifier().verify(sign(**{claim: NOON.timestamp() + 60}))
    problem = await rejection_of(sign(**{claim: NOON.timestamp() + 60.5}))
    assert problem.status_code == 401
    assert "clocks" in problem.detail
    assert "differ" in problem.detail


async def test_a_clock_that_is_ahead_does_not_lengthen_a_token():
    problem = await rejection_of(sign(exp=NOON.timestamp(), nbf=NOON.timestamp() + 30))
    assert "expired" in problem.detail


async def test_a_token_without_a_subject_is_unnamed():
    assert (await verifier().verify(sign(sub=None))).subject == "unnamed"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "x",
        "é.é.é",
        sign(key="another secret of thirty-two bytes!"),
        sign(algorithm="HS512", key=SECRET * 2),
        raw_token({"alg": "none"}, claims()),
        raw_token({"alg": "None", "typ": "JWT"}, claims()),
        raw_token({"alg": ["HS256"]}, claims()),
        raw_token({"alg": "HS256", "kid": 7}, claims()),
        raw_token({}, claims()),
        raw_token([], claims()),
        sign()[:-4],
        sign() + ".x",
    ],
)
async def test_a_token_without_a_valid_signature_is_401(token):
    assert (await rejection_of(token)).status_code == 401


async def test_a_signature_is_not_valid_for_other_claims():
    header, _, signature = sign(role="viewer").split(".")
    _, body, _ = sign(role="admin").split(".")
    assert (await rejection_of(f"{header}.{body}.{signature}")).status_code == 401


@given(st.text())
async def test_any_text_that_is_no_token_is_401(token):
    assert (await rejection_of(token)).status_code == 401


async def test_a_token_is_verified_with_the_provider_s_key_of_its_id():
    provider = Provider(public(RSA, "r"), public(EC, "e"), {"kty": "oct", "k": "c2VjcmV0", "kid": "s"}, {"kty": "new"})
    by = verifier(None, provider)
    assert await by.verify(sign(RSA, "RS256", {"kid": "r"})) == Actor("ann", "admin", EXPIRY)
    assert await by.verify(sign(EC, "ES256", {"kid": "e"})) == Actor("ann", "admin", EXPIRY)
    for token in [
        sign(OTHER_RSA, "RS256", {"kid": "r"}),
        sign(RSA, "RS256", {"kid": "e"}),
        sign(RSA, "RS256"),
        sign(RSA, "PS256", {"kid": "r"}),
        sign("secret" * 8, "HS256", {"kid": "s"}),
    ]:
        assert (await rejection_of(token, by)).status_code == 401
    assert provider.request_count == 1


async def test_a_public_key_is_not_used_as_an_hs256_secret():
    header, body = {"alg": "HS256", "kid": "r"}, claims()
    signed, _, _ = raw_token(header, body).rpartition(".")
    pem = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    forged = raw_token(header, body, hmac.digest(pem, signed.encode(), "sha256"))
    by = verifier(None, Provider(public(RSA, "r")))
    assert (await rejection_of(forged, by)).status_code == 401


async def test_an_encryption_key_verifies_no_token_and_a_single_key_needs_no_id():
    assert (
        await rejection_of(sign(RSA, "RS256"), verifier(None, Provider(public(RSA, "r", use="enc"))))
    ).status_code == 503
    assert await verifier(None, Provider(public(RSA, "r"))).verify(sign(RSA, "RS256"))


async def test_an_unknown_key_id_causes_a_fetch_at_most_every_ten_seconds():
    clock, provider = ManualClock(), Provider(public(RSA, "r"))
    by = verifier(None, provider, clock)
    later = {"exp": (NOON + timedelta(days=1)).timestamp()}
    assert await by.verify(sign(RSA, "RS256", {"kid": "r"}))
    for _ in range(5):
        assert (await rejection_of(sign(EC, "ES256", {"kid": "e"}), by)).status_code == 401
    assert provider.request_count == 1
    provider.keys.append(public(EC, "e"))
    clock.instant += timedelta(seconds=10)
    assert await by.verify(sign(EC, "ES256", {"kid": "e"}, **later))
    assert provider.request_count == 2


async def test_keys_stay_valid_during_an_outage_of_the_provider_and_a_withdrawn_key_does_not():
    clock, provider = ManualClock(), Provider(public(RSA, "r"))
    by = verifier(None, provider, clock)
    token = sign(RSA, "RS256", {"kid": "r"}, exp=(NOON + timedelta(days=1)).timestamp())
    await by.verify(token)
    provider.is_unreachable = True
    clock.instant += timedelta(hours=2)
    assert await by.verify(token)
    provider.is_unreachable, provider.keys = False, []
    clock.instant += timedelta(hours=2)
    assert await by.verify(token)
    provider.keys = [public(EC, "e")]
    clock.instant += timedelta(hours=2)
    assert (await rejection_of(token, by)).status_code == 401


async def test_an_outage_of_the_provider_before_any_key_was_fetched_is_503_not_401():
    provider = Provider(public(RSA, "r"))
    provider.is_unreachable = True
    problem = await rejection_of(sign(RSA, "RS256", {"kid": "r"}), verifier(None, provider))
    assert (problem.status_code, problem.code) == (503, "identity_unavailable")
    assert problem.headers["Retry-After"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/invoices", True),
        ("/api/nothing/here", True),
        ("/api/integrations/xero/callback", False),
        ("/api/integrations/xero/callback/", True),
        ("/api/webhooks/xero", False),
        ("/api/webhooks/xero/more", True),
        ("/health/live", False),
        ("/docs", False),
        ("/console/app.js", False),
    ],
)
def test_every_path_of_the_api_is_protected_except_the_callback_and_the_webhook(path, expected):
    assert is_protected(path) is expected
