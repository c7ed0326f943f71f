"""Edits: what each does to rows, to totals, and to UpdatedDateUTC, which Xero does not change for every edit."""

import pytest


@pytest.fixture
async def contact(xero):
    """A contact's id; it has no documents yet."""
    (row,) = await xero.edit("create_contact", name="Edited & Co", email="e@example.com")
    return row["id"]


@pytest.fixture
async def invoice(xero, contact, clock):
    """An AUTHORISED invoice of 110.00, an hour old."""
    (row,) = await xero.edit("create_invoice", contact_id=contact, total="110.00")
    clock.advance(1000)
    return row


async def state(xero, resource, row_id):
    rows = await xero.control("GET", f"/tenants/{xero.tenant}/state?resource={resource}")
    return next(row for row in rows[resource] if row["id"] == row_id)


def sums(row):
    return row["status"], row["amount_due"], row["amount_paid"], row["amount_credited"]


async def test_a_payment_pays_its_invoice_and_has_the_same_timestamp(xero, invoice):
    payment, paid = await xero.edit("pay", invoice_id=invoice["id"], reference="Thanks")
    assert sums(paid) == ("PAID", "0.00", "110.00", "0.00")
    assert paid["paid_on"] == "2026-11-22"
    assert (payment["type"], payment["amount"], payment["document_id"]) == ("ACCRECPAYMENT", "110.00", invoice["id"])
    assert payment["updated_at"] == paid["updated_at"] > invoice["updated_at"]


async def test_a_part_payment_leaves_the_rest_open(xero, invoice):
    _, paid = await xero.edit("pay", invoice_id=invoice["id"], amount="10.01", paid_on="2026-11-01")
    assert sums(paid) == ("AUTHORISED", "99.99", "10.01", "0.00")
    assert paid["paid_on"] is None


async def test_a_deleted_payment_is_kept_and_its_invoice_is_due_again(xero, invoice, clock):
    payment, paid = await xero.edit("pay", invoice_id=invoice["id"])
    clock.advance(60)
    deleted, reopened = await xero.edit("delete_payment", payment_id=payment["id"])
    assert deleted["status"] == "DELETED"
    assert sums(reopened) == ("AUTHORISED", "110.00", "0.00", "0.00")
    assert deleted["updated_at"] == reopened["updated_at"] > paid["updated_at"]
    assert (await xero.row("Invoices", invoice["id"]))["Payments"] == []
    assert (await xero.row("Payments", payment["id"]))["Status"] == "DELETED"


async def test_a_void_zeroes_what_is_due_and_keeps_the_total(xero, invoice):
    (voided,) = await xero.edit("void", id=invoice["id"])
    assert sums(voided) == ("VOIDED", "0.00", "0.00", "0.00")
    assert voided["total"] == "110.00"
    assert voided["updated_at"] > invoice["updated_at"]


async def test_a_draft_can_be_deleted_or_approved(xero, contact):
    drafts = [(await xero.edit("create_invoice", contact_id=contact, status="DRAFT"))[0] for _ in range(2)]
    (deleted,) = await xero.edit("delete", id=drafts[0]["id"])
    (approved,) = await xero.edit("approve", id=drafts[1]["id"])
    assert (deleted["status"], approved["status"]) == ("DELETED", "AUTHORISED")
    assert (await xero.row("Invoices", deleted["id"]))["Status"] == "DELETED"


async def test_a_fully_credited_invoice_is_paid_with_nothing_paid(xero, contact, invoice):
    (note,) = await xero.edit("create_credit_note", contact_id=contact, total="110.00")
    used, credited = await xero.edit("allocate", credit_id=note["id"], invoice_id=invoice["id"])
    assert sums(credited) == ("PAID", "0.00", "0.00", "110.00")
    assert (used["status"], used["remaining"]) == ("PAID", "0.00")


