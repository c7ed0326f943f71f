"""Lists: pages, sizes, order, If-Modified-Since, ids and the other filters, the fields of each level of detail."""

from time import process_time
from uuid import uuid4

import pytest

from tests.simulator.client import RESOURCES

IDS = {"Contacts": "ContactID", "Invoices": "InvoiceID", "Payments": "PaymentID", "CreditNotes": "CreditNoteID"}


def timestamp_ms(row) -> int:
    return int(row["UpdatedDateUTC"].removeprefix("/Date(").removesuffix("+0000)/"))


@pytest.mark.parametrize("resource", RESOURCES)
async def test_rows_are_sorted_by_timestamp_then_id(xero, resource):
    rows = await xero.rows(resource)
    keys = [(timestamp_ms(row), row[IDS[resource]]) for row in rows]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(rows) > 5


@pytest.mark.parametrize("resource", RESOURCES)
async def test_pages_together_are_the_whole_list(xero, resource):
    whole = await xero.rows(resource)
    size = 7
    first = (await xero.get(resource, page=1, pageSize=size)).json()
    count = first["pagination"]["pageCount"]
    assert first["pagination"] == {
        "page": 1,
        "pageSize": size,
        "pageCount": -(-len(whole) // size),
        "itemCount": len(whole),
    }
    pages = [await xero.rows(resource, page=number, pageSize=size) for number in range(1, count + 1)]
    assert [row for page in pages for row in page] == whole
    assert await xero.rows(resource, page=count + 1, pageSize=size) == []


@pytest.mark.parametrize(("asked", "given"), [(None, 100), (0, 1), (-5, 1), (1, 1), (1000, 1000), (5000, 1000)])
async def test_the_page_size_is_clamped(xero, asked, given):
    sizes = {} if asked is None else {"pageSize": asked}
    document = (await xero.get("Invoices", page=1, **sizes)).json()
    assert document["pagination"]["pageSize"] == given
    assert len(document["Invoices"]) == min(given, 150)


@pytest.mark.parametrize(
    ("form", "block"),
    [
        ("absent", {}),
        ("renamed", {"PageInfo": {"page": 1, "pageSize": 100, "pageCount": 2, "itemCount": 150}}),
        ("text", {"pagination": {"page": "1", "pageSize": "100", "pageCount": "2", "itemCount": "150"}}),
        ("item_count", {"pagination": {"page": 1, "pageSize": 100, "itemCount": 150}}),
        ("page_count", {"pagination": {"page": 1, "pageSize": 100, "pageCount": 2}}),
    ],
)
async def test_the_paging_block_has_the_form_of_the_option_and_the_page_size_no_effect(xero, form, block):
    await xero.control("PATCH", "/options", paging_block=form, page_size_has_effect=False)
    document = (await xero.get("Invoices", page=1, pageSize=1000)).json()
    assert len(document["Invoices"]) == 100
    assert {name: document[name] for name in ("pagination", "PageInfo") if name in document} == block


async def test_a_page_that_is_not_a_number_is_a_validation_error(xero):
    response = await xero.get("Invoices", page="one")
    assert (response.status_code, response.json()["ErrorNumber"]) == (400, 10)


@pytest.mark.parametrize("resource", RESOURCES)
async def test_without_a_page_the_whole_list_comes_and_no_pagination(xero, resource):
    document = (await xero.get(resource)).json()
    assert "pagination" not in document
    assert len(document[resource]) == len(await xero.rows(resource)) > 0


async def test_without_a_page_documents_have_no_line_items(xero):
    for resource in ("Invoices", "CreditNotes"):
        light, full = (await xero.rows(resource, page=None, pageSize=None))[0], (await xero.rows(resource))[0]
        assert set(full) - set(light) == {"LineItems"}
        assert set(light["Contact"]) < set(full["Contact"])


async def test_without_a_page_contacts_have_neither_balances_nor_merge(xero):
    contacts = await xero.rows("Contacts")
    owing = next(row for row in contacts if "Balances" in row)
    other = next(row for row in contacts if row is not owing)
    await xero.edit("merge", contact_id=other["ContactID"], into=owing["ContactID"])
    paged = {row["ContactID"]: row for row in await xero.rows("Contacts", includeArchived="true")}
    light = {
        row["ContactID"]: row for row in await xero.rows("Contacts", includeArchived="true", page=None, pageSize=None)
    }
    assert paged[other["ContactID"]]["MergedToContactID"] == owing["ContactID"]
    assert "MergedToContactID" not in light[other["ContactID"]]
    assert not {"Balances", "ContactPersons", "ContactGroups"} & set(light[owing["ContactID"]])
    assert light[owing["ContactID"]]["IsCustomer"] == paged[owing["ContactID"]]["IsCustomer"]


async def test_summary_omits_exactly_the_documented_fields_and_enforces_paging(xero):
    invoices = (await xero.get("Invoices", summaryOnly="true")).json()
    assert invoices["pagination"]["pageSize"] == 100
    full = await xero.rows("Invoices", pageSize=100)
    for short, long in zip(invoices["Invoices"], full, strict=True):
        assert set(long) - set(short) == {"Payments", "HasAttachments", "LineItems"}
        assert {name: long[name] for name in short} == short
    contacts = (await xero.get("Contacts", summaryOnly="true")).json()
    dropped = {
        "Addresses", "Balances", "ContactGroups", "ContactPersons", "IsCustomer", "IsSupplier",
        "SalesDefaultAccountCode", "PurchasesDefaultAccountCode",
    }  # fmt: skip
    for short, long in zip(contacts["Contacts"], await xero.rows("Contacts", pageSize=100), strict=True):
        assert set(long) - set(short) == dropped & set(long)


@pytest.mark.parametrize("resource", ["Payments", "CreditNotes"])
async def test_summary_is_ignored_for_other_resources(xero, resource):
    assert await xero.rows(resource, summaryOnly="true") == await xero.rows(resource)
    assert "pagination" not in (await xero.get(resource, summaryOnly="true")).json()


async def test_archived_contacts_are_shown_only_when_asked_for(xero):
    shown = {row["ContactID"] for row in await xero.rows("Contacts")}
    everyone = {row["ContactID"]: row for row in await xero.rows("Contacts", includeArchived="true")}
    hidden = set(everyone) - shown
    assert hidden
    assert {everyone[row_id]["ContactStatus"] for row_id in hidden} == {"ARCHIVED"}
    archived = hidden.pop()
    assert await xero.rows("Contacts", IDs=archived) == []
    assert (await xero.row("Contacts", archived))["ContactStatus"] == "ARCHIVED"


FORMS = ("2026-11-20T08:30:15", "2026-11-20T08:30:15Z", "2026-11-20T08:30:15.900", "Fri, 20 Nov 2026 08:30:15 GMT")


@pytest.mark.parametrize("header", FORMS)
@pytest.mark.parametrize(("bound", "milliseconds"), [("inclusive", (0, 999, 1000)), ("exclusive", (1000,))])
async def test_if_modified_since_counts_whole_seconds(xero, header, bound, milliseconds):
    await xero.control("PATCH", "/options", if_modified_since=bound)
    for late in (-1, 0, 999, 1000):
        instant = f"2026-11-20T08:30:{15 + late // 1000:02d}.{late % 1000:03d}Z"
        await xero.edit("create_contact", name=f"At {late}", at=instant)
    found = await xero.rows("Contacts", headers={"If-Modified-Since": header})
    assert [row["Name"] for row in found if row["Name"].startswith("At ")] == [f"At {late}" for late in milliseconds]


@pytest.mark.parametrize("resource", RESOURCES)
async def test_if_modified_since_filters_every_resource(xero, resource):
    rows = await xero.rows(resource)
    middle = rows[len(rows) // 2]
    second = timestamp_ms(middle) // 1000 * 1000
    header = xero.state.clock.now().fromtimestamp(second / 1000, tz=xero.state.clock.now().tzinfo).isoformat()
    found = await xero.rows(resource, headers={"If-Modified-Since": header[:19]})
    assert found == [row for row in rows if timestamp_ms(row) >= second]
    assert await xero.rows(resource, headers={"If-Modified-Since": "2027-01-01T00:00:00"}) == []


async def test_an_invalid_if_modified_since_is_an_error(xero):
    response = await xero.get("Invoices", headers={"If-Modified-Since": "yesterday"}, page=1)
    assert response.status_code == 400


@pytest.mark.parametrize("resource", ["Contacts", "Invoices"])
async def test_ids_filter_contacts_and_invoices(xero, resource):
    rows = await xero.rows(resource)
    picked = rows[3:8]
    ids = ",".join(row[IDS[resource]] for row in picked)
    assert await xero.rows(resource, IDs=ids.upper()) == picked
    assert await xero.rows(resource, IDs=str(uuid4())) == []


@pytest.mark.parametrize("resource", ["Payments", "CreditNotes"])
async def test_ids_are_ignored_for_other_resources(xero, resource):
    rows = await xero.rows(resource)
    assert await xero.rows(resource, IDs=rows[0][IDS[resource]]) == rows


@pytest.mark.parametrize(
    ("count", "comma", "status"), [(55, ",", 200), (56, ",", 404), (52, "%2C", 200), (53, "%2C", 404)]
)
async def test_too_many_ids_are_a_404(xero, count, comma, status):
    ids = comma.join(str(uuid4()) for _ in range(count))
    response = await xero.http.get(f"/api.xro/2.0/Invoices?IDs={ids}", headers=xero.headers())
    assert response.status_code == status
    if status == 404:
        assert response.headers["content-type"].startswith("text/html")
        assert response.text == "The resource you're looking for cannot be found"


async def test_numbers_contacts_and_statuses_filter_invoices(xero):
    rows = await xero.rows("Invoices")
    numbers = f"{rows[0]['InvoiceNumber']},{rows[5]['InvoiceNumber']}"
    assert await xero.rows("Invoices", InvoiceNumbers=numbers) == [rows[0], rows[5]]
    contact = rows[0]["Contact"]["ContactID"]
    assert await xero.rows("Invoices", ContactIDs=contact) == [
        row for row in rows if row["Contact"]["ContactID"] == contact
    ]
    assert await xero.rows("Invoices", Statuses="VOIDED,DELETED") == [
        row for row in rows if row["Status"] in ("VOIDED", "DELETED")
    ]


async def test_statuses_enforce_paging(xero):
    assert (await xero.get("Invoices", Statuses="PAID")).json()["pagination"]["page"] == 1


async def test_a_search_term_finds_names_and_numbers(xero):
    contact = (await xero.rows("Contacts"))[0]
    found = await xero.rows("Contacts", searchTerm=contact["Name"].upper())
    assert contact in found
    assert all(contact["Name"].lower() in row["Name"].lower() for row in found)
    invoice = (await xero.rows("Invoices"))[0]
    assert invoice in await xero.rows("Invoices", searchTerm=invoice["InvoiceNumber"])


async def test_created_by_my_app_and_unknown_parameters_are_ignored(xero):
    assert await xero.rows("Invoices", createdByMyApp="true", unitdp=4, colour="blue") == await xero.rows("Invoices")


@pytest.mark.parametrize(
    ("order", "field"),
    [("Date DESC", "DateString"), ("InvoiceNumber", "InvoiceNumber"), ("AmountDue ASC", "AmountDue")],
)
async def test_order_sorts_by_the_named_field(xero, order, field):
    values = [row[field] for row in await xero.rows("Invoices", order=order)]
    assert values == sorted(values, reverse="DESC" in order)
    assert len(set(values)) > 1


async def test_an_invalid_order_is_a_query_error(xero):
    for order in ("Colour", "Date SIDEWAYS"):
        response = await xero.get("Invoices", page=1, order=order)
        assert (response.status_code, response.json()["Type"]) == (400, "QueryParseException")


@pytest.mark.parametrize("resource", RESOURCES)
async def test_a_single_row_has_the_fields_of_a_paged_one(xero, resource):
    row = (await xero.rows(resource))[2]
    document = (await xero.get(f"{resource}/{row[IDS[resource]]}")).json()
    assert "pagination" not in document
    assert set(document[resource][0]) == set(row)


async def test_an_invoice_can_be_read_by_its_number(xero):
    row = (await xero.rows("Invoices"))[0]
    assert (await xero.row("Invoices", row["InvoiceNumber"]))["InvoiceID"] == row["InvoiceID"]


@pytest.mark.parametrize(
    "path", ["Invoices/00000000-0000-0000-0000-000000000000", "Invoices/x/History", "Nonsense", ""]
)
async def test_what_does_not_exist_is_a_404_with_xeros_text(xero, path):
    response = await xero.get(path)
    assert response.status_code == 404
    assert response.text == "The resource you're looking for cannot be found"


async def test_a_row_edited_while_paging_shifts_the_rest(xero):
    # Offset paging by a sort key that changes skips rows; the simulator must behave so, because Xero does.
    first = await xero.rows("Invoices", page=1, pageSize=10)
    would_be_next = (await xero.rows("Invoices", page=2, pageSize=10))[0]
    await xero.edit("change_reference", id=first[0]["InvoiceID"], reference="Moved")
    second = await xero.rows("Invoices", page=2, pageSize=10)
    assert would_be_next["InvoiceID"] not in [row["InvoiceID"] for row in second]


async def test_a_thousand_invoices_are_served_quickly_once_rendered(xero):
    await xero.edit("bulk_insert", resource="Invoices", count=1000)
    await xero.get("Invoices", page=1, pageSize=1000)
    started = process_time()
    response = await xero.get("Invoices", headers={"Accept-Encoding": "gzip"}, page=1, pageSize=1000)
    # It took 15 ms, the client's decompression included; the bound allows for slow and busy machines.
    assert process_time() - started < 0.15
    assert len(response.json()["Invoices"]) == 1000
