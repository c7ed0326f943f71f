"""What a row refers to is stored, whoever writes it: unknown rows are refused, deletions are refused or followed."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from app.billing.locks import lock_tenant
from app.billing.matching.relink import delete_empty_customers
from tests.support.factories import Ledger, invoice, memo, payment

NOWHERE = uuid4()
REFERENCES = (
    ("billing_invoices", "customer_id"),
    ("billing_credit_memos", "customer_id"),
    ("billing_payments", "customer_id"),
    ("billing_payments", "invoice_id"),
    ("billing_credit_allocations", "credit_memo_id"),
    ("billing_credit_allocations", "invoice_id"),
    ("billing_alerts", "customer_id"),
)
INSERTS = {
    "billing_invoices": "(source, source_tenant_id, external_id, customer_id, status, currency, total, balance)"
    " VALUES ('sage', 't1', 'i1', :customer_id, 'open', 'GBP', 10, 10)",
    "billing_credit_memos": "(source, source_tenant_id, external_id, customer_id, status, currency, total, remaining)"
    " VALUES ('sage', 't1', 'm1', :customer_id, 'open', 'GBP', 10, 10)",
    "billing_payments": "(source, source_tenant_id, external_id, customer_id, invoice_id, amount, currency)"
    " VALUES ('sage', 't1', 'p1', :customer_id, :invoice_id, 10, 'GBP')",
    "billing_credit_allocations": "(source, source_tenant_id, credit_external_id, invoice_external_id, amount,"
    " credit_memo_id, invoice_id) VALUES ('sage', 't1', 'm1', 'i1', 10, :credit_memo_id, :invoice_id)",
    "billing_alerts": "(trigger, severity, customer_id, subject_type, subject_id, title, detail)"
    " VALUES ('invoice_overdue', 'info', :customer_id, 'invoice', gen_random_uuid(), '', '')",
}


@pytest.fixture
async def ids(db):
    """The ids of a customer, an invoice with a payment and a credit, and that credit memo, by the columns' names."""
    await Ledger(db).write(invoice(), payment(), memo(parts=[("i1", "10")]))
    async with db.transaction() as session:
        found = {
            name: await session.scalar(text(f"SELECT id FROM {table}"))  # noqa: S608 - the names beside it
            for name, table in (
                ("customer_id", "customers"),
                ("invoice_id", "billing_invoices"),
                ("credit_memo_id", "billing_credit_memos"),
            )
        }
        await session.execute(text(f"INSERT INTO billing_alerts {INSERTS['billing_alerts']}"), found)
    return found


async def execute(db, statement, **values):
    async with db.transaction() as session:
        return (await session.execute(text(statement), values)).rowcount


async def values_of(db, table, column):
    async with db.transaction() as session:
        return list((await session.scalars(text(f"SELECT {column} FROM {table}"))).all())  # noqa: S608 - see REFERENCES


@pytest.mark.parametrize(("table", "column"), REFERENCES)
async def test_a_row_that_refers_to_an_unknown_one_is_refused_when_inserted_and_when_changed(db, ids, table, column):
    with pytest.raises(IntegrityError, match=f"{table}.{column} refers to {NOWHERE}"):
        await execute(db, f"INSERT INTO {table} {INSERTS[table]}", **{**ids, column: NOWHERE})
    with pytest.raises(IntegrityError, match=f"{table}.{column} refers to {NOWHERE}"):
        await execute(db, f"UPDATE {table} SET {column} = :id", id=NOWHERE)  # noqa: S608 - see REFERENCES
    assert NOWHERE not in await values_of(db, table, column)
    assert await execute(db, f"INSERT INTO {table} {INSERTS[table]}", **ids) == 1


@pytest.mark.parametrize("table", sorted({table for table, column in REFERENCES if column == "customer_id"}))
async def test_a_customer_is_not_deleted_while_a_row_refers_to_it(db, ids, table):
    await execute(db, "DELETE FROM customer_links")
    for other in {table for table, column in REFERENCES if column == "customer_id"} - {table}:
        await execute(db, f"DELETE FROM {other}")  # noqa: S608 - see REFERENCES
    with pytest.raises(IntegrityError, match=f"{ids['customer_id']} of customers cannot be deleted: {table}"):
        await execute(db, "DELETE FROM customers")
    await execute(db, f"DELETE FROM {table}")  # noqa: S608 - see REFERENCES
    assert await execute(db, "DELETE FROM customers") == 1


async def test_what_refers_to_a_deleted_invoice_stays_without_it_and_the_allocations_of_a_credit_memo_go_with_it(
    db, ids
):
    assert await values_of(db, "billing_payments", "invoice_id") == [ids["invoice_id"]]
    assert await values_of(db, "billing_credit_allocations", "invoice_id") == [ids["invoice_id"]]
    await execute(db, "DELETE FROM billing_invoices")
    assert await values_of(db, "billing_payments", "invoice_id") == [None]
    assert await values_of(db, "billing_credit_allocations", "invoice_id") == [None]
    await execute(db, "DELETE FROM billing_credit_memos")
    assert await values_of(db, "billing_credit_allocations", "id") == []


@pytest.mark.parametrize("table", ["customers", "billing_invoices", "billing_credit_memos"])
@pytest.mark.usefixtures("ids")
async def test_the_id_that_rows_refer_to_cannot_be_changed(db, table):
    with pytest.raises(IntegrityError, match=f"the id of a row of {table} cannot be changed"):
        await execute(db, f"UPDATE {table} SET id = gen_random_uuid()")  # noqa: S608 - the names above
    assert await execute(db, f"UPDATE {table} SET id = id") == 1  # noqa: S608 - the names above


async def test_a_customer_that_another_service_is_about_to_refer_to_is_not_deleted_meanwhile(db):
    """The other service takes none of our locks, so the customer itself is locked."""
    await execute(db, "INSERT INTO customers (name) VALUES ('Lately made')")
    async with db.transaction() as session:
        lately = await session.scalar(text("SELECT id FROM customers WHERE name = 'Lately made'"))

    async def delete():
        async with db.transaction() as session:
            await lock_tenant(session, "xero", "t1")
            await delete_empty_customers(session, [lately])

    async with db.transaction() as session:
        statement = f"INSERT INTO billing_invoices {INSERTS['billing_invoices']}"
        await session.execute(text(statement), {"customer_id": lately})
        deleting = asyncio.create_task(delete())
        await wait_until_blocked(db)
        assert not deleting.done()
    await deleting
    assert lately in await values_of(db, "billing_invoices", "customer_id")
    assert lately in await values_of(db, "customers", "id")


async def wait_until_blocked(db):
    """Return when a transaction of this database waits for another."""
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while True:
            async with db.transaction() as session:
                if await session.scalar(text(blocked)):
                    return
