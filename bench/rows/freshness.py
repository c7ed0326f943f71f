"""Seconds from a webhook delivery until the changed row is visible, idle, beside Xero's own answer for that row."""

import time
from datetime import UTC, datetime

import httpx

from bench.context import Bench, tell
from bench.deliveries import send_delivery
from bench.environment import IS_IDLE, Service, run_service, serve
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.result import Comparison, Relation, Samples, Target, percentile
from bench.rows.memory import IS_COMPLETE

NAME = "freshness"
EVENTS = 40
P95 = 95
ROWS = {"contacts": 10, "invoices": 40, "payments": 10, "credit_notes": 3}
OPEN_INVOICE = "SELECT external_id FROM billing_invoices WHERE status = 'open' ORDER BY external_id LIMIT 1"
IS_NEWER = "SELECT vendor_updated_at > :before FROM billing_invoices WHERE external_id = :invoice"


async def measure(bench: Bench) -> list[Comparison]:
    """Deliver one event after the other to an idle service that is served as in production."""
    visible: list[float] = []
    answers: list[float] = []
    with run_pretend_xero({"organisations": 1, **ROWS}, is_cached=False) as xero:
        async with bench.postgres.database() as dsn, serve(dsn, xero.url) as service:
            [tenant_id] = await service.connect()
            await service.select([tenant_id])
            await service.wait_until(IS_COMPLETE)
            await service.wait_until(IS_IDLE)
            invoice = str(await service.query_value(OPEN_INVOICE))
            async with run_service(dsn, xero.url) as local:
                headers = await local.xero_headers(tenant_id)
            for number in range(bench.sizes.repetitions):
                tell(f"repetition {number + 1} of {bench.sizes.repetitions}")
                answers.append(await _time_answers(xero, headers, invoice))
                visible.append(await _time_changes(xero, service, tenant_id, invoice))
    return [
        Comparison(
            row=NAME,
            what="webhook until the row is visible, p95",
            ours=Samples.of(visible, "s"),
            beside="the pretend Xero's answer, p95",
            theirs=Samples.of(answers, "s"),
            relation=Relation.DIFFERENCE,
            target=Target(0.5, is_higher_better=False),
        )
    ]


async def _time_answers(xero: PretendXero, headers: dict[str, str], invoice: str) -> float:
    durations = []
    async with httpx.AsyncClient(base_url=xero.url, headers=headers) as client:
        for _ in range(EVENTS):
            started = time.perf_counter()
            (await client.get(f"/api.xro/2.0/Invoices/{invoice}")).raise_for_status()
            durations.append(time.perf_counter() - started)
    return percentile(durations, P95)


async def _time_changes(xero: PretendXero, service: Service, tenant_id: str, invoice: str) -> float:
    durations = []
    for _ in range(EVENTS):
        before = datetime.now(UTC)
        edit = {"edit": "stamp", "resource": "Invoices", "id": invoice}
        await xero.control("POST", f"/tenants/{tenant_id}/edits", edit)
        event_at = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        started = time.perf_counter()
        await send_delivery(service.client, tenant_id, invoice, event_at)
        await service.wait_until(IS_NEWER, before=before, invoice=invoice)
        durations.append(time.perf_counter() - started)
    return percentile(durations, P95)