async def test_a_removed_allocation_disappears_from_credit_and_invoice(xero, contact, invoice):
    (note,) = await xero.edit("create_credit_note", contact_id=contact, total="110.00")
    used, _ = await xero.edit("allocate", credit_id=note["id"], invoice_id=invoice["id"])
    restored, reopened = await xero.edit("deallocate", allocation_id=used["allocations"][0]["id"])
    assert (restored["status"], restored["remaining"], restored["allocations"]) == ("AUTHORISED", "110.00", [])
    assert sums(reopened) == ("AUTHORISED", "110.00", "0.00", "0.00")
    assert (await xero.row("CreditNotes", note["id"]))["Allocations"] == []
    assert (await xero.row("Invoices", invoice["id"]))["CreditNotes"] == []


@pytest.mark.parametrize(
    ("rule", "updates"), [("always", (True, True)), ("status", (False, True)), ("never", (False, False))]
)
async def test_an_option_decides_whether_an_allocation_updates_the_invoice(xero, invoice, clock, rule, updates):
    """A part is allocated first, then the rest."""
    await xero.control("PATCH", "/options", allocation_moves_invoice=rule)
    for amount, is_updated in zip(("10.00", "100.00"), updates, strict=True):
        before = (await state(xero, "Invoices", invoice["id"]))["updated_at"]
        clock.advance(60)
        (note,) = await xero.edit("create_credit_note", contact_id=invoice["contact_id"], total=amount)
        changed = await xero.edit("allocate", credit_id=note["id"], invoice_id=invoice["id"])
        after = await state(xero, "Invoices", invoice["id"])
        assert (after["updated_at"] > before) is is_updated
        assert [row["id"] for row in changed] == ([note["id"], invoice["id"]] if is_updated else [note["id"]])
    shown = await xero.row("Invoices", invoice["id"])
    assert (shown["Status"], shown["AmountCredited"]) == ("PAID", 110)


@pytest.mark.parametrize(
    ("make", "types"),
    [
        ("create_credit_note", ("CreditNotes", "ARCREDITPAYMENT", "ACCRECCREDIT")),
        ("create_overpayment", ("Overpayments", "AROVERPAYMENTPAYMENT", "AROVERPAYMENT")),
        ("create_prepayment", ("Prepayments", "ARPREPAYMENTPAYMENT", "ARPREPAYMENT")),
    ],
)
async def test_a_refund_is_a_payment_of_the_credit(xero, contact, make, types):
    resource, payment_type, nested = types
    (credit,) = await xero.edit(make, contact_id=contact, total="30.00")
    payment, refunded = await xero.edit("refund", id=credit["id"], amount="12.00")
    assert (payment["type"], payment["document_resource"]) == (payment_type, resource)
    assert refunded["remaining"] == "18.00"
    shown = await xero.row("Payments", payment["id"])
    assert (shown["Invoice"]["Type"], shown["Invoice"]["InvoiceID"]) == (nested, credit["id"])


async def test_a_refund_of_a_purchase_credit_is_a_payable_payment(xero, contact):
    (credit,) = await xero.edit("create_credit_note", contact_id=contact, type="ACCPAYCREDIT")
    payment, _ = await xero.edit("refund", id=credit["id"])
    assert payment["type"] == "APCREDITPAYMENT"


async def test_the_first_invoice_makes_a_customer_without_updating_the_contact(xero, contact, clock):
    before = await state(xero, "Contacts", contact)
    shown = await xero.row("Contacts", contact)
    assert (shown["IsCustomer"], shown["IsSupplier"]) == (False, False)
    clock.advance(60)
    await xero.edit("create_invoice", contact_id=contact, total="110.00")
    shown = await xero.row("Contacts", contact)
    assert (shown["IsCustomer"], shown["IsSupplier"]) == (True, False)
    assert shown["Balances"]["AccountsReceivable"]["Outstanding"] == 110
    after = await state(xero, "Contacts", contact)
    assert after["updated_at"] == before["updated_at"]
    since = {"If-Modified-Since": "2026-11-22T10:00:30"}
    assert contact not in [row["ContactID"] for row in await xero.rows("Contacts", headers=since)]


async def test_the_first_bill_makes_a_supplier(xero, contact):
    await xero.edit("create_invoice", contact_id=contact, type="ACCPAY", total="20.00")
    shown = await xero.row("Contacts", contact)
    assert (shown["IsCustomer"], shown["IsSupplier"]) == (False, True)
    assert shown["Balances"]["AccountsPayable"]["Outstanding"] == 20


