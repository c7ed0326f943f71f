"""Request bodies are limited in size and time and must be valid JSON; responses have security and caching headers."""

import json
from typing import Any

import pytest
from fastapi import APIRouter, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.deps import Reader
from app.api.middleware.body import API_BYTES, BULK_BYTES, WEBHOOK_BYTES, BodyMiddleware
from tests.support.api import ManualClock, api_client, make_app, make_services

WEBHOOK = "/api/webhooks/xero"


class Routes:
    """Routes that return the size of the body they received."""

    router = APIRouter()


@Routes.router.post("/api/echo")
@Routes.router.put("/api/psa/echo")
async def measure(_actor: Reader, request: Request) -> int:
    return len(await request.body())


@Routes.router.post(WEBHOOK)
async def receive(request: Request) -> int:
    return len(await request.body())


@Routes.router.post("/api/parsed")
async def parse(_actor: Reader, body: dict[str, object]) -> dict[str, object]:
    return body


@Routes.router.get("/api/named/{name}")
async def read_named(_actor: Reader, name: str, search: str = "") -> str:
    return name + search


@pytest.fixture(scope="module")
def app():
    return make_app(make_services(None, ManualClock()), [Routes])


@pytest.fixture
async def api(app):
    async with api_client(app, ManualClock()) as api:
        yield api


class Unreadable:
    """A body that fails the test when it is read."""

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise AssertionError("The body was read.")


def padded(size):
    return b'"' + b"x" * (size - 2) + b'"'


async def send(api, path, content, **headers):
    method = "PUT" if path.startswith("/api/psa") else "POST"
    given = {"Content-Type": "application/json", **headers}
    return await api.call(method, path, content=content, headers=given)


@pytest.mark.parametrize(
    ("path", "limit"), [("/api/echo", API_BYTES), ("/api/psa/echo", BULK_BYTES), (WEBHOOK, WEBHOOK_BYTES)]
)
async def test_each_path_accepts_bodies_up_to_its_limit(api, path, limit):
    assert (await send(api, path, padded(limit))).json() == limit
    response = await send(api, path, padded(limit + 1))
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.headers["connection"] == "close"


async def test_an_endless_body_is_read_no_further_than_its_limit(api):
    sent = 0

    async def send_endlessly():
        nonlocal sent
        while True:
            sent += 8192
            yield b"x" * 8192

    response = await send(api, WEBHOOK, send_endlessly())
    assert response.status_code == 413
    assert sent <= WEBHOOK_BYTES + 2 * 8192


async def test_a_content_length_over_the_limit_is_refused_without_reading_the_body(api):
    response = await send(api, WEBHOOK, Unreadable(), **{"Content-Length": str(WEBHOOK_BYTES + 1)})
    assert response.status_code == 413


async def test_the_body_of_a_caller_without_a_token_is_not_read(api):
    assert (await api.client.post("/api/echo", content=Unreadable())).status_code == 401


async def test_a_request_whose_sender_disconnects_is_dropped():
    async def disconnect() -> Any:
        return {"type": "http.disconnect"}

    async def fail(*_: object) -> Any:
        raise AssertionError("An incomplete body was passed on.")

    scope = {"type": "http", "method": "POST", "path": WEBHOOK, "headers": [], "query_string": b"", "state": {}}
    await BodyMiddleware(fail)(scope, disconnect, fail)


@pytest.mark.parametrize("path", ["/api/echo", WEBHOOK])
@pytest.mark.parametrize("encoding", ["gzip", "br", "x", "identity, gzip"])
async def test_compressed_bodies_are_415(api, path, encoding):
    response = await send(api, path, b"{}", **{"Content-Encoding": encoding})
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/merge-patch+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonp", 415),
        ("", 415),
    ],
)
async def test_the_api_accepts_only_json(api, content_type, status):
    assert (await send(api, "/api/parsed", b"{}", **{"Content-Type": content_type})).status_code == status


async def test_the_webhook_receives_any_bytes_unchanged(api):
    assert (await send(api, WEBHOOK, b"\xff\x00 no json", **{"Content-Type": "text/plain"})).json() == 10


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"nul",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b"[" * 60_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b'{"a": "\\ud800"}',
        b'{"a": "\\udc00 \\ud800"}',
        b'{"\\ud800": 1}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\x00"}',
        b"\xef\xbb\xbf{}",
        '{"a": 1}'.encode("utf-16"),
        b"",
    ],
    ids=range(17),
)
async def test_invalid_json_is_refused(api, body):
    response = await send(api, "/api/parsed", body)
    assert response.status_code == (400 if body else 422)
    assert response.headers["content-type"] == "application/problem+json"


def contains_nul(value):
    if isinstance(value, dict):
        return any(contains_nul(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return any(contains_nul(each) for each in value)
    return isinstance(value, str) and "\0" in value


@pytest.mark.parametrize(
    ("body", "is_refused"),
    [
        (rb'{"a": "\u0000"}', True),
        (rb'{"\u0000": 1}', True),
        (rb'{"a": ["x", {"b": "\\\u0000"}]}', True),
        (rb'{"a": "\\u0000"}', False),
        (rb'{"a": "\\\\u0000"}', False),
        (rb'{"a": "\\\\\u0000"}', True),
        (rb'{"a": "\ud83d\ude00"}', False),
    ],
)
async def test_a_nul_character_is_refused_and_an_escaped_backslash_before_u0000_is_not(api, body, is_refused):
    response = await send(api, "/api/parsed", body)
    assert response.status_code == (422 if is_refused else 200)
    assert is_refused == contains_nul(json.loads(body))


@settings(deadline=None)
@given(
    value=st.recursive(
        st.none() | st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
async def test_any_json_is_accepted_unchanged_or_refused_and_no_nul_or_surrogate_is_accepted(app, value):
    text = json.dumps({"value": value})
    async with api_client(app, ManualClock()) as api:
        response = await send(api, "/api/parsed", text.encode())
    assert response.status_code in {200, 400, 422}
    if contains_nul(value):
        assert response.status_code == 422
    if response.status_code == 200:
        assert response.json() == {"value": value}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/named/a%00", 404), ("/%00", 404), ("/api/named/a?search=%00", 422), ("/api/named/a?search=b%00c", 422)],
)
async def test_a_nul_character_in_a_url_is_refused(api, path, status):
    response = await api.get(path)
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json")


async def test_bytes_of_a_url_that_are_not_utf_8_arrive_as_text(api):
    response = await api.get("/api/named/%ED%A0%80?search=%FF")
    assert response.json().encode()


async def test_every_response_has_the_security_headers(api):
    for response in [await api.post("/api/echo"), await api.client.get("/api/echo"), await api.client.get("/nothing")]:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert "strict-transport-security" not in response.headers
        assert "set-cookie" not in response.headers
    assert (await api.post("/api/echo")).headers["cache-control"] == "no-store"
    assert (await api.client.get("/api/echo")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/docs", "/docs/assets/swagger-ui.css", "/redoc", "/console/"])
async def test_the_content_security_policy_of_a_page_allows_no_inline_code_and_no_other_host(api, path):
    policy = (await api.client.get(path)).headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy


async def test_strict_transport_security_is_sent_when_the_public_url_is_https():
    clock = ManualClock()
    app = make_app(make_services(None, clock, public_url="https://acme.test"), [Routes])
    async with api_client(app, clock) as api:
        assert (await api.client.get("/")).headers["strict-transport-security"].startswith("max-age=")
