"""Milliseconds (95th percentile) to serve a customer's billing summary, beside serving the customer alone by its id.

The baseline is about the least that an authenticated request costs. The ratio is our time divided by the baseline's.
"""

from bench.environment import Service
from bench.measurement import Measurement, format_ms, measure_p95

REQUESTS = 200


async def measure(service: Service) -> Measurement:
    """Request the summaries of the customers of the latest invoices, then the customers themselves."""
    invoices = (await service.call("GET", "/api/invoices?limit=200")).json()["items"]
    paths = [f"/api/customers/{invoice['customer_id']}" for invoice in invoices]
    ours = await measure_p95(lambda number: service.call("GET", f"{paths[number % len(paths)]}/billing"), REQUESTS)
    baseline = await measure_p95(lambda number: service.call("GET", paths[number % len(paths)]), REQUESTS)
    return Measurement(
        "a customer's summary, p95", format_ms(ours), "one row by id", format_ms(baseline), ours / baseline
    )
