"""`make bench`: measures, and prints each figure beside its peer or floor, and their ratio."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from uuid import uuid4

import httpx
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from xero_python.accounting import AccountingApi
from xero_python.api_client import ApiClient, Configuration

from app.billing.records import Resource
from app.connector import Access, PageRequest
from app.xero.connector import XeroConnector
from bench import fairness
from bench.environment import CARD, ROWS, Service, pretend_xero, service
from bench.measurement import Figure, ms, p95, usual

HOOKS = 400
READS = 200
TABLE_WIDTH = 150
KEY = b"simulated-webhook-key"


async def main() -> None:
    with pretend_xero() as xero_url:
        async with service(xero_url) as running:
            [tenant_id] = await running.connect()
            figures = [await _decode(running, tenant_id), *await _sync(running, tenant_id)]
            figures += [await _webhook(running, tenant_id), await _summary(running)]
    figures += await fairness.measure()
    _print(figures)


async def _decode(running: Service, tenant_id: str) -> Figure:
    """Turn 1,000 invoices into records, beside Xero's own SDK turning the same bytes into its models."""
    body = await _page(running, tenant_id)

    async def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=body, headers={"Content-Type": "application/json"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        connector = XeroConnector(http, *["http://xero.test"] * 3)
        request = PageRequest(Resource.INVOICES)
        ours = await usual(lambda: connector.fetch_page(Access("token", tenant_id), request))
    sdk = ApiClient(Configuration())
    finder = AccountingApi(sdk).get_model_finder()

    async def deserialize() -> None:
        sdk.deserialize(_Answer(body), "Invoices", finder)

    theirs = await usual(deserialize, 3)
    return Figure("decode a page", ms(ours), "xero-python", ms(theirs), theirs / ours, "higher")


async def _sync(running: Service, tenant_id: str) -> list[Figure]:
    """Sync an organisation for the first time and again, beside only fetching and unpacking the same pages."""
    floor, fetched = await _fetch_everything(running, tenant_id)
    began = time.perf_counter()
    await running.call("PUT", f"{CARD}/tenants", {"tenant_ids": [tenant_id]})
    await running.engine.worker.run_until_idle()
    first = time.perf_counter() - began
    began = time.perf_counter()
    started = await running.call("POST", f"{CARD}/reconcile")
    await running.engine.worker.run_until_idle()
    again = time.perf_counter() - began
    run = (await running.call("GET", started.headers["location"])).json()
    calls = sum(resource["calls"] for resource in run["resources"])
    beside = "fetch and unpack alone"
    return [
        Figure("first sync", _rows(fetched, first), beside, _rows(fetched, floor), first / floor, "lower"),
        Figure(
            f"compare whole, {calls} calls",
            _rows(fetched, again),
            beside,
            _rows(fetched, floor),
            again / floor,
            "lower",
        ),
    ]


async def _fetch_everything(running: Service, tenant_id: str) -> tuple[float, int]:
    """Return the seconds it took, and the rows that came."""
    began, rows = time.perf_counter(), 0
    async with httpx.AsyncClient(base_url=running.xero_url) as http:
        headers = await _headers(running, tenant_id)
        for name, query in PAGES:
            number, paging = 1, {"pageCount": 1, "itemCount": 0}
            while number <= paging["pageCount"]:
                params: dict[str, str | int] = {**query, "page": number, "pageSize": 1000}
                answer = await http.get(f"/api.xro/2.0/{name}", params=params, headers=headers)
                paging = json.loads(answer.content)["pagination"]
                number += 1
            rows += paging["itemCount"]
    return time.perf_counter() - began, rows


PAGES = (
    ("Contacts", {"includeArchived": "true"}),
    ("Invoices", {"where": 'Type=="ACCREC"', "summaryOnly": "true"}),
    ("CreditNotes", {"where": 'Type=="ACCRECCREDIT"'}),
    ("Payments", {"where": 'PaymentType=="ACCRECPAYMENT"'}),
)


async def _webhook(running: Service, tenant_id: str) -> Figure:
    """Take deliveries of one new event each, beside a bare route that only answers."""

    async def answer(_request: Request) -> JSONResponse:
        return JSONResponse({"stored": 0})

    bare = Starlette(routes=[Route("/api/webhooks/xero", answer, methods=["POST"])])
    transport = httpx.ASGITransport(bare)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        theirs = await _deliver(client, tenant_id)
    ours = await _deliver(running.client, tenant_id)
    return Figure("store a delivery", _per_second(ours), "a bare route", _per_second(theirs), ours / theirs, "lower")


async def _deliver(client: httpx.AsyncClient, tenant_id: str) -> float:
    began = time.perf_counter()
    for number in range(HOOKS):
        event = {
            "resourceId": str(uuid4()),
            "tenantId": tenant_id,
            "tenantType": "ORGANISATION",
            "eventCategory": "INVOICE",
            "eventType": "UPDATE",
            "eventDateUtc": f"2026-11-02T00:00:00.{number % 1000:03}",
        }
        body = json.dumps({"events": [event], "entropy": "X"}).encode()
        signature = base64.b64encode(hmac.digest(KEY, body, hashlib.sha256)).decode()
        answer = await client.post("/api/webhooks/xero", content=body, headers={"x-xero-signature": signature})
        answer.raise_for_status()
    return time.perf_counter() - began


async def _summary(running: Service) -> Figure:
    """Answer for a customer, beside the least any authorised request costs."""
    listed = (await running.call("GET", "/api/invoices?limit=200")).json()["items"]
    customers = [invoice["customer_id"] for invoice in listed]
    ours = await p95(lambda at: running.call("GET", f"/api/customers/{customers[at % len(customers)]}/billing"), READS)
    theirs = await p95(lambda at: running.call("GET", f"/api/customers/{customers[at % len(customers)]}"), READS)
    return Figure("a customer's summary, p95", ms(ours), "one row by id", ms(theirs), ours / theirs, "lower")


async def _page(running: Service, tenant_id: str) -> bytes:
    async with httpx.AsyncClient(base_url=running.xero_url) as http:
        params: dict[str, str | int] = {**PAGES[1][1], "page": 1, "pageSize": 1000}
        return (
            await http.get("/api.xro/2.0/Invoices", params=params, headers=await _headers(running, tenant_id))
        ).content


async def _headers(running: Service, tenant_id: str) -> dict[str, str]:
    token = await running.access_token()
    return {"Authorization": f"Bearer {token}", "xero-tenant-id": tenant_id, "Accept": "application/json"}


class _Answer:
    """What the SDK's deserializer reads."""

    def __init__(self, body: bytes) -> None:
        self.text = body.decode()


def _rows(rows: int, seconds: float) -> str:
    return f"{rows / seconds:,.0f} rows/s"


def _per_second(seconds: float) -> str:
    return f"{HOOKS / seconds:,.0f}/s"


def _print(figures: list[Figure]) -> None:
    table = Table(
        title=f"{ROWS:,} rows in the pretend Xero, payables among them", title_justify="left", header_style="dim"
    )
    for column in ("what", "ours", "beside", "theirs"):
        table.add_column(column)
    table.add_column("ratio", justify="right")
    for figure in figures:
        table.add_row(
            figure.what, figure.ours, figure.beside, figure.theirs, f"{figure.ratio:.2f} ({figure.better} is better)"
        )
    console = Console()
    console.print(table, width=max(console.width, TABLE_WIDTH), soft_wrap=True)


if __name__ == "__main__":
    asyncio.run(main())
