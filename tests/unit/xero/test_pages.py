"""What is asked for one page, and what becomes of the answer."""

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.billing.records import Resource
from app.connector import AnswerUnreadable, NotFound, PageRequest, RequestRejected, RowKey
from app.xero.pages import build_target, read_page
from tests.support.paths import INPUTS
from tests.support.xero_samples import (
    ACCESS,
    CONTACT_ID,
    CREDIT_NOTE_ID,
    INVOICE_ID,
    OTHER_ID,
    PAYMENT_ID,
    answer,
    connected,
    contact,
    credit_note,
    envelope,
    invoice,
    payment,
    without,
)

SECOND_ID = "e1eede29-f875-4a5d-8470-17f6a29a88b1"
STAMP = datetime(2018, 11, 2, 16, 36, 32, 690000, tzinfo=UTC)
INVOICES = PageRequest(Resource.INVOICES)


def read(rows, request=INVOICES, path="Invoices", **paging):
    return read_page(request, answer(envelope(path, rows, **paging)))


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (PageRequest(Resource.CONTACTS), "Contacts?page=1&pageSize=1000&includeArchived=true"),
        (
            PageRequest(Resource.INVOICES, page=3, page_size=500),
            "Invoices?page=3&pageSize=500&summaryOnly=true&where=Type%3D%3D%22ACCREC%22",
        ),
        (PageRequest(Resource.INVOICES, is_filtered=False), "Invoices?page=1&pageSize=1000&summaryOnly=true"),
        (
            PageRequest(Resource.CREDIT_MEMOS),
            "CreditNotes?page=1&pageSize=1000&where=Type%3D%3D%22ACCRECCREDIT%22",
        ),
        (
            PageRequest(Resource.PAYMENTS),
            "Payments?page=1&pageSize=1000&where=PaymentType%3D%3D%22ACCRECPAYMENT%22",
        ),
        (PageRequest(Resource.PAYMENTS, is_filtered=False), "Payments?page=1&pageSize=1000"),
        (
            PageRequest(Resource.INVOICES, ids=(INVOICE_ID.upper(), SECOND_ID, INVOICE_ID), page=7, page_size=2),
            f"Invoices?page=1&pageSize=1000&summaryOnly=true&IDs={INVOICE_ID},{SECOND_ID}",
        ),
        (
            PageRequest(Resource.CONTACTS, ids=(CONTACT_ID,)),
            f"Contacts?page=1&pageSize=1000&includeArchived=true&IDs={CONTACT_ID}",
        ),
        (PageRequest(Resource.CREDIT_MEMOS, ids=(CREDIT_NOTE_ID,)), f"CreditNotes/{CREDIT_NOTE_ID}"),
        (PageRequest(Resource.PAYMENTS, ids=(PAYMENT_ID,)), f"Payments/{PAYMENT_ID}"),
    ],
)
def test_each_read_asks_for_the_least_that_carries_what_is_kept(request_, target):
    assert build_target(request_) == target


def test_forty_ids_stay_well_below_the_length_xero_answers_with_404():
    ids = tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(40))
    assert len(build_target(PageRequest(Resource.CONTACTS, ids=ids))) < 1600


@pytest.mark.parametrize(
    ("resource", "ids"),
    [
        (Resource.INVOICES, ("../Organisation",)),
        (Resource.INVOICES, (f"{INVOICE_ID}&where=true",)),
        (Resource.CREDIT_MEMOS, ("",)),
        (Resource.PAYMENTS, (PAYMENT_ID, OTHER_ID)),
        (Resource.CONTACTS, tuple(f"00000000-0000-4000-8000-{number:012}" for number in range(41))),
    ],
)
async def test_ids_that_cannot_be_asked_for_cost_no_call(resource, ids):
    calls: list[httpx.Request] = []
    async with connected(calls.append) as xero:
        with pytest.raises(RequestRejected) as raised:
            await xero.fetch_page(ACCESS, PageRequest(resource, ids=ids))
    assert calls == []
    assert raised.value.traffic.calls == 0


