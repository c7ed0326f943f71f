"""Time to decode a page of 1,000 invoices into records, beside Xero's own Python SDK decoding the same bytes."""

import time
from collections.abc import Awaitable, Callable

import httpx
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient, Configuration

from app.billing.records import Resource
from app.connector import Access, PageRequest
from app.xero.connector import XeroConnector
from bench.context import Bench
from bench.environment import LocalService
from bench.loading import LIST_QUERIES
from bench.pretend_xero import run_pretend_xero
from bench.result import Comparison, Samples
from bench.sizes import simulated_rows

NAME = "decoding"
INVOICES = 2_000
REPETITIONS = 9


async def measure(bench: Bench) -> list[Comparison]:
    """Decode one page with both, again and again."""
    with run_pretend_xero({"organisations": 1, **simulated_rows(INVOICES)}) as xero:
        async with bench.fresh_service(xero) as (service, _):
            [tenant_id] = await service.connect()
            body = await _fetch_page(service, tenant_id)
    ours, theirs = await _measure_connector(body, tenant_id), await _measure_sdk(body)
    return [
        Comparison(
            row=NAME,
            what="decode a page of 1,000 invoices",
            ours=Samples.of(ours, "s"),
            beside="xero-python",
            theirs=Samples.of(theirs, "s"),
            is_inverted=True,
        )
    ]


async def _measure_connector(body: bytes, tenant_id: str) -> list[float]:
    async def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"Content-Type": "application/json"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        connector = XeroConnector(http, *["http://xero.test"] * 3)
        request = PageRequest(Resource.INVOICES)
        return await _repeat(lambda: connector.fetch_page(Access("token", tenant_id), request))


async def _measure_sdk(body: bytes) -> list[float]:
    sdk = ApiClient(Configuration())
    finder = AccountingApi(sdk).get_model_finder()

    async def deserialize() -> None:
        sdk.deserialize(_SdkResponse(body), "Invoices", finder)

    return await _repeat(deserialize)


async def _repeat(operation: Callable[[], Awaitable[object]]) -> list[float]:
    """Return the seconds of processor time of each repetition."""
    durations = []
    for _ in range(REPETITIONS):
        started = time.process_time()
        await operation()
        durations.append(time.process_time() - started)
    return durations


async def _fetch_page(service: LocalService, tenant_id: str) -> bytes:
    params: dict[str, str | int] = {**LIST_QUERIES["Invoices"], "page": 1, "pageSize": 1000}
    async with httpx.AsyncClient(base_url=service.xero_url) as http:
        response = await http.get("/api.xro/2.0/Invoices", params=params, headers=await service.xero_headers(tenant_id))
        return response.raise_for_status().content


class _SdkResponse:
    """The attribute of a response that the SDK's deserializer reads."""

    def __init__(self, body: bytes) -> None:
        self.text = body.decode()
