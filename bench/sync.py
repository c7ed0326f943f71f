"""Rows per second of an organisation's first sync and of a reconciliation, beside only fetching the same pages.

The baseline requests the same pages one after the other and parses their JSON, without storing anything. The ratio is
our time divided by the baseline's.
"""

import json
import time

import httpx

from bench.environment import INTEGRATION_PATH, Service
from bench.measurement import Measurement, format_rate

LIST_QUERIES = {
    "Contacts": {"includeArchived": "true"},
    "Invoices": {"where": 'Type=="ACCREC"', "summaryOnly": "true"},
    "CreditNotes": {"where": 'Type=="ACCRECCREDIT"'},
    "Payments": {"where": 'PaymentType=="ACCRECPAYMENT"'},
}


async def measure(service: Service, tenant_id: str) -> list[Measurement]:
    """Fetch the pages alone, then sync the organisation for the first time, then reconcile it."""
    baseline, rows = await _fetch_pages(service, tenant_id)
    first_sync = await _sync_first(service, tenant_id)
    reconciliation, calls = await _reconcile(service)
    return [
        _measurement("first sync", rows, first_sync, baseline),
        _measurement(f"reconciliation, {calls} calls", rows, reconciliation, baseline),
    ]


def _measurement(benchmark: str, rows: int, seconds: float, baseline: float) -> Measurement:
    result, baseline_result = format_rate(rows, seconds, "rows"), format_rate(rows, baseline, "rows")
    return Measurement(benchmark, result, "fetch and parse the pages", baseline_result, seconds / baseline)


async def _sync_first(service: Service, tenant_id: str) -> float:
    started = time.perf_counter()
    await service.call("PUT", f"{INTEGRATION_PATH}/tenants", {"tenant_ids": [tenant_id]})
    await service.engine.worker.run_until_idle()
    return time.perf_counter() - started


async def _reconcile(service: Service) -> tuple[float, int]:
    """Return the duration in seconds, and the number of calls to Xero."""
    started = time.perf_counter()
    response = await service.call("POST", f"{INTEGRATION_PATH}/reconcile")
    await service.engine.worker.run_until_idle()
    seconds = time.perf_counter() - started
    run = (await service.call("GET", response.headers["location"])).json()
    return seconds, sum(resource["calls"] for resource in run["resources"])


async def _fetch_pages(service: Service, tenant_id: str) -> tuple[float, int]:
    """Return the duration in seconds, and the number of rows."""
    started, rows = time.perf_counter(), 0
    async with httpx.AsyncClient(base_url=service.xero_url) as http:
        headers = await service.xero_headers(tenant_id)
        for resource, query in LIST_QUERIES.items():
            number, paging = 1, {"pageCount": 1, "itemCount": 0}
            while number <= paging["pageCount"]:
                params: dict[str, str | int] = {**query, "page": number, "pageSize": 1000}
                response = await http.get(f"/api.xro/2.0/{resource}", params=params, headers=headers)
                paging = json.loads(response.content)["pagination"]
                number += 1
            rows += paging["itemCount"]
    return time.perf_counter() - started, rows
