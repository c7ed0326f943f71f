"""Billing rows made by SQL, as many as the benchmarks of reads and alerts ask for, in the mirror's own form.

Of the invoices 1 in 100 is overdue and 2 are open and not due yet; the others are paid, three in five with a payment of
their own. Every customer has 100 invoices, one contact and one service; 1 invoice in 50 has a credit memo beside it.
"""

from bench.database import connect

SOURCE, TENANT_ID = "xero", "5eed0000-0000-4000-8000-000000000000"
INVOICES_PER_CUSTOMER = 100
STATEMENTS = (
    """
    INSERT INTO customers (id, name, name_key)
    SELECT md5('customer' || n)::uuid, 'Customer ' || n, 'customer ' || n FROM generate_series(1, $1 / 100) AS n
    """,
    """
    INSERT INTO customer_links (customer_id, source, source_tenant_id, external_id, name, name_key, state, matched_by,
                                vendor_updated_at, vendor_read_at)
    SELECT md5('customer' || n)::uuid, 'xero', '5eed0000-0000-4000-8000-000000000000', md5('contact' || n)::uuid::text,
           'Customer ' || n, 'customer ' || n, 'matched', 'name', now() - interval '1 year', now()
    FROM generate_series(1, $1 / 100) AS n
    """,
    """
    INSERT INTO billing_invoices (id, source, source_tenant_id, external_id, customer_id, contact_external_id, number,
                                  status, vendor_status, currency, exchange_rate, subtotal, tax, total, paid, balance,
                                  issued_on, due_on, paid_on, vendor_updated_at, vendor_read_at)
    SELECT md5('invoice' || n)::uuid, 'xero', '5eed0000-0000-4000-8000-000000000000', md5('invoice' || n)::uuid::text,
           md5('customer' || c)::uuid, md5('contact' || c)::uuid::text, 'INV-' || n,
           CASE WHEN is_open THEN 'open' ELSE 'paid' END, CASE WHEN is_open THEN 'AUTHORISED' ELSE 'PAID' END,
           'EUR', 1, 100 + n % 50, 20, 120 + n % 50, CASE WHEN is_open THEN 0 ELSE 120 + n % 50 END,
           CASE WHEN is_open THEN 120 + n % 50 ELSE 0 END, issued_on, issued_on + 30,
           CASE WHEN is_open THEN NULL ELSE issued_on + 20 END, now() - interval '1 day', now()
    FROM (
        SELECT n, 1 + (n / 3) % ($1 / 100) AS c, n % 100 < 3 AS is_open,
               current_date - CASE WHEN n % 100 = 0 THEN 31 + n % 60 WHEN n % 100 < 3 THEN n % 29 ELSE n % 1000 END
                   AS issued_on
        FROM generate_series(1, $1) AS n
    ) AS numbered
    """,
    """
    INSERT INTO billing_payments (source, source_tenant_id, external_id, invoice_external_id, invoice_id, customer_id,
                                  contact_external_id, amount, currency, exchange_rate, paid_on, vendor_updated_at,
                                  vendor_read_at)
    SELECT source, source_tenant_id, md5('payment' || number)::uuid::text, external_id, id, customer_id,
           contact_external_id, total, currency, 1, paid_on, vendor_updated_at, vendor_read_at
    FROM billing_invoices WHERE status = 'paid' AND right(number, 1) BETWEEN '4' AND '9'
    """,
    """
    INSERT INTO billing_credit_memos (source, source_tenant_id, external_id, customer_id, contact_external_id, number,
                                      status, currency, exchange_rate, total, remaining, issued_on, vendor_updated_at,
                                      vendor_read_at)
    SELECT source, source_tenant_id, md5('credit' || number)::uuid::text, customer_id, contact_external_id,
           'CN-' || number, 'open', currency, 1, 12, 12, issued_on, vendor_updated_at, vendor_read_at
    FROM billing_invoices WHERE right(number, 2) IN ('10', '60')
    """,
    """
    INSERT INTO billing_services (external_id, customer_id, name, monthly_amount, currency, starts_on)
    SELECT 'service ' || name, id, 'Managed service', 100, 'EUR', current_date - 10 FROM customers
    """,
    "INSERT INTO billing_organisations VALUES ('xero', '5eed0000-0000-4000-8000-000000000000', 'EUR')",
)


async def seed(dsn: str, invoices: int) -> None:
    """Fill a migrated, empty database, and let PostgreSQL gather statistics."""
    async with connect(dsn) as connection:
        for statement in STATEMENTS:
            await connection.execute(statement, *([invoices] if "$1" in statement else []))
        await connection.execute("VACUUM ANALYZE")


async def list_customer_ids(dsn: str, limit: int) -> list[str]:
    """Return the ids of customers in no particular order, the same at every call."""
    async with connect(dsn) as connection:
        rows = await connection.fetch("SELECT id::text FROM customers ORDER BY md5(id::text) LIMIT $1", limit)
    return [row["id"] for row in rows]
