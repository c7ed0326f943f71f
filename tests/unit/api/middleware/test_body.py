"""Bodies are counted while they stream, timed, and sound before anyone else sees them; answers carry their headers."""

import asyncio
import json
from typing import Any

import pytest
from fastapi import APIRouter, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from app.api.deps import Reader
from app.api.errors import Problem
from app.api.middleware.body import API_BYTES, BULK_BYTES, WEBHOOK_BYTES, BodyMiddleware
from tests.support.api import HandClock, calling, make_app, make_services

WEBHOOK = "/api/webhooks/xero"


class Routes:
    """Routes that say how much they got."""

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
    return make_app(make_services(None, HandClock()), [Routes])


@pytest.fixture
async def api(app):
    async with calling(app, HandClock()) as api:
        yield api


class Unreadable:
    """A body nobody may read."""

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
async def test_each_address_takes_bodies_up_to_its_limit(api, path, limit):
    assert (await send(api, path, padded(limit))).json() == limit
    refused = await send(api, path, padded(limit + 1))
    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")
    assert refused.headers["connection"] == "close"


async def test_an_endless_body_is_left_after_its_limit(api):
    sent = 0

    async def drip():
        nonlocal sent
        while True:
            sent += 8192
            yield b"x" * 8192

    refused = await send(api, WEBHOOK, drip())
    assert refused.status_code == 413
    assert sent <= WEBHOOK_BYTES + 2 * 8192


async def test_a_declared_length_over_the_limit_is_refused_unread(api):
    refused = await send(api, WEBHOOK, Unreadable(), **{"Content-Length": str(WEBHOOK_BYTES + 1)})
    assert refused.status_code == 413


async def test_nothing_is_read_for_a_caller_without_a_token(api):
    assert (await api.client.post("/api/echo", content=Unreadable())).status_code == 401


async def test_a_body_that_drips_is_given_up():
    async def forever(*_: object) -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "POST", "path": WEBHOOK, "headers": [], "query_string": b"", "state": {}}
    with pytest.raises(Problem) as caught:
        await BodyMiddleware(forever, seconds=0.01)(scope, forever, forever)
    assert (caught.value.status_code, caught.value.headers) == (408, {"Connection": "close"})


async def test_a_caller_who_hangs_up_reaches_nobody():
    async def hang_up() -> Any:
        return {"type": "http.disconnect"}

    async def unreachable(*_: object) -> Any:
        raise AssertionError("Half a body was passed on.")

    scope = {"type": "http", "method": "POST", "path": WEBHOOK, "headers": [], "query_string": b"", "state": {}}
    await BodyMiddleware(unreachable)(scope, hang_up, unreachable)


@pytest.mark.parametrize("path", ["/api/echo", WEBHOOK])
@pytest.mark.parametrize("encoding", ["gzip", "br", "x", "identity, gzip"])
async def test_compressed_bodies_are_415(api, path, encoding):
    refused = await send(api, path, b"{}", **{"Content-Encoding": encoding})
    assert (refused.status_code, refused.json()["code"]) == (415, "unsupported_media_type")


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
async def test_the_api_takes_json_alone(api, content_type, status):
    assert (await send(api, "/api/parsed", b"{}", **{"Content-Type": content_type})).status_code == status


async def test_the_webhook_gets_its_bytes_whatever_they_are(api):
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
async def test_what_is_no_sound_json_is_refused(api, body):
    refused = await send(api, "/api/parsed", body)
    assert refused.status_code == (400 if body else 422)
    assert refused.headers["content-type"] == "application/problem+json"


def holds_nul(value):
    if isinstance(value, dict):
        return any(holds_nul(each) for pair in value.items() for each in pair)
    if isinstance(value, list):
        return any(holds_nul(each) for each in value)
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
async def test_no_nul_passes_and_what_only_looks_like_one_does(api, body, is_refused):
    answer = await send(api, "/api/parsed", body)
    assert answer.status_code == (422 if is_refused else 200)
    assert is_refused == holds_nul(json.loads(body))


@settings(deadline=None)
@given(
    value=st.recursive(
        st.none() | st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
async def test_whatever_is_sent_is_answered_and_no_nul_or_surrogate_passes(app, value):
    text = json.dumps({"value": value})
    async with calling(app, HandClock()) as api:
        answer = await send(api, "/api/parsed", text.encode())
    assert answer.status_code in {200, 400, 422}
    if holds_nul(value):
        assert answer.status_code == 422
    if answer.status_code == 200:
        assert answer.json() == {"value": value}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/named/a%00", 404), ("/%00", 404), ("/api/named/a?search=%00", 422), ("/api/named/a?search=b%00c", 422)],
)
async def test_no_nul_passes_in_an_address(api, path, status):
    answer = await api.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


async def test_bytes_that_are_no_text_arrive_as_text(api):
    answer = await api.get("/api/named/%ED%A0%80?search=%FF")
    assert answer.json().encode()


async def test_every_answer_carries_its_headers(api):
    for answer in [await api.post("/api/echo"), await api.client.get("/api/echo"), await api.client.get("/nothing")]:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert "strict-transport-security" not in answer.headers
        assert "set-cookie" not in answer.headers
    assert (await api.post("/api/echo")).headers["cache-control"] == "no-store"
    assert (await api.client.get("/api/echo")).headers["cache-control"] == "no-store"


async def test_the_documentation_and_the_console_may_run_what_they_need(api):
    docs, console = (await api.client.get("/docs")), await api.client.get("/console/")
    assert "https://cdn.jsdelivr.net" in docs.headers["content-security-policy"]
    assert "default-src 'self'" in console.headers["content-security-policy"]
    assert "unsafe-inline" not in console.headers["content-security-policy"]


async def test_browsers_are_told_to_insist_on_https_where_the_public_address_does():
    clock = HandClock()
    app = make_app(make_services(None, clock, public_url="https://acme.test"), [Routes])
    async with calling(app, clock) as api:
        assert (await api.client.get("/")).headers["strict-transport-security"].startswith("max-age=")