async def test_balances_follow_the_open_invoices(xero, contact, clock):
    await xero.edit("create_invoice", contact_id=contact, total="60.00", issued_on="2026-10-01", due_on="2026-10-10")
    (second,) = await xero.edit("create_invoice", contact_id=contact, total="40.00", due_on="2026-11-23")
    shown = (await xero.row("Contacts", contact))["Balances"]["AccountsReceivable"]
    assert shown == {"Outstanding": 100, "Overdue": 60}
    clock.advance(2 * 86_400)
    xero.tokens = (await xero.refresh()).json()
    shown = (await xero.row("Contacts", contact))["Balances"]["AccountsReceivable"]
    assert shown == {"Outstanding": 100, "Overdue": 100}, "midnight passed"
    await xero.edit("void", id=second["id"])
    assert (await xero.row("Contacts", contact))["Balances"]["AccountsReceivable"]["Outstanding"] == 60
    (first,) = await xero.rows("Invoices", ContactIDs=contact, Statuses="AUTHORISED")
    await xero.edit("pay", invoice_id=first["InvoiceID"])
    assert "Balances" not in await xero.row("Contacts", contact)


async def test_balances_may_be_net_of_unapplied_credit(xero, contact):
    await xero.edit("create_invoice", contact_id=contact, total="60.00")
    await xero.edit("create_credit_note", contact_id=contact, total="25.00")
    assert (await xero.row("Contacts", contact))["Balances"]["AccountsReceivable"]["Outstanding"] == 60
    await xero.control("PATCH", "/options", balances_net_of_credits=True)
    assert (await xero.row("Contacts", contact))["Balances"]["AccountsReceivable"]["Outstanding"] == 35


async def test_a_new_due_date_updates_an_invoice_unless_it_is_part_paid(xero, invoice, clock):
    (updated,) = await xero.edit("change_due_date", invoice_id=invoice["id"], due_on="2027-01-31")
    assert updated["updated_at"] > invoice["updated_at"]
    _, paid = await xero.edit("pay", invoice_id=invoice["id"], amount="1.00")
    clock.advance(60)
    assert await xero.edit("change_due_date", invoice_id=invoice["id"], due_on="2027-02-28") == []
    after = await state(xero, "Invoices", invoice["id"])
    assert (after["due_on"], after["updated_at"]) == ("2027-02-28", paid["updated_at"])
    assert (await xero.row("Invoices", invoice["id"]))["DueDateString"] == "2027-02-28T00:00:00"


async def test_a_rename_shows_in_documents_without_updating_them(xero, contact, invoice):
    payment, paid = await xero.edit("pay", invoice_id=invoice["id"])
    await xero.row("Invoices", invoice["id"])
    await xero.row("Payments", payment["id"])
    (renamed,) = await xero.edit("rename", contact_id=contact, name="Renamed Ltd")
    assert (renamed["name"], renamed["updated_at"]) == ("Renamed Ltd", paid["updated_at"])
    assert (await xero.row("Invoices", invoice["id"]))["Contact"]["Name"] == "Renamed Ltd"
    assert (await xero.row("Payments", payment["id"]))["Invoice"]["Contact"]["Name"] == "Renamed Ltd"
    assert (await state(xero, "Invoices", invoice["id"]))["updated_at"] == paid["updated_at"]


async def test_archiving_and_restoring_update_the_contact(xero, contact, clock):
    clock.advance(60)
    (archived,) = await xero.edit("archive", contact_id=contact)
    since = {"If-Modified-Since": "2026-11-22T10:00:30"}
    assert await xero.rows("Contacts", headers=since) == []
    (row,) = await xero.rows("Contacts", headers=since, includeArchived="true")
    assert (row["ContactID"], row["ContactStatus"]) == (contact, "ARCHIVED")
    clock.advance(60)
    (restored,) = await xero.edit("restore", contact_id=contact)
    assert (restored["status"], restored["updated_at"] > archived["updated_at"]) == ("ACTIVE", True)


