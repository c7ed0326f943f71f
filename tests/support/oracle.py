"""The oracle: what our tables must hold, worked out from the pretend Xero's own books, row for row."""

from tests.support.service import World, money

STATUSES = {
    "DRAFT": "draft",
    "SUBMITTED": "draft",
    "AUTHORISED": "open",
    "PAID": "paid",
    "VOIDED": "void",
    "DELETED": "deleted",
}


async def assert_mirror_equals(world: World, tenant_id: str) -> None:
    """Compare invoices, payments, credit memos, allocations and customers of one organisation with Xero's books."""
    invoices = await _their_invoices(world, tenant_id)
    assert invoices, "an oracle without invoices would agree with an empty mirror"
    assert await _our_invoices(world, tenant_id) == invoices
    assert await _our_payments(world, tenant_id) == await _their_payments(world, tenant_id)
    assert await _our_memos(world, tenant_id) == await _their_memos(world, tenant_id)
    assert await _our_customers(world, tenant_id) == await _their_customers(world, tenant_id)


async def _our_invoices(world, tenant_id):
    rows = await world.rows(
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


async def _their_invoices(world, tenant_id):
    return {
        row["id"]: (
            row["contact_id"],
            row["number"] or None,
            STATUSES[row["status"]],
            row["currency"],
            *(money(row[name]) for name in ("total", "amount_paid", "amount_credited")),
            # A voided invoice owes nothing, whatever the rest says.
            money(row["amount_due"] if row["status"] != "VOIDED" else 0),
            row["issued_on"],
            str(row["due_on"]),
        )
        for row in await world.state(tenant_id, "Invoices")
        if row["type"] == "ACCREC" and row["status"] != "DELETED"
    }


async def _our_payments(world, tenant_id):
    rows = await world.rows(
        "SELECT p.*, i.external_id AS joined FROM billing_payments p LEFT JOIN billing_invoices i ON i.id ="
        " p.invoice_id WHERE p.source_tenant_id = :t AND p.status = 'active'",
        t=tenant_id,
    )
    return {
        row["external_id"]: (row["joined"], money(row["amount"]), row["currency"], str(row["paid_on"])) for row in rows
    }


async def _their_payments(world, tenant_id):
    currencies = {row["id"]: row["currency"] for row in await world.state(tenant_id, "Invoices")}
    return {
        row["id"]: (row["document_id"], money(row["amount"]), currencies[row["document_id"]], row["paid_on"])
        for row in await world.state(tenant_id, "Payments")
        if row["type"] == "ACCRECPAYMENT" and row["status"] == "AUTHORISED"
    }


async def _our_memos(world, tenant_id):
    rows = await world.rows(
        "SELECT m.*, (SELECT coalesce(sum(a.amount), 0) FROM billing_credit_allocations a"
        " WHERE a.credit_memo_id = m.id) AS applied"
        " FROM billing_credit_memos m WHERE m.source_tenant_id = :t AND m.status <> 'deleted'",
        t=tenant_id,
    )
    return {
        row["external_id"]: (row["status"], *(money(row[name]) for name in ("total", "remaining", "applied")))
        for row in rows
    }


async def _their_memos(world, tenant_id):
    return {
        row["id"]: (
            STATUSES[row["status"]],
            money(row["total"]),
            money(row["remaining"] if row["status"] != "VOIDED" else 0),
            money(sum(money(part["amount"]) for part in row["allocations"])),
        )
        for row in await world.state(tenant_id, "CreditNotes")
        if row["type"] == "ACCRECCREDIT" and row["status"] != "DELETED"
    }


async def _our_customers(world, tenant_id):
    return {
        row["external_id"]: row["name"]
        for row in await world.rows(
            "SELECT external_id, name FROM customer_links WHERE source_tenant_id = :t", t=tenant_id
        )
    }


async def _their_customers(world, tenant_id):
    """Return contacts that Xero calls customers, and those any receivable names."""
    invoices = await world.state(tenant_id, "Invoices")
    memos = await world.state(tenant_id, "CreditNotes")
    named = {row["contact_id"] for row in (*invoices, *memos) if row["type"] in {"ACCREC", "ACCRECCREDIT"}}
    contacts = await world.state(tenant_id, "Contacts")
    return {row["id"]: row["name"] for row in contacts if row["is_customer"] or row["id"] in named}
