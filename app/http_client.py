"""The HTTP client that vendors are called with, whose connections cost little however many of them are kept alive.

httpcore looks at every connection of a pool twice per request, and at all of them once more for each that is idle; with
a hundred connections that cost more than the requests. So the connections are spread over several pools.
"""

import importlib.util
import itertools
import sys
from urllib.request import getproxies

import httpx
from typing_extensions import override

POOLS = 12
MAX_CONNECTIONS = 100


def make_http_client(transport: httpx.AsyncBaseTransport | None = None) -> httpx.AsyncClient:
    """Return a client that follows no redirect.

    Args:
        transport: what carries the requests; the network unless given.
    """
    _forget_sniffio()
    if transport is None and not getproxies():
        transport = SpreadTransport()
    limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
    return httpx.AsyncClient(transport=transport, limits=limits, follow_redirects=False)


class SpreadTransport(httpx.AsyncBaseTransport):
    """Carries requests over several connection pools in turn; proxies are the business of the client without it."""

    def __init__(self) -> None:
        context = httpx.create_ssl_context()
        limits = httpx.Limits(max_connections=MAX_CONNECTIONS)
        self._pools = [httpx.AsyncHTTPTransport(verify=context, limits=limits) for _ in range(POOLS)]
        self._next = itertools.cycle(self._pools)

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await next(self._next).handle_async_request(request)

    @override
    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


def _forget_sniffio() -> None:
    """Say once that sniffio is not installed, where it is not.

    httpcore tries to import it several times per request, and each time it is looked for in every folder of the path.
    """
    if "sniffio" not in sys.modules and importlib.util.find_spec("sniffio") is None:
        # An import of it fails at once from now on.
        sys.modules["sniffio"] = None  # type: ignore[assignment]
