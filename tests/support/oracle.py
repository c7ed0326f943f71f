"""The test oracle: what the billing tables must hold according to the simulated Xero's books, and what it cost."""

from app.db_connection import APPLICATION_NAME
from tests.support.service import ServiceHarness, money
from tests.support.waiting import wait_until

XERO_RESOURCES = ("Contacts", "Invoices", "CreditNotes", "Payments")
MIRROR_TABLES = (
    "customers",
    "customer_links",
    "billing_invoices",
    "billing_payments",
    "billing_credit_memos",
    "billing_credit_allocations",
    "external_timeline_events",
    "billing_alerts",
    "billing_organisations",
    "quarantined_rows",
)
OTHER_CONNECTIONS = (
    "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
    " AND starts_with(application_name, :name) AND pid <> pg_backend_pid()"
)
# Xero's word for a status and ours.
STATUSES = {
    "DRAFT": "draft",
    "SUBMITTED": "draft",
    "AUTHORISED": "open",
    "PAID": "paid",
    "VOIDED": "void",
    "DELETED": "deleted",
}


async def assert_mirror_equals(harness: ServiceHarness, tenant_id: str) -> None:
    """Compare one organisation's invoices, payments, credit memos, allocations and customers with Xero's books."""
    invoices = await _expected_invoices(harness, tenant_id)
    assert invoices, "books without invoices would equal an empty mirror"
    assert await _mirrored_invoices(harness, tenant_id) == invoices
    assert await _mirrored_payments(harness, tenant_id) == await _expected_payments(harness, tenant_id)
    assert await _mirrored_credit_memos(harness, tenant_id) == await _expected_credit_memos(harness, tenant_id)
    assert await _mirrored_customers(harness, tenant_id) == await _expected_customers(harness, tenant_id)


async def count_calls_by_resource(harness: ServiceHarness, tenant_id: str) -> dict[str, int]:
    """Count the accounting calls that Xero logged for one organisation, by resource."""
    counts = dict.fromkeys(XERO_RESOURCES, 0)
    for call in await harness.xero_calls():
        if call["tenant_id"] == tenant_id:
            counts[call["resource"]] += 1
    return counts


async def count_writes(harness: ServiceHarness) -> dict[str, int]:
    """Count the rows inserted, updated and deleted so far, by table of the mirror.

    A backend reports what it wrote at the latest when it ends, some time after its connection is closed. So the pools
    are closed, and the numbers are read when PostgreSQL no longer lists any backend of the service.
    """
    for database in harness.services.databases:
        await database.engine.dispose()

    async def are_reported() -> bool:
        return not await harness.query(OTHER_CONNECTIONS, name=APPLICATION_NAME)

    await wait_until(are_reported, "the backends of closed connections have ended")
    rows = await harness.query(
        "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS written FROM pg_stat_user_tables"
        " WHERE relname = ANY(:names)",
        names=list(MIRROR_TABLES),
    )
    assert len(rows) == len(MIRROR_TABLES)
    return {row["relname"]: row["written"] for row in rows}


async def _mirrored_invoices(harness, tenant_id):
    rows = await harness.query(
        "SELECT i.*, l.external_id AS contact FROM billing_invoices i JOIN customer_links l ON l.customer_id ="
        " i.customer_id AND l.source = i.source AND l.source_tenant_id = i.source_tenant_id"
        " AND l.external_id = i.contact_external_id WHERE i.source_tenant_id = :t AND i.status <> 'deleted'",
        t=tenant_id,
    )
    return {
        row["external_id"]: (
            row["contact"],
            row["number"],
            row["status"],
            row["currency"],
            *(money(row[name]) for name in ("total", "paid", "credited", "balance")),
            str(row["issued_on"]),
            str(row["due_on"]),
        )
        for row in rows
    }


async def _expected_invoices(harness, tenant_id):
    return {
        row["id"]: (
            row["contact_id"],
            row["number"] or None,
            STATUSES[row["status"]],
            row["currency"],
            *(money(row[name]) for name in ("total", "amount_paid", "amount_credited")),
            # Nothing is due of a voided invoice, although Xero keeps its other amounts.
            money(row["amount_due"] if row["status"] != "VOIDED" else 0),
            row["issued_on"],
            str(row["due_on"]),
        )
        for row in await harness.xero_rows(tenant_id, "Invoices")
        if row["type"] == "ACCREC" and row["status"] != "DELETED"
    }


async def _mirrored_payments(harness, tenant_id):
    rows = await harness.query(
        "SELECT p.*, i.external_id AS joined FROM billing_payments p LEFT JOIN billing_invoices i ON i.id ="
        " p.invoice_id WHERE p.source_tenant_id = :t AND p.status = 'active'",
        t=tenant_id,
    )
    return {
        row["external_id"]: (row["joined"], money(row["amount"]), row["currency"], str(row["paid_on"])) for row in rows
    }


async def _expected_payments(harness, tenant_id):
    currencies = {row["id"]: row["currency"] for row in await harness.xero_rows(tenant_id, "Invoices")}
    return {
        row["id"]: (row["document_id"], money(row["amount"]), currencies[row["document_id"]], row["paid_on"])
        for row in await harness.xero_rows(tenant_id, "Payments")
        if row["type"] == "ACCRECPAYMENT" and row["status"] == "AUTHORISED"
    }


async def _mirrored_credit_memos(harness, tenant_id):
    rows = await harness.query(
        "SELECT m.*, (SELECT coalesce(sum(a.amount), 0) FROM billing_credit_allocations a"
        " WHERE a.credit_memo_id = m.id) AS applied"
        " FROM billing_credit_memos m WHERE m.source_tenant_id = :t AND m.status <> 'deleted'",
        t=tenant_id,
    )
    return {
        row["external_id"]: (row["status"], *(money(row[name]) for name in ("total", "remaining", "applied")))
        for row in rows
    }


async def _expected_credit_memos(harness, tenant_id):
    return {
        row["id"]: (
            STATUSES[row["status"]],
            money(row["total"]),
            money(row["remaining"] if row["status"] != "VOIDED" else 0),
            money(sum(money(part["amount"]) for part in row["allocations"])),
        )
        for row in await harness.xero_rows(tenant_id, "CreditNotes")
        if row["type"] == "ACCRECCREDIT" and row["status"] != "DELETED"
    }


async def _mirrored_customers(harness, tenant_id):
    return {
        row["external_id"]: row["name"]
        for row in await harness.query(
            "SELECT external_id, name FROM customer_links WHERE source_tenant_id = :t", t=tenant_id
        )
    }


async def _expected_customers(harness, tenant_id):
    """Return the contacts that Xero calls customers, and those that a receivable names."""
    invoices = await harness.xero_rows(tenant_id, "Invoices")
    memos = await harness.xero_rows(tenant_id, "CreditNotes")
    named = {row["contact_id"] for row in (*invoices, *memos) if row["type"] in {"ACCREC", "ACCRECCREDIT"}}
    contacts = await harness.xero_rows(tenant_id, "Contacts")
    return {row["id"]: row["name"] for row in contacts if row["is_customer"] or row["id"] in named}
