"""One request: what is sent, what it costs, and that nothing can make it endless."""

import asyncio
import gzip

import httpx
import pytest
from typing_extensions import override

from app.billing.records import Resource
from app.connector import AnswerTooLarge, AnswerTooSlow, AnswerUnreadable, PageRequest, VendorUnavailable
from app.xero.client import send
from tests.support.xero_samples import ACCESS, API, connected, envelope, invoice


class Stream(httpx.AsyncByteStream):
    """A body that arrives in pieces, as from a socket."""

    def __init__(self, *pieces):
        self.pieces = pieces
        self.is_closed = False

    @override
    async def __aiter__(self):
        for piece in self.pieces:
            yield piece

    @override
    async def aclose(self):
        self.is_closed = True


class Silence(Stream):
    @override
    async def __aiter__(self):
        yield b"{"
        await asyncio.Event().wait()


class Torn(Stream):
    @override
    async def __aiter__(self):
        yield self.pieces[0]
        raise httpx.ReadError("reset")


async def exchange(stream, headers=None, **limits):
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, stream=stream))
    async with httpx.AsyncClient(transport=transport) as http:
        return await send(http, http.build_request("GET", API), **limits)


async def test_bytes_are_counted_before_and_after_decompression():
    body = envelope("Invoices", [invoice()] * 50)
    packed = gzip.compress(body)
    answer = await exchange(Stream(packed[:100], packed[100:]), {"Content-Encoding": "gzip"})
    assert answer.body == body
    assert (answer.traffic.calls, answer.traffic.bytes_raw) == (1, len(body))
    assert answer.traffic.bytes_wire == len(packed) < len(body)


async def test_a_decompression_bomb_is_dropped_before_it_fills_the_memory():
    stream = Stream(*[gzip.compress(b" " * 1_000_000)[:500]] * 3)
    with pytest.raises(AnswerTooLarge, match="larger than 100000 bytes") as raised:
        await exchange(stream, {"Content-Encoding": "gzip"}, max_bytes=100_000)
    assert raised.value.traffic.calls == 1
    assert stream.is_closed


async def test_an_answer_that_never_ends_is_given_up():
    stream = Silence()
    with pytest.raises(AnswerTooSlow, match="in time"):
        await exchange(stream, max_seconds=0.02)
    assert stream.is_closed


async def test_a_connection_that_breaks_within_the_body_is_an_outage():
    stream = Torn(b'{"Invoices":[')
    with pytest.raises(VendorUnavailable, match="ReadError"):
        await exchange(stream)
    assert stream.is_closed


async def test_a_body_that_is_not_compressed_as_it_says_is_unreadable():
    with pytest.raises(AnswerUnreadable, match="compressed"):
        await exchange(Stream(b"not gzip at all"), {"Content-Encoding": "gzip"})


async def test_half_a_compressed_body_is_no_page():
    packed = gzip.compress(envelope("Invoices", [invoice()] * 50))

    def handler(_):
        return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Stream(packed[: len(packed) // 2]))

    async with connected(handler) as xero:
        with pytest.raises(AnswerUnreadable):
            await xero.fetch_page(ACCESS, PageRequest(Resource.INVOICES))


async def test_a_read_names_the_organisation_and_asks_for_compressed_json():
    asked = []

    def handler(request):
        asked.append(request)
        return httpx.Response(200, content=envelope("Invoices", []))

    async with connected(handler) as xero:
        await xero.fetch_page(ACCESS, PageRequest(Resource.INVOICES))
    headers = asked[0].headers
    assert headers["Authorization"] == f"Bearer {ACCESS.access_token}"
    assert headers["xero-tenant-id"] == ACCESS.tenant_id
    assert (headers["Accept"], headers["Accept-Encoding"]) == ("application/json", "gzip")
    assert "If-Modified-Since" not in headers
    assert asked[0].extensions["timeout"] == {"connect": 5, "read": 30, "write": 30, "pool": 30}


async def test_redirects_are_not_followed_not_even_by_a_pool_that_would():
    visits = []

    def handler(request):
        visits.append(str(request.url))
        return httpx.Response(302, headers={"Location": "https://elsewhere.test/steal"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(handler), follow_redirects=True) as http:
        answer = await send(http, http.build_request("GET", API))
    assert answer.status == 302
    assert visits == [API]