@pytest.mark.parametrize("updates", [False, True])
async def test_a_merge_archives_one_contact_and_moves_its_documents_to_the_other(xero, contact, invoice, updates):
    await xero.control("PATCH", "/options", merge_moves_documents=updates)
    (target,) = await xero.edit("create_contact", name="Winner")
    before = await xero.row("Invoices", invoice["id"])
    changed = await xero.edit("merge", contact_id=contact, into=target["id"])
    assert [row["id"] for row in changed] == [contact, target["id"], *([invoice["id"]] if updates else [])]
    merged = await xero.row("Contacts", contact)
    assert (merged["ContactStatus"], merged["MergedToContactID"]) == ("ARCHIVED", target["id"])
    assert (await xero.row("Contacts", target["id"]))["IsCustomer"] is True
    after = await xero.row("Invoices", invoice["id"])
    assert (after["Contact"]["ContactID"], after["Contact"]["Name"]) == (target["id"], "Winner")
    assert (after["UpdatedDateUTC"] != before["UpdatedDateUTC"]) is updates


async def test_a_row_can_be_updated_with_a_past_timestamp(xero, invoice):
    (row,) = await xero.edit("stamp", resource="Invoices", id=invoice["id"], at="2026-11-22T09:00:00.123Z")
    assert row["updated_at"] == "2026-11-22T09:00:00.123Z"
    stamps = {row["InvoiceID"]: row["UpdatedDateUTC"] for row in await xero.rows("Invoices")}
    assert list(stamps.values()) == sorted(stamps.values())
    assert stamps[invoice["id"]] == "/Date(1795338000123+0000)/"


async def test_overridden_fields_are_sent_until_the_override_is_removed(xero, invoice):
    target = {"resource": "Invoices", "id": invoice["id"]}
    await xero.edit("spoil", **target, fields={"Status": "EXPLODED", "Total": None, "Extra": {"a": [1]}})
    (row,) = await xero.rows("Invoices", IDs=invoice["id"])
    assert (row["Status"], row["Total"], row["Extra"]) == ("EXPLODED", None, {"a": [1]})
    assert row["InvoiceNumber"] == invoice["number"]
    (restored,) = await xero.edit("spoil", **target, fields={})
    assert restored["status"] == "AUTHORISED"
    (row,) = await xero.rows("Invoices", IDs=invoice["id"])
    assert (row["Status"], row["Total"], "Extra" in row) == ("AUTHORISED", 110, False)


async def test_many_rows_can_share_one_second(xero):
    changed = await xero.edit("bulk_insert", resource="Invoices", count=1200, at="2026-11-22T09:59:58.700Z")
    assert len(changed) == 1200
    assert {row["updated_at"][:19] for row in changed} == {"2026-11-22T09:59:58"}
    assert len({row["updated_at"] for row in changed}) > 500
    document = (await xero.get("Invoices", headers={"If-Modified-Since": "2026-11-22T09:59:58"}, page=1)).json()
    assert document["pagination"]["itemCount"] == 1200


@pytest.mark.parametrize("resource", ["Contacts", "Invoices", "Payments", "CreditNotes"])
async def test_bulk_insert_and_bulk_edit_support_every_resource(xero, resource):
    before = len(await xero.rows(resource, includeArchived="true"))
    await xero.edit("bulk_insert", resource=resource, count=5)
    assert len(await xero.rows(resource, includeArchived="true")) == before + 5
    changed = await xero.edit("bulk_edit", resource=resource, count=20)
    since = {"If-Modified-Since": "2026-11-22T10:00:00"}
    updated = await xero.rows(resource, headers=since, includeArchived="true")
    assert len(updated) >= min(20, before)
    assert {row["updated_at"] for row in changed} == {"2026-11-22T10:00:00.250Z"}


