"""Consent and tokens: what is sent byte for byte, and that only Xero's own word means a dead grant."""

import base64
import hashlib
import json
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
import respx

from app.connector import (
    AnswerUnreadable,
    AppRejected,
    ConnectorError,
    ConsentRequest,
    GrantRefused,
    RateLimited,
    RequestRejected,
    ScopeRefused,
    TokenSet,
    VendorUnavailable,
)
from tests.support.xero_samples import APP, IDENTITY, connected

USER, EVENT = "4E7C1B2A-0000-4000-8000-00000000000A", "D99ECDFE-0000-4000-8000-00000000000B"
GRANULAR_WORDS = "openid profile email offline_access accounting.invoices.read accounting.payments.read"
REQUEST = ConsentRequest("CLIENT", "http://localhost:8000/api/integrations/xero/callback", "broad", "st&te", "verifier")


def jwt(**claims):
    return ".".join(
        base64.urlsafe_b64encode(part).rstrip(b"=").decode()
        for part in (b'{"alg":"RS256"}', json.dumps(claims).encode(), b"signature")
    )


ACCESS_TOKEN = jwt(xero_userid=USER, authentication_event_id=EVENT, scope=["offline_access", "from.token"])


def tokens(**changes):
    document = {
        "id_token": "x",
        "access_token": ACCESS_TOKEN,
        "expires_in": 1800,
        "token_type": "Bearer",
        "refresh_token": "refresh-2",
        "scope": "email profile openid accounting.contacts.read offline_access",
    }
    return {name: value for name, value in (document | changes).items() if value is not None}


async def refresh(*responses):
    """Return what a refresh gives when the token endpoint answers so, and the requests it saw."""
    seen = []
    waiting = list(responses)

    def handler(request):
        seen.append(request)
        return waiting.pop(0)

    async with connected(handler) as xero:
        return await xero.refresh(APP, "refresh-1"), seen


async def test_the_consent_address_is_exact():
    async with connected(lambda _: httpx.Response(500)) as xero:
        address = xero.authorization_url(REQUEST)
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).rstrip(b"=").decode()
    assert address == (
        "https://login.test/identity/connect/authorize?response_type=code&client_id=CLIENT"
        "&redirect_uri=http%3A%2F%2Flocalhost%3A8000%2Fapi%2Fintegrations%2Fxero%2Fcallback"
        "&scope=openid%20profile%20email%20offline_access%20accounting.transactions.read%20accounting.contacts.read"
        f"&state=st%26te&code_challenge={challenge}&code_challenge_method=S256"
    )
    assert "verifier" not in address
    assert dict(parse_qsl(urlsplit(address).query))["state"] == "st&te"


async def test_the_scope_sets_are_the_two_xero_knows():
    async with connected(lambda _: httpx.Response(500)) as xero:
        assert xero.scopes("granular") == {*GRANULAR_WORDS.split(), "accounting.contacts.read"}
        assert xero.scopes("broad") - xero.scopes("granular") == {"accounting.transactions.read"}
        with pytest.raises(AppRejected):
            xero.scopes("everything")


@pytest.mark.parametrize(
    ("granted", "missing"),
    [
        ("offline_access accounting.contacts.read accounting.transactions.read", ""),
        ("offline_access accounting.contacts.read accounting.invoices.read accounting.payments.read", ""),
        ("offline_access accounting.contacts accounting.transactions", ""),
        ("offline_access accounting.contacts.read accounting.invoices accounting.payments.read", ""),
        ("accounting.contacts.read accounting.transactions.read", "offline_access"),
        ("offline_access accounting.transactions.read", "accounting.contacts.read"),
        ("offline_access accounting.contacts.read", "accounting.transactions.read"),
        ("offline_access accounting.contacts.read accounting.invoices.read", "accounting.payments.read"),
        ("offline_access accounting.contacts.read accounting.payments.read", "accounting.invoices.read"),
        ("", "offline_access accounting.contacts.read accounting.transactions.read"),
    ],
)
async def test_what_a_grant_lacks_is_named(granted, missing):
    async with connected(lambda _: httpx.Response(500)) as xero:
        assert xero.missing_scopes(frozenset(granted.split())) == set(missing.split())


async def test_a_code_is_exchanged_with_the_secret_in_the_header_and_the_verifier_in_the_form():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200, json=tokens())

    async with connected(handler) as xero:
        token_set = await xero.exchange_code(APP, "code-1", REQUEST.redirect_uri, "verifier")
    assert token_set == TokenSet(
        access_token=ACCESS_TOKEN,
        refresh_token="refresh-2",
        lifetime=1800,
        scopes=frozenset({"email", "profile", "openid", "accounting.contacts.read", "offline_access"}),
        user_id=USER.lower(),
        consent_id=EVENT.lower(),
    )
    assert (seen[0].method, str(seen[0].url)) == ("POST", f"{IDENTITY}/connect/token")
    assert base64.b64decode(seen[0].headers["Authorization"].removeprefix("Basic ")) == b"CLIENT:client-secret-1"
    assert parse_qs(seen[0].content.decode()) == {
        "grant_type": ["authorization_code"],
        "code": ["code-1"],
        "redirect_uri": [REQUEST.redirect_uri],
        "code_verifier": ["verifier"],
    }


async def test_a_refresh_sends_the_refresh_token_and_nothing_else():
    token_set, seen = await refresh(httpx.Response(200, json=tokens()))
    assert token_set.refresh_token == "refresh-2"
    assert parse_qs(seen[0].content.decode()) == {"grant_type": ["refresh_token"], "refresh_token": ["refresh-1"]}


