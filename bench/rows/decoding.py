"""Milliseconds to decode a page of 1,000 invoices into records, beside Xero's own Python SDK decoding the same bytes.

The result is a median. The ratio is the SDK's time divided by ours.
"""

import httpx
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient, Configuration

from app.billing.records import Resource
from app.connector import Access, PageRequest
from app.xero.connector import XeroConnector
from bench.environment import Service
from bench.measurement import Measurement, format_ms, measure_median
from bench.sync import LIST_QUERIES


async def measure(service: Service, tenant_id: str) -> Measurement:
    """Decode one page with both."""
    body = await _fetch_page(service, tenant_id)
    ours = await _measure_connector(body, tenant_id)
    theirs = await _measure_sdk(body)
    return Measurement(
        "decode a page", format_ms(ours), "xero-python", format_ms(theirs), ratio=theirs / ours, better="higher"
    )


async def _measure_connector(body: bytes, tenant_id: str) -> float:
    async def respond(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"Content-Type": "application/json"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(respond)) as http:
        connector = XeroConnector(http, *["http://xero.test"] * 3)
        request = PageRequest(Resource.INVOICES)
        return await measure_median(lambda: connector.fetch_page(Access("token", tenant_id), request))


async def _measure_sdk(body: bytes) -> float:
    sdk = ApiClient(Configuration())
    finder = AccountingApi(sdk).get_model_finder()

    async def deserialize() -> None:
        sdk.deserialize(_SdkResponse(body), "Invoices", finder)

    return await measure_median(deserialize, 3)


async def _fetch_page(service: Service, tenant_id: str) -> bytes:
    params: dict[str, str | int] = {**LIST_QUERIES["Invoices"], "page": 1, "pageSize": 1000}
    async with httpx.AsyncClient(base_url=service.xero_url) as http:
        response = await http.get("/api.xro/2.0/Invoices", params=params, headers=await service.xero_headers(tenant_id))
        return response.content


class _SdkResponse:
    """The attribute of a response that the SDK's deserializer reads."""

    def __init__(self, body: bytes) -> None:
        self.text = body.decode()
