"""The HTTP client of vendors: its connections are spread over pools, and a proxy of the environment is still used."""

import sys

import httpx
import pytest

from app import http_client
from app.http_client import SpreadTransport, make_http_client


class CountingPool(httpx.AsyncBaseTransport):
    """Counts the requests it carries, and notes that it was closed."""

    def __init__(self, **_given):
        self.requests = 0
        self.is_closed = False

    async def handle_async_request(self, request):
        self.requests += 1
        return httpx.Response(200, request=request)

    async def aclose(self):
        self.is_closed = True


@pytest.fixture
def pools(monkeypatch):
    made: list[CountingPool] = []

    def make(**given):
        made.append(CountingPool(**given))
        return made[-1]

    monkeypatch.setattr(http_client, "getproxies", dict)
    monkeypatch.setattr(httpx, "AsyncHTTPTransport", make)
    return made


async def test_requests_are_spread_over_all_pools_and_every_pool_is_closed(pools):
    client = make_http_client()
    for _ in range(2 * http_client.POOLS):
        await client.get("http://vendor.test/")
    await client.aclose()
    assert [pool.requests for pool in pools] == [2] * http_client.POOLS
    assert all(pool.is_closed for pool in pools)


async def test_a_proxy_of_the_environment_is_used(monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
    made = []
    monkeypatch.setattr(http_client, "SpreadTransport", lambda: made.append(SpreadTransport()))
    async with make_http_client():
        assert made == []


async def test_a_given_transport_carries_the_requests():
    pool = CountingPool()
    async with make_http_client(pool) as client:
        await client.get("http://vendor.test/")
    assert pool.requests == 1


def test_sniffio_is_not_looked_for_again_where_it_is_not_installed(monkeypatch):
    monkeypatch.delitem(sys.modules, "sniffio", raising=False)
    looked_for: list[str] = []
    monkeypatch.setattr("importlib.util.find_spec", looked_for.append)
    make_http_client(CountingPool())
    make_http_client(CountingPool())
    assert looked_for == ["sniffio"]
    with pytest.raises(ImportError):
        __import__("sniffio")