async def test_the_connector_says_how_many_ids_fit_one_read():
    async with connected(lambda _: httpx.Response(500)) as xero:
        assert [xero.ids_per_read(resource) for resource in Resource] == [40, 40, 1, 1]


async def test_changes_are_asked_for_since_a_whole_second_of_utc():
    asked = []

    def handler(request):
        asked.append(request)
        return httpx.Response(200, content=envelope("Payments", []))

    since = datetime(2026, 11, 23, 13, 14, 15, 999999, tzinfo=timezone(timedelta(hours=13)))
    async with connected(handler) as xero:
        await xero.fetch_page(ACCESS, PageRequest(Resource.PAYMENTS, changed_since=since))
        await xero.fetch_page(ACCESS, PageRequest(Resource.PAYMENTS, changed_since=since, ids=(PAYMENT_ID,)))
    assert asked[0].headers["If-Modified-Since"] == "2026-11-23T00:14:15"
    assert "If-Modified-Since" not in asked[1].headers


async def test_not_modified_is_an_empty_last_page_of_the_instant_the_header_names():
    headers = {"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}
    async with connected(lambda _: httpx.Response(304, headers=headers)) as xero:
        page = await xero.fetch_page(ACCESS, PageRequest(Resource.INVOICES, changed_since=STAMP))
    assert (page.row_count, page.is_last, page.keys) == (0, True, [])
    assert page.read_at == datetime(2026, 11, 23, 12, tzinfo=UTC)
    assert page.traffic.calls == 1


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (304, INVOICES),
        (304, PageRequest(Resource.INVOICES, changed_since=STAMP, ids=(INVOICE_ID,))),
        (204, INVOICES),
        (204, PageRequest(Resource.INVOICES, changed_since=STAMP)),
    ],
)
async def test_an_answer_without_rows_never_ends_a_sync_that_asked_for_them(status, request_):
    async with connected(lambda _: httpx.Response(status, headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"})) as xero:
        with pytest.raises(AnswerUnreadable):
            await xero.fetch_page(ACCESS, request_)


async def test_a_single_row_that_is_gone_is_not_found():
    async with connected(lambda _: httpx.Response(404, text="The resource cannot be found")) as xero:
        with pytest.raises(NotFound):
            await xero.fetch_page(ACCESS, PageRequest(Resource.PAYMENTS, ids=(PAYMENT_ID,)))


async def test_a_single_row_is_a_page_of_one():
    body = json.loads(envelope("CreditNotes", [credit_note()]))
    del body["pagination"]
    async with connected(lambda _: httpx.Response(200, json=body)) as xero:
        asked = PageRequest(Resource.CREDIT_MEMOS, ids=(CREDIT_NOTE_ID,), page_size=1)
        page = await xero.fetch_page(ACCESS, asked)
    assert [memo.external_id for memo in page.batch.credit_memos] == [CREDIT_NOTE_ID]
    assert (page.is_last, page.total_rows) == (True, None)


@pytest.mark.parametrize(
    ("resource", "path", "row", "field"),
    [
        (Resource.CONTACTS, "Contacts", contact(), "contacts"),
        (Resource.INVOICES, "Invoices", invoice(), "invoices"),
        (Resource.CREDIT_MEMOS, "CreditNotes", credit_note(), "credit_memos"),
        (Resource.PAYMENTS, "Payments", payment(), "payments"),
    ],
)
def test_each_resource_fills_its_own_part_of_the_batch(resource, path, row, field):
    page = read([row], PageRequest(resource), path)
    assert {name: len(getattr(page.batch, name)) for name in page.batch.__struct_fields__} == {
        "contacts": 0,
        "invoices": 0,
        "payments": 0,
        "credit_memos": 0,
    } | {field: 1}
    assert page.rejected == []


def test_a_page_says_when_it_was_read_and_how_many_rows_there_are_in_all():
    page = read([invoice()], page_count=9, item_count=8123)
    assert (page.read_at, page.total_rows) == (datetime(2020, 5, 4, 23, 3, 17, 422000, tzinfo=UTC), 8123)


@pytest.mark.parametrize(
    ("page", "page_count", "is_last"), [(1, 1, True), (1, 2, False), (2, 2, True), (3, 2, True), (1, 0, True)]
)
def test_the_last_page_is_the_one_xero_says(page, page_count, is_last):
    request = PageRequest(Resource.INVOICES, page=page, page_size=1)
    assert read([invoice()], request, page_count=page_count).is_last is is_last


def read_with_block(block, rows=1, page=1, page_size=1000):
    """Read a page of so many invoices, with this paging block in place of the documented one."""
    body = json.loads(envelope("Invoices", [invoice()] * rows))
    del body["pagination"]
    request = PageRequest(Resource.INVOICES, page=page, page_size=page_size)
    return read_page(request, answer(json.dumps(body | block).encode()))


def test_the_page_that_was_reported_is_not_the_last():
    reported = json.loads((INPUTS / "01-paging-block-absent.json").read_text())["answer"]
    block = {"PageInfo": reported["PageInfo"]}
    pages = [read_with_block(block, rows, page) for page, rows in ((1, 100), (2, 100), (3, 100), (4, 50))]
    assert [page.is_last for page in pages] == [False, False, False, True]
    assert {page.total_rows for page in pages} == {350}


@pytest.mark.parametrize(
    ("rows", "page_size", "is_last"),
    [
        (1, 1, False),
        (1, 2, True),
        (99, 1000, True),
        (100, 1000, False),
        (101, 1000, False),
        (999, 1000, False),
        (1000, 1000, False),
        (0, 1000, True),
        (100, 100, False),
        (20, 20, False),
        (19, 20, True),
        (100, 20, False),
    ],
)
def test_without_counts_a_page_is_the_last_when_it_is_shorter_than_xeros_default_page(rows, page_size, is_last):
    blocks: list[dict[str, object]]
    blocks = [{}, {"pagination": None}, {"pagination": {}}, {"pagination": {"page": 1, "pageSize": 100}}]
    for block in blocks:
        page = read_with_block(block, rows, page_size=page_size)
        assert (page.is_last, page.total_rows) == (is_last, None)


@pytest.mark.parametrize("name", ["pagination", "PageInfo", "paging"])
@pytest.mark.parametrize(
    ("counts", "page", "rows", "is_last"),
    [
        ({"pageCount": 4, "itemCount": 350, "pageSize": 100}, 1, 100, False),
        ({"pageCount": 4, "itemCount": 350, "pageSize": 100}, 4, 50, True),
        ({"pageCount": 1, "itemCount": 350, "pageSize": 1000}, 1, 100, False),
        ({"pageCount": 1, "itemCount": 350, "pageSize": 1000}, 2, 100, False),
        ({"pageCount": 1, "itemCount": 350, "pageSize": 1000}, 1, 350, True),
        ({"itemCount": 350, "pageSize": 100}, 3, 100, False),
        ({"itemCount": 350, "pageSize": 100}, 4, 50, True),
        ({"itemCount": 350}, 1, 350, True),
        ({"itemCount": 350}, 1, 349, False),
        ({"itemCount": 350}, 4, 50, False),
        ({"itemCount": 350}, 5, 0, True),
        ({"itemCount": 2500}, 3, 500, True),
        ({"itemCount": 300}, 3, 100, True),
        ({"pageCount": 4}, 3, 100, False),
        ({"pageCount": 4}, 4, 100, True),
        ({"pageCount": 4}, 3, 50, False),
        ({"pageCount": 4, "itemCount": 100, "pageSize": 100}, 1, 100, False),
    ],
)
def test_the_counts_say_which_page_is_the_last_whatever_the_block_is_called(name, counts, page, rows, is_last):
    for write in (int, str, float, "{}.0".format):
        found = read_with_block({name: {key: write(number) for key, number in counts.items()}}, rows, page)
        assert (found.is_last, found.total_rows) == (is_last, counts.get("itemCount"))


@pytest.mark.parametrize("odd", [-1, "-1 ", "many", "", None, True, [4], {"is": 4}, 3.5, 10**30, "1e9", "٣"])
def test_a_count_that_is_no_number_counts_nothing(odd):
    page = read_with_block({"pagination": {"pageCount": odd, "itemCount": odd, "pageSize": odd}}, rows=100)
    assert (page.is_last, page.total_rows) == (False, None)


@pytest.mark.parametrize("block", [[], "four", 4, True, [{"pageCount": 1}]])
def test_a_paging_block_of_another_kind_is_none(block):
    assert read_with_block({"pagination": block}, rows=100).is_last is False


def test_an_empty_page_is_the_last_whatever_is_counted():
    assert read_with_block({"pagination": {"pageCount": 9, "itemCount": 900}}, rows=0, page=2).is_last


@pytest.mark.parametrize("instant", ["/Date(-62135596800000+0000)/", "0001-01-01T00:00:00", 7, None])
def test_an_instant_that_cannot_be_is_not_that_of_the_answer(instant):
    body = json.dumps({"DateTimeUTC": instant, "Invoices": []}).encode()
    page = read_page(INVOICES, answer(body, headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}))
    assert page.read_at == datetime(2026, 11, 23, 12, tzinfo=UTC)


def test_the_header_tells_the_instant_where_the_envelope_does_not():
    body = b'{"DateTimeUTC":"tomorrow","Invoices":[]}'
    page = read_page(INVOICES, answer(body, headers={"Date": "Mon, 23 Nov 2026 12:00:00 GMT"}))
    assert page.read_at == datetime(2026, 11, 23, 12, tzinfo=UTC)
    with pytest.raises(AnswerUnreadable, match="when"):
        read_page(INVOICES, answer(body, headers={"Date": "whenever"}))


def test_keys_follow_the_order_of_delivery_with_rows_that_are_not_kept():
    rows = [
        invoice(),
        invoice(InvoiceID=SECOND_ID, Type="ACCPAY", UpdatedDateUTC="/Date(1541176592691+0000)/"),
        invoice(InvoiceID=OTHER_ID, UpdatedDateUTC="/Date(1541176592692+0000)/"),
    ]
    page = read(rows)
    tick = timedelta(milliseconds=1)
    assert page.keys == [
        RowKey(INVOICE_ID, STAMP),
        RowKey(SECOND_ID, STAMP + tick),
        RowKey(OTHER_ID, STAMP + 2 * tick),
    ]
    assert [row.external_id for row in page.batch.invoices] == [INVOICE_ID, OTHER_ID]
    assert page.row_count == 3


@pytest.mark.parametrize("stamps", [(1, 2), (2, 1)])
def test_of_a_row_delivered_twice_the_newest_stays(stamps):
    rows = [invoice(UpdatedDateUTC=f"/Date({stamp})/", Reference=f"version {stamp}") for stamp in stamps]
    page = read(rows)
    assert [row.reference for row in page.batch.invoices] == ["version 2"]
    assert (len(page.keys), page.row_count) == (2, 2)


def test_one_bad_row_is_rejected_whole_and_the_others_are_read():
    bad = invoice(InvoiceID=SECOND_ID, AmountDue="a lot")
    page = read([invoice(), bad, invoice(InvoiceID=OTHER_ID)])
    assert [row.external_id for row in page.batch.invoices] == [INVOICE_ID, OTHER_ID]
    assert [row.external_id for row in page.rejected] == [SECOND_ID]
    assert page.rejected[0].reason == "Invalid decimal string - at `$.AmountDue`"
    assert json.loads(page.rejected[0].payload) == bad
    assert [key.external_id for key in page.keys] == [INVOICE_ID, SECOND_ID, OTHER_ID]


def test_a_row_of_an_unknown_status_is_rejected_with_its_reason():
    page = read([invoice(Status="HAUNTED")])
    assert [(row.external_id, row.reason) for row in page.rejected] == [(INVOICE_ID, "Status 'HAUNTED' is unknown")]
    assert page.keys == [RowKey(INVOICE_ID, STAMP)]


@pytest.mark.parametrize("row", [None, 1, "row", [], {}, {"InvoiceID": 7}, {"InvoiceID": "\0"}])
def test_what_is_no_row_at_all_is_rejected_without_an_id(row):
    page = read([row, invoice()])
    assert [rejected.external_id for rejected in page.rejected] == [None]
    assert [key.external_id for key in page.keys] == [INVOICE_ID]


def test_a_suppliers_row_that_cannot_be_read_is_not_rejected():
    page = read([invoice(Type="ACCPAY", Total="NaN", Status="?"), invoice(Type="ACCPAY", AmountDue=[])])
    assert (page.rejected, page.batch.invoices) == ([], ())
    assert len(page.keys) == 2


def test_the_payload_of_a_rejected_row_is_limited():
    page = read([invoice(Status="HAUNTED", Reference="x" * 100_000)])
    assert len(page.rejected[0].payload) == 20_000


@pytest.mark.parametrize(
    ("mark", "reference"),
    [
        (rb"half \ud83d", "half \ufffd"),
        (rb"half \udc00!", "half \ufffd!"),
        (rb"two halves \ud83d\ud83d", "two halves \ufffd\ufffd"),
        (rb"whole \ud83d\ude00", "whole \U0001f600"),
        (rb"escaped \\ud83d", r"escaped \ud83d"),
        (rb"null \u0000", "null "),
        (b"bare\x00\x01", "bare  "),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        ("naïve ☕".encode(), "naïve ☕"),
    ],
)
def test_characters_no_database_stores_fail_neither_the_page_nor_the_row(mark, reference):
    body = envelope("Invoices", [invoice(Reference="MARK"), invoice(InvoiceID=OTHER_ID)]).replace(b"MARK", mark)
    page = read_page(INVOICES, answer(body))
    assert [row.reference for row in page.batch.invoices] == [reference, "Red Fish, Blue Fish"]


def test_a_byte_order_mark_is_no_reason_to_refuse_a_page():
    assert read_page(INVOICES, answer(b"\xef\xbb\xbf" + envelope("Invoices", [invoice()]))).row_count == 1


@pytest.mark.parametrize("cut", range(1, 16))
def test_a_page_cut_anywhere_is_no_page(cut):
    body = envelope("Invoices", [invoice(), invoice(InvoiceID=OTHER_ID, AmountDue="bad")])
    with pytest.raises(AnswerUnreadable):
        read_page(INVOICES, answer(body[: len(body) * cut // 16]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ROWS = {
    Resource.CONTACTS: ("Contacts", contact()),
    Resource.INVOICES: ("Invoices", invoice()),
    Resource.CREDIT_MEMOS: ("CreditNotes", credit_note()),
    Resource.PAYMENTS: ("Payments", payment()),
}


# How long it takes to make an example depends on what else the machine does.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(resource=st.sampled_from(list(Resource)), data=st.data())
def test_whatever_a_field_holds_the_page_is_read_and_every_row_counted(resource, data):
    path, row = ROWS[resource]
    broken = row | data.draw(st.dictionaries(st.sampled_from(sorted(row)), JSON, max_size=3))
    body = json.dumps({"DateTimeUTC": "/Date(1588633397422)/", path: [row, broken]}, allow_nan=False)
    page = read_page(PageRequest(resource), answer(body.encode()))
    kept = getattr(page.batch, resource.value)
    assert page.row_count == 2
    assert len(kept) + len(page.rejected) <= 2
    assert all("\0" not in text.payload for text in page.rejected)


@given(st.sampled_from(sorted(invoice())))
def test_a_field_that_is_left_out_loses_at_most_its_row(name):
    page = read([without(invoice(), name), invoice(InvoiceID=OTHER_ID)])
    assert len(page.batch.invoices) + len(page.rejected) == 2
    assert page.batch.invoices[-1].external_id == OTHER_ID


@given(st.binary(max_size=200))
def test_no_body_makes_a_page_fail_in_another_way(body):
    with pytest.raises(AnswerUnreadable):
        read_page(INVOICES, answer(body))


def test_fields_nobody_asked_for_change_nothing():
    page = read([invoice(NewInVersion21={"deep": [1, {"a": None}]}, LineItems=[{"UnitAmount": "x"}])])
    assert page.batch.invoices[0].total == Decimal("46.0")
