"""Factories of records with default values, and a ledger that writes them into the tables and reads rows back."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from app.billing.records import (
    AllocationRecord,
    Batch,
    ContactRecord,
    CreditKind,
    CreditMemoRecord,
    DocumentStatus,
    InvoiceRecord,
    PaymentRecord,
    PaymentStatus,
    Resource,
)
from app.billing.store import upsert

MONEY = {"total": "115.00", "paid": "0", "credited": "0"}
START = datetime(2026, 11, 1, 8, tzinfo=UTC)


def at(minutes):
    """Return the instant so many minutes after `START`."""
    return START + timedelta(minutes=minutes)


def contact(external_id="c1", name="Acme Ltd", minute=None, **more):
    stamp = None if minute is None else at(minute)
    more.setdefault("is_customer", True if minute is not None else None)
    return ContactRecord(external_id=external_id, name=name, vendor_updated_at=stamp, **more)


def invoice(external_id="i1", minute=0, *, of=None, **more):
    money = {name: Decimal(more.pop(name, default)) for name, default in MONEY.items()}
    balance = money["total"] - money["paid"] - money["credited"]
    facts: dict[str, Any] = {
        "number": f"INV-{external_id}",
        "reference": None,
        "status": DocumentStatus.OPEN if balance else DocumentStatus.PAID,
        "vendor_status": "AUTHORISED",
        "currency": "NZD",
        "exchange_rate": Decimal(1),
        "subtotal": None,
        "tax": None,
        "balance": balance,
        "issued_on": date(2026, 10, 1),
        "due_on": date(2026, 10, 20),
        "paid_on": None if balance else date(2026, 10, 30),
        "vendor_url": f"https://books.example/{external_id}",
    }
    facts.update(money, **more)
    return InvoiceRecord(external_id=external_id, contact=of or contact(), vendor_updated_at=at(minute), **facts)


def payment(external_id="p1", minute=0, *, of=None, to="i1", amount="115.00", **more):
    facts: dict[str, Any] = {
        "currency": "NZD",
        "exchange_rate": Decimal(1),
        "paid_on": date(2026, 10, 30),
        "reference": None,
        "status": PaymentStatus.ACTIVE,
    }
    return PaymentRecord(
        external_id=external_id,
        contact=of,
        invoice_external_id=to,
        amount=Decimal(amount),
        vendor_updated_at=at(minute),
        **{**facts, **more},
    )


def memo(external_id="m1", minute=0, *, of=None, total="50.00", parts=(), **more):
    allocations = tuple(allocation(external_id, to, amount) for to, amount in parts)
    facts: dict[str, Any] = {
        "number": f"CN-{external_id}",
        "reference": None,
        "status": DocumentStatus.OPEN,
        "vendor_status": "AUTHORISED",
        "currency": "NZD",
        "exchange_rate": Decimal(1),
        "remaining": Decimal(total) - sum(part.amount for part in allocations),
        "issued_on": date(2026, 10, 5),
        "vendor_url": None,
    }
    return CreditMemoRecord(
        external_id=external_id,
        contact=of or contact(),
        total=Decimal(total),
        allocations=allocations,
        vendor_updated_at=at(minute),
        **{**facts, **more},
    )


def allocation(credit, to, amount, kind=CreditKind.CREDIT_MEMO, **more):
    return AllocationRecord(
        kind=kind,
        credit_external_id=credit,
        invoice_external_id=to,
        amount=Decimal(amount),
        applied_on=date(2026, 10, 6),
        **more,
    )


class Ledger:
    """Writes the records of one tenant into the tables, and reads any table."""

    def __init__(self, db, source="xero", tenant_id="t1"):
        self.db = db
        self.source = source
        self.tenant_id = tenant_id

    def of(self, tenant_id, source=None):
        return Ledger(self.db, source or self.source, tenant_id)

    async def write(self, *records, read=60):
        """Write records as one response, read at that minute; return the counts."""
        resources: dict[type, Resource] = {
            ContactRecord: Resource.CONTACTS,
            InvoiceRecord: Resource.INVOICES,
            PaymentRecord: Resource.PAYMENTS,
            CreditMemoRecord: Resource.CREDIT_MEMOS,
        }
        batch: dict[str, Any] = {
            resource: [record for record in records if type(record) is kind] for kind, resource in resources.items()
        }
        async with self.db.transaction() as session:
            return await upsert(session, self.source, self.tenant_id, Batch(**batch), at(read))

    async def rows(self, table, where="true", order="1"):
        """Return rows as mappings."""
        return (await self._execute(f"SELECT * FROM {table} WHERE {where} ORDER BY {order}")).mappings().all()  # noqa: S608 - the test's own SQL

    async def row(self, table, where="true"):
        rows = await self.rows(table, where)
        assert len(rows) == 1, rows
        return rows[0]

    async def count(self, table, where="true"):
        return len(await self.rows(table, where))

    async def run(self, statement, **parameters):
        """Execute SQL on the tables, as another service would; return how many rows it changed."""
        return (await self._execute(statement, parameters)).rowcount

    async def _execute(self, statement, parameters=None):
        async with self.db.transaction() as session:
            return await session.execute(text(statement), parameters or {})
