"""The `where` expressions: the rows they find, invalid ones, and those that are not optimised."""

import pytest


def where(resource, condition, expected):
    return pytest.param(resource, condition, expected, id=condition)


CASES = [
    where("Invoices", 'Type=="ACCREC"', lambda row: row["Type"] == "ACCREC"),
    where("Invoices", 'Type = "accrec"', lambda row: row["Type"] == "ACCREC"),
    where("Invoices", 'Status!="PAID"', lambda row: row["Status"] != "PAID"),
    where("Invoices", "Date >= DateTime(2026,01,01)", lambda row: row["DateString"] >= "2026-01-01"),
    where("Invoices", "Date<DateTime(2026, 1, 1)", lambda row: row["DateString"] < "2026-01-01"),
    where("Invoices", "AmountDue > 0", lambda row: row["AmountDue"] > 0),
    where("Invoices", "AmountDue==0.00", lambda row: row["AmountDue"] == 0),
    where("Invoices", 'InvoiceNumber=="INV-00003"', lambda row: row["InvoiceNumber"] == "INV-00003"),
    where(
        "Invoices",
        'Type=="ACCREC" && Status=="PAID" AND AmountPaid>100',
        lambda row: (row["Type"], row["Status"]) == ("ACCREC", "PAID") and row["AmountPaid"] > 100,
    ),
    where(
        "Invoices",
        '(Status=="DRAFT" OR Status=="SUBMITTED") && Type=="ACCREC"',
        lambda row: row["Status"] in ("DRAFT", "SUBMITTED") and row["Type"] == "ACCREC",
    ),
    where("Invoices", 'InvoiceNumber.StartsWith("BILL")', lambda row: row["InvoiceNumber"].startswith("BILL")),
    where("Contacts", "IsCustomer==true", lambda row: row["IsCustomer"]),
    where("Contacts", 'Name.Contains("dental")', lambda row: "dental" in row["Name"].lower()),
    where("Contacts", "AccountNumber==null", lambda row: "AccountNumber" not in row),
    where("Contacts", "AccountNumber!=null", lambda row: "AccountNumber" in row),
    where("Payments", 'PaymentType=="ACCRECPAYMENT"', lambda row: row["PaymentType"] == "ACCRECPAYMENT"),
    where("Payments", 'Status=="DELETED"', lambda row: row["Status"] == "DELETED"),
    where("CreditNotes", 'Type=="ACCRECCREDIT"', lambda row: row["Type"] == "ACCRECCREDIT"),
    where("CreditNotes", "RemainingCredit>0", lambda row: row["RemainingCredit"] > 0),
]


@pytest.mark.parametrize(("resource", "condition", "expected"), CASES)
async def test_a_condition_finds_the_rows_it_describes(xero, resource, condition, expected):
    rows = await xero.rows(resource)
    wanted = [row for row in rows if expected(row)]
    assert 0 < len(wanted) < len(rows)
    assert await xero.rows(resource, where=condition) == wanted


async def test_guids_compare_without_letter_case(xero):
    invoice = (await xero.rows("Invoices"))[4]
    contact = invoice["Contact"]["ContactID"]
    for condition in (f'Contact.ContactID==Guid("{contact.upper()}")', f'Contact.ContactID==guid("{contact}")'):
        found = await xero.rows("Invoices", where=condition)
        assert invoice in found
        assert {row["Contact"]["ContactID"] for row in found} == {contact}


async def test_where_and_if_modified_since_apply_together(xero):
    since = {"If-Modified-Since": "2026-06-01T00:00:00"}
    found = await xero.rows("Invoices", headers=since, where='Type=="ACCPAY"')
    later = await xero.rows("Invoices", headers=since)
    assert found == [row for row in later if row["Type"] == "ACCPAY"]
    assert 0 < len(found) < len(later)


@pytest.mark.parametrize(
    "condition",
    [
        "Type",
        "Type==",
        '=="ACCREC"',
        'Colour=="RED"',
        'Type=="ACCREC',
        'Type=="ACCREC" &&',
        '(Type=="ACCREC"',
        'Type=="ACCREC")',
        'Type=="ACCREC" Status=="PAID"',
        "Date>=DateTime(2026,13,01)",
        'AmountDue>"much"',
        "Name.Contains(3)",
        "Type==ACCREC",
        "Type~1",
    ],
)
async def test_an_invalid_condition_is_a_query_error(xero, condition):
    response = await xero.get("Invoices", page=1, where=condition)
    assert response.status_code == 400
    assert (response.json()["ErrorNumber"], response.json()["Type"]) == (16, "QueryParseException")


GUID = "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("resource", "condition", "status"),
    [
        ("Invoices", 'Type=="ACCREC"', 200),
        ("Invoices", 'Type=="ACCREC" && Date>DateTime(2026,1,1)', 200),
        ("Invoices", f'InvoiceID==Guid("{GUID}") OR InvoiceID==Guid("{GUID}")', 200),
        ("Invoices", 'Status=="PAID" OR Status=="DRAFT"', 400),
        ("Invoices", 'Type=="ACCREC" && Total>1', 400),
        ("Invoices", 'Status!="PAID"', 400),
        ("Invoices", 'Reference.Contains("x")', 400),
        ("Invoices", "UpdatedDateUTC>DateTime(2026,1,1)", 400),
        ("Invoices", "AmountPaid>1", 400),
        ("Contacts", 'Name=="x"', 200),
        ("Contacts", "IsCustomer==true", 400),
        ("Payments", 'PaymentType=="ACCRECPAYMENT"', 200),
        ("Payments", 'Status=="DELETED"', 400),
        ("CreditNotes", 'Type=="ACCRECCREDIT"', 200),
    ],
)
async def test_high_volume_organisations_accept_only_optimised_conditions(xero, resource, condition, status):
    assert (await xero.get(resource, page=1, where=condition)).status_code == 200
    await xero.control("PATCH", f"/tenants/{xero.tenant}", is_high_volume=True)
    response = await xero.get(resource, page=1, where=condition)
    assert response.status_code == status
    if status == 400:
        error = response.json()
        assert (error["ErrorNumber"], error["Type"]) == (51, "HighVolumeException")
        assert error["Message"].startswith(f"Your request is not filtering {resource} efficiently, given the extremely")


async def test_high_volume_organisations_refuse_lists_without_paging_or_filter(xero):
    await xero.control("PATCH", "/options", high_volume_rows=100)
    assert (await xero.get("Invoices")).status_code == 400
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert (await xero.get("Invoices", headers={"If-Modified-Since": "2026-01-01T00:00:00"})).status_code == 200
    assert (await xero.get("Contacts")).status_code == 200, "this resource has few rows"
