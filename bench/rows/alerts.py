"""Seconds to bring the alerts up to date after a tick that changed 100 invoices, beside the same with fewer rows."""

import os
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from app.billing.records import Batch, ContactRecord, DocumentStatus, InvoiceRecord
from app.billing.store import upsert
from bench.context import Bench, tell
from bench.database import connect
from bench.environment import LocalService, run_service
from bench.processes import Cost, measure_cost
from bench.result import Comparison, Samples, Target
from bench.seed import SOURCE, TENANT_ID

NAME = "alerts"
NOWHERE = "http://127.0.0.1:9"
CHANGED = 100
AMOUNT = Decimal(120)
OVERDUE = "status = 'open' AND due_on < current_date"
# Half of the changed invoices become overdue and half are paid, so that as many are overdue afterwards as before.
CHOOSE = """
    (SELECT external_id, contact_external_id, true AS is_overdue FROM billing_invoices
     WHERE status = 'open' AND due_on < current_date ORDER BY vendor_updated_at, external_id LIMIT $1)
    UNION ALL
    (SELECT external_id, contact_external_id, false FROM billing_invoices
     WHERE status = 'paid' ORDER BY vendor_updated_at, external_id LIMIT $1)
"""
NOTE = "Everything that is derived at the end of a run: the alerts, the match review and the base currencies."


async def measure(bench: Bench) -> list[Comparison]:
    """Measure both databases in turn; the first repetition opens the alerts of all overdue invoices."""
    many_dsn = await bench.seeded_database(bench.sizes.invoices)
    few_dsn = await bench.seeded_database(bench.sizes.few_invoices)
    many: list[Cost] = []
    few: list[Cost] = []
    async with run_service(many_dsn, NOWHERE) as many_service, run_service(few_dsn, NOWHERE) as few_service:
        for number in range(bench.sizes.repetitions + 1):
            tell(f"repetition {number} of {bench.sizes.repetitions}, of which 0 only warms up")
            many.append(await _change_and_refresh(bench, many_service, many_dsn))
            few.append(await _change_and_refresh(bench, few_service, few_dsn))
    return [_compare(bench, many[1:], few[1:])]


async def _change_and_refresh(bench: Bench, service: LocalService, dsn: str) -> Cost:
    """Change 100 invoices as a page of the vendor does, and measure what follows at the end of the run."""
    await _change_invoices(service, dsn)
    with measure_cost(os.getpid(), bench.postgres.postmaster) as cost:
        await service.engine.maintenance.refresh_derived()
    await require_alerts(dsn)
    return cost


async def _change_invoices(service: LocalService, dsn: str) -> None:
    async with connect(dsn) as connection:
        rows = await connection.fetch(CHOOSE, CHANGED // 2)
    now = datetime.now(UTC)
    records = [_record(row["external_id"], row["contact_external_id"], now, is_paid=row["is_overdue"]) for row in rows]
    async with service.db.transaction() as session:
        await upsert(session, SOURCE, TENANT_ID, Batch(invoices=records), now)


def _record(external_id: str, contact_id: str, now: datetime, *, is_paid: bool) -> InvoiceRecord:
    today = date.today()  # noqa: DTZ011 - PostgreSQL and this process share the machine's day
    return InvoiceRecord(
        external_id=external_id,
        contact=ContactRecord(external_id=contact_id, name="A contact"),
        number=f"INV-{external_id[:8]}",
        reference=None,
        status=DocumentStatus.PAID if is_paid else DocumentStatus.OPEN,
        vendor_status="PAID" if is_paid else "AUTHORISED",
        currency="EUR",
        exchange_rate=Decimal(1),
        subtotal=AMOUNT,
        tax=Decimal(0),
        total=AMOUNT,
        paid=AMOUNT if is_paid else Decimal(0),
        credited=Decimal(0),
        balance=Decimal(0) if is_paid else AMOUNT,
        issued_on=today - timedelta(days=60),
        due_on=today - timedelta(days=30),
        paid_on=today if is_paid else None,
        vendor_url=None,
        vendor_updated_at=now,
    )


async def require_alerts(dsn: str) -> None:
    """Raise RuntimeError unless there is an open alert for each overdue invoice, so that something was measured."""
    async with connect(dsn) as connection:
        overdue = await connection.fetchval(f"SELECT count(*) FROM billing_invoices WHERE {OVERDUE}")  # noqa: S608 - a constant
        statement = "SELECT count(*) FROM billing_alerts WHERE status = 'open' AND trigger = 'invoice_overdue'"
        alerts = await connection.fetchval(statement)
    if alerts != overdue:
        raise RuntimeError(f"{alerts} alerts are open for {overdue} overdue invoices.")


def _compare(bench: Bench, many: list[Cost], few: list[Cost]) -> Comparison:
    return Comparison(
        row=NAME,
        what=f"alerts after {CHANGED} changed invoices of {bench.sizes.invoices:,}",
        ours=Samples.of((cost.seconds for cost in many), "s"),
        beside=f"of {bench.sizes.few_invoices:,}",
        theirs=Samples.of((cost.seconds for cost in few), "s"),
        target=Target(1.5, is_higher_better=False),
        our_cpu=tuple(cost.cpu + cost.database_cpu for cost in many),
        their_cpu=tuple(cost.cpu + cost.database_cpu for cost in few),
        note=NOTE,
    )