@pytest.mark.parametrize("resource", ["Invoices", "Payments", "CreditNotes"])
async def test_totals_add_up_after_many_edits(xero, resource):
    for _ in range(3):
        for kind in ("Contacts", "Invoices", "Payments", "CreditNotes", resource):
            await xero.edit("bulk_edit", resource=kind, count=40)
    for row in await xero.rows("Invoices"):
        total = row["AmountDue"] + row["AmountPaid"] + row["AmountCredited"]
        assert round(total, 2) == (0 if row["Status"] == "VOIDED" else row["Total"])
        assert round(sum(payment["Amount"] for payment in row["Payments"]), 2) == row["AmountPaid"]
        if row["Status"] in ("PAID", "AUTHORISED"):
            assert (row["AmountDue"] == 0) == (row["Status"] == "PAID")


REFUSED = [
    ({"edit": "pay", "invoice_id": "none"}, "There is no invoice none"),
    ({"edit": "pay"}, "missing required field `invoice_id`"),
    ({"edit": "pay", "invoice_id": "x", "colour": "red"}, "unknown field `colour`"),
    ({"edit": "explode"}, "explode"),
    ({}, "edit"),
    ({"edit": "rename", "contact_id": "none", "name": "x"}, "There is no contact none"),
    ({"edit": "delete_payment", "payment_id": "none"}, "There is no payment none"),
    ({"edit": "void", "id": "none"}, "There is no credit none"),
    ({"edit": "deallocate", "allocation_id": "none"}, "There is no allocation none"),
    ({"edit": "stamp", "resource": "Invoices", "id": "none"}, "There is no none among the Invoices"),
    ({"edit": "create_contact", "name": "x", "at": "soon"}, "is not an instant"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED)
async def test_an_invalid_edit_is_an_error_that_says_why(xero, body, message):
    response = await xero.http.post(f"/_control/tenants/{xero.tenant}/edits", json=body)
    assert response.status_code == 400
    assert message in response.json()["error"]


async def refused_edit(xero, **body) -> str:
    response = await xero.http.post(f"/_control/tenants/{xero.tenant}/edits", json=body)
    assert response.status_code == 400
    error: str = response.json()["error"]
    return error


async def test_what_xero_would_not_allow_is_refused(xero, contact, invoice):
    row_id = invoice["id"]
    assert "up to what is due, 110.00" in await refused_edit(xero, edit="pay", invoice_id=row_id, amount="110.01")
    assert "two decimal places" in await refused_edit(xero, edit="pay", invoice_id=row_id, amount="1.001")
    assert "Void it instead" in await refused_edit(xero, edit="delete", id=row_id)
    assert "Only a draft" in await refused_edit(xero, edit="approve", id=row_id)
    (bill_credit,) = await xero.edit("create_credit_note", contact_id=contact, type="ACCPAYCREDIT")
    sides = {"edit": "allocate", "invoice_id": row_id, "credit_id": bill_credit["id"]}
    assert "its own side" in await refused_edit(xero, **sides)
    (foreign,) = await xero.edit("create_credit_note", contact_id=contact, currency="JPY")
    assert "own currency" in await refused_edit(xero, **sides | {"credit_id": foreign["id"]})
    payment, _ = await xero.edit("pay", invoice_id=row_id)
    assert "Only AUTHORISED documents can be voided" in await refused_edit(xero, edit="void", id=row_id)
    await xero.edit("delete_payment", payment_id=payment["id"])
    assert "deleted already" in await refused_edit(xero, edit="delete_payment", payment_id=payment["id"])
    await xero.edit("pay", invoice_id=row_id, amount="1.00")
    assert "payments and allocations first" in await refused_edit(xero, edit="void", id=row_id)
    assert "exists already" in await refused_edit(xero, edit="create_invoice", contact_id=contact, id=row_id)
    assert "into itself" in await refused_edit(xero, edit="merge", contact_id=contact, into=contact)


async def test_several_edits_can_be_sent_in_one_request(xero, contact):
    outcome = await xero.control(
        "POST",
        f"/tenants/{xero.tenant}/edits",
        edits=[
            {"edit": "create_invoice", "contact_id": contact, "id": "11111111-0000-4000-8000-000000000001"},
            {"edit": "pay", "invoice_id": "11111111-0000-4000-8000-000000000001"},
        ],
    )
    assert [change["resource"] for change in outcome["changes"]] == ["Invoices", "Payments", "Invoices"]
    assert outcome["delivery"] is None