@pytest.mark.parametrize("scope", [None, ""])
async def test_scopes_come_from_the_token_itself_where_the_answer_leaves_them_out(scope):
    token_set, _ = await refresh(httpx.Response(200, json=tokens(scope=scope)))
    assert token_set.scopes == {"offline_access", "from.token"}


async def test_a_grant_without_offline_access_has_no_refresh_token():
    token_set, _ = await refresh(httpx.Response(200, json=tokens(refresh_token=None, expires_in="1800")))
    assert (token_set.refresh_token, token_set.lifetime) == (None, 1800)


@pytest.mark.parametrize(
    "changes",
    [
        {"access_token": None},
        {"access_token": "opaque"},
        {"access_token": "a.b.c"},
        {"access_token": "a.\N{SNOWMAN}.c"},
        {"access_token": jwt(sub="no user id")},
        {"access_token": jwt(xero_userid=7)},
        {"access_token": jwt(xero_userid="")},
        {"access_token": ACCESS_TOKEN + "\n"},
        {"refresh_token": "naïve"},
        {"expires_in": None},
        {"expires_in": 0},
        {"expires_in": "soon"},
    ],
)
async def test_a_token_answer_that_cannot_be_used_says_nothing_about_the_grant(changes):
    with pytest.raises(AnswerUnreadable) as raised:
        await refresh(httpx.Response(200, json=tokens(**changes)))
    assert ACCESS_TOKEN not in raised.value.detail


HTML = "<html><body>invalid_grant</body></html>"


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, '{"error":"invalid_grant"}', GrantRefused),
        (400, '{"error":"invalid_grant","error_description":"Token has been expired or revoked."}', GrantRefused),
        (400, '{"error":"invalid_client"}', AppRejected),
        (401, '{"error":"invalid_client"}', AppRejected),
        (400, '{"error":"unauthorized_client"}', ScopeRefused),
        (400, '{"error":"invalid_scope"}', ScopeRefused),
        (400, '{"error":"unsupported_grant_type"}', AppRejected),
        (400, '{"error":"invalid_request"}', RequestRejected),
        (400, '{"error":"something_new"}', RequestRejected),
        (400, "", AnswerUnreadable),
        (400, HTML, AnswerUnreadable),
        (400, '{"error":{"invalid_grant":1}}', AnswerUnreadable),
        (401, HTML, AnswerUnreadable),
        (403, HTML, AnswerUnreadable),
        (404, HTML, AnswerUnreadable),
        (302, '{"error":"invalid_grant"}', AnswerUnreadable),
        (408, '{"error":"invalid_grant"}', VendorUnavailable),
        (429, '{"error":"invalid_grant"}', RateLimited),
        (500, '{"error":"invalid_grant"}', VendorUnavailable),
        (501, "", VendorUnavailable),
        (503, HTML, VendorUnavailable),
        (200, HTML, AnswerUnreadable),
        (200, '{"error":"invalid_grant"}', AnswerUnreadable),
        (200, "", AnswerUnreadable),
        (204, "", AnswerUnreadable),
    ],
)
async def test_only_the_oauth_error_of_xero_means_a_refused_grant(status, body, meaning):
    with pytest.raises(ConnectorError) as raised:
        await refresh(httpx.Response(status, text=body))
    assert type(raised.value) is meaning
    for secret in ("refresh-1", "client-secret-1", ".test"):
        assert secret not in raised.value.detail


@pytest.mark.parametrize("failure", [httpx.ReadTimeout(""), httpx.ConnectError(""), httpx.RemoteProtocolError("")])
@respx.mock
async def test_a_lost_answer_says_nothing_about_the_grant(failure, respx_mock):
    respx_mock.post(f"{IDENTITY}/connect/token").mock(side_effect=failure)
    async with connected(httpx.AsyncHTTPTransport().handle_async_request) as xero:
        with pytest.raises(VendorUnavailable):
            await xero.refresh(APP, "refresh-1")


async def test_revoking_posts_the_refresh_token_and_takes_an_empty_200():
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(200)

    async with connected(handler) as xero:
        await xero.revoke(APP, "refresh-1")
    assert str(seen[0].url) == f"{IDENTITY}/connect/revocation"
    assert seen[0].content == b"token=refresh-1"
    assert seen[0].headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [(500, "", VendorUnavailable), (400, '{"error":"invalid_client"}', AppRejected), (429, "", RateLimited)],
)
async def test_a_revocation_that_failed_raises_an_error(status, body, meaning):
    async with connected(lambda _: httpx.Response(status, text=body)) as xero:
        with pytest.raises(meaning):
            await xero.revoke(APP, "refresh-1")


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, {"error": "invalid_grant"}, None),
        (400, {"error": "invalid_client"}, AppRejected),
        (401, {"error": "invalid_client"}, AppRejected),
        (400, {"error": "unauthorized_client"}, AppRejected),
        (400, {"error": "invalid_request"}, RequestRejected),
        (503, {"error": "invalid_grant"}, VendorUnavailable),
        (429, {}, RateLimited),
        (200, tokens(), AnswerUnreadable),
    ],
)
async def test_an_app_is_known_exactly_where_its_made_up_token_alone_is_refused(status, body, meaning):
    seen = []

    def handler(request):
        seen.append(request)
        return httpx.Response(status, json=body)

    async with connected(handler) as xero:
        if meaning is None:
            await xero.check_app(APP)
        else:
            with pytest.raises(meaning):
                await xero.check_app(APP)
    [request] = seen
    credentials = base64.b64encode(f"{APP.client_id}:{APP.client_secret}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {credentials}"
    assert parse_qs(request.content.decode()) == {"grant_type": ["refresh_token"], "refresh_token": ["never-issued"]}
