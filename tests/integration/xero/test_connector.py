"""The connector against the simulated Xero, through the transport: every row equals what its books hold."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from typing_extensions import override

from app.billing.records import Resource
from app.connector import (
    Access,
    AccessExpired,
    AnswerUnreadable,
    AppCredentials,
    AppRejected,
    BadSignature,
    ConnectorError,
    ConsentRequest,
    GrantRefused,
    HighVolume,
    NotFound,
    OrganisationForbidden,
    OrganisationOffline,
    Page,
    PageRequest,
    PermissionMissing,
    RateLimited,
    RequestRejected,
    VendorUnavailable,
)
from app.xero.connector import XeroConnector
from simulator.main import create_app
from simulator.options import SimulatorOptions

XERO = "http://xero.test"
CALLBACK = "http://localhost:8000/api/integrations/xero/callback"
VERIFIER = "a-verifier-of-forty-three-characters-or-more"
OPTIONS = SimulatorOptions(
    auto_consent=True, contacts=40, invoices=150, payments=110, credit_notes=30, limits_enabled=False
)
APP = AppCredentials(OPTIONS.client_id, OPTIONS.client_secret)


class Inbox(httpx.AsyncBaseTransport):
    """Keeps what the simulated Xero posts to the service."""

    def __init__(self):
        self.requests = []

    @override
    async def handle_async_request(self, request):
        await request.aread()
        self.requests.append(request)
        return httpx.Response(200)


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
async def http(inbox):
    """The network, on which there is nothing but the simulated Xero."""
    simulator = create_app(OPTIONS, webhook_transport=inbox)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(simulator), base_url=XERO) as client:
        yield client


@pytest.fixture
def xero(http):
    return XeroConnector(http, XERO, XERO, XERO)


@pytest.fixture
async def tokens(http, xero):
    return await consent(http, xero, "broad")


@pytest.fixture
async def access(xero, tokens):
    organisations = await xero.list_organisations(tokens.access_token)
    tenant_id = next(found.tenant_id for found in organisations if found.has_billing)
    return Access(tokens.access_token, tenant_id)


async def consent(http, xero, scope_set):
    request = ConsentRequest(APP.client_id, CALLBACK, scope_set, "a state", VERIFIER)
    answer = await http.get(xero.authorization_url(request))
    query = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert query["state"] == ["a state"]
    return await xero.exchange_code(APP, query["code"][0], CALLBACK, VERIFIER)


async def control(http, method, path, body=None):
    answer = await http.request(method, f"/_control{path}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def edit(http, access, *edits):
    answer = await control(http, "POST", f"/tenants/{access.tenant_id}/edits", {"edits": edits})
    return [change["id"] for change in answer["changes"]]


async def books(http, access, resource):
    return (await control(http, "GET", f"/tenants/{access.tenant_id}/state?resource={resource}"))[resource]


async def read_all(xero, access, resource, **asked):
    """Walk by page, as when nothing changes meanwhile."""
    pages: list[Page] = []
    while not pages or not pages[-1].is_last:
        pages.append(await xero.fetch_page(access, PageRequest(resource, page=len(pages) + 1, page_size=37, **asked)))
    assert sum(page.row_count for page in pages) == pages[0].total_rows == sum(len(page.keys) for page in pages)
    assert [rejected for page in pages for rejected in page.rejected] == []
    return [record for page in pages for record in getattr(page.batch, resource.value)]


def instant(text):
    return datetime.fromisoformat(text)


def day(text):
    return text and datetime.fromisoformat(text).date()


@pytest.mark.parametrize("scope_set", ["broad", "granular"])
async def test_either_scope_set_is_enough_for_everything_that_is_pulled(http, xero, scope_set):
    tokens = await consent(http, xero, scope_set)
    assert tokens.scopes == xero.scopes(scope_set)
    assert xero.missing_scopes(tokens.scopes) == set()
    organisations = await xero.list_organisations(tokens.access_token)
    assert {found.consent_id for found in organisations} == {tokens.consent_id}
    assert [found.has_billing for found in organisations].count(False) == 1
    for resource in Resource:
        page = await xero.fetch_page(Access(tokens.access_token, organisations[0].tenant_id), PageRequest(resource))
        assert page.row_count


async def test_a_refresh_rotates_and_an_expired_token_is_refused(xero, tokens):
    newer = await xero.refresh(APP, tokens.refresh_token)
    assert newer.refresh_token != tokens.refresh_token
    assert newer.user_id == tokens.user_id
    await xero.list_organisations(newer.access_token)
    await xero.revoke(APP, newer.refresh_token)
    with pytest.raises(GrantRefused):
        await xero.refresh(APP, newer.refresh_token)


async def test_a_wrong_secret_and_a_wrong_verifier_are_different_errors(http, xero, tokens):
    with pytest.raises(AppRejected):
        await xero.refresh(AppCredentials(APP.client_id, "wrong"), tokens.refresh_token)
    request = ConsentRequest(APP.client_id, CALLBACK, "broad", "s", VERIFIER)
    answer = await http.get(xero.authorization_url(request))
    code = parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]
    with pytest.raises(GrantRefused):
        await xero.exchange_code(APP, code, CALLBACK, VERIFIER + "x")


async def test_a_disconnected_organisation_is_forbidden_and_the_others_stay(http, xero, tokens, access):
    before = await xero.list_organisations(tokens.access_token)
    gone = next(found for found in before if found.tenant_id == access.tenant_id)
    bearer = {"Authorization": f"Bearer {tokens.access_token}"}
    assert (await http.delete(f"/connections/{gone.connection_id}", headers=bearer)).status_code == 204
    assert await xero.list_organisations(tokens.access_token) == [found for found in before if found != gone]
    with pytest.raises(OrganisationForbidden):
        await xero.fetch_page(access, PageRequest(Resource.CONTACTS))


async def test_an_expired_access_token_asks_for_a_refresh(http, xero, access):
    await control(http, "POST", "/tokens/expire")
    with pytest.raises(AccessExpired):
        await xero.fetch_page(access, PageRequest(Resource.CONTACTS))
    with pytest.raises(AccessExpired):
        await xero.list_organisations(access.access_token)


@pytest.mark.parametrize("is_filtered", [True, False])
async def test_invoices_equal_the_books_less_the_bills(http, xero, access, is_filtered):
    records = await read_all(xero, access, Resource.INVOICES, is_filtered=is_filtered)
    expected = [row for row in await books(http, access, "Invoices") if row["type"] == "ACCREC"]
    assert [
        (
            record.external_id,
            record.vendor_updated_at,
            record.contact.external_id,
            record.vendor_status,
            record.currency,
            record.number or "",
            record.reference or "",
            (record.subtotal, record.tax, record.total),
            (record.balance, record.paid, record.credited),
            (record.issued_on, record.due_on, record.paid_on),
        )
        for record in sorted(records, key=lambda record: record.external_id)
    ] == [
        (
            row["id"],
            instant(row["updated_at"]),
            row["contact_id"],
            row["status"],
            row["currency"],
            row["number"],
            row["reference"],
            (Decimal(row["subtotal"]), Decimal(row["tax"]), Decimal(row["total"])),
            (0, 0, 0)
            if row["status"] in ("VOIDED", "DELETED")
            else (Decimal(row["amount_due"]), Decimal(row["amount_paid"]), Decimal(row["amount_credited"])),
            (day(row["issued_on"]), day(row["due_on"]), day(row["paid_on"])),
        )
        for row in sorted(expected, key=lambda row: row["id"])
    ]
    assert {record.status for record in records} >= {"draft", "open", "paid"}


async def test_applied_overpayments_and_prepayments_equal_the_books(http, xero, access):
    customer = next(row["id"] for row in await books(http, access, "Contacts") if row["is_customer"])
    invoice, overpayment, prepayment, note = await edit(
        http,
        access,
        {"edit": "create_invoice", "contact_id": customer, "total": "100.00", "currency": "AUD"},
        {"edit": "create_overpayment", "contact_id": customer, "total": "70.00", "currency": "AUD"},
        {"edit": "create_prepayment", "contact_id": customer, "total": "7.77", "currency": "AUD"},
        {"edit": "create_credit_note", "contact_id": customer, "total": "5.00", "currency": "AUD"},
    )
    for credit in (overpayment, prepayment, note):
        await edit(http, access, {"edit": "allocate", "credit_id": credit, "invoice_id": invoice})
    records = await read_all(xero, access, Resource.INVOICES)
    applied = {
        (credit.kind, credit.credit_external_id, credit.invoice_external_id, credit.amount)
        for record in records
        for credit in record.applied_credits or ()
    }
    kept = {record.external_id for record in records}
    assert applied == {
        (kind, row["id"], allocation["invoice_id"], Decimal(allocation["amount"]))
        for kind, resource in (("overpayment", "Overpayments"), ("prepayment", "Prepayments"))
        for row in await books(http, access, resource)
        for allocation in row["allocations"]
        if allocation["invoice_id"] in kept
    }
    assert {kind for kind, *_ in applied} == {"overpayment", "prepayment"}


@pytest.mark.parametrize("is_filtered", [True, False])
async def test_credit_memos_equal_the_books_less_the_suppliers(http, xero, access, is_filtered):
    records = await read_all(xero, access, Resource.CREDIT_MEMOS, is_filtered=is_filtered)
    expected = [row for row in await books(http, access, "CreditNotes") if row["type"] == "ACCRECCREDIT"]
    assert {
        (
            record.external_id,
            record.vendor_status,
            record.total,
            record.remaining,
            frozenset(
                (part.external_id, part.invoice_external_id, part.amount, part.applied_on)
                for part in record.allocations
            ),
        )
        for record in records
    } == {
        (
            row["id"],
            row["status"],
            Decimal(row["total"]),
            Decimal(row["remaining"]),
            frozenset(
                (part["id"], part["invoice_id"], Decimal(part["amount"]), day(part["applied_on"]))
                for part in row["allocations"]
            ),
        )
        for row in expected
    }
    assert len(records) == len(expected) > 5
    assert any(record.allocations for record in records)


@pytest.mark.parametrize("is_filtered", [True, False])
async def test_payments_equal_the_books_less_refunds_and_bills(http, xero, access, is_filtered):
    records = await read_all(xero, access, Resource.PAYMENTS, is_filtered=is_filtered)
    rows = await books(http, access, "Payments")
    expected = [row for row in rows if row["type"] == "ACCRECPAYMENT"]
    assert {
        (record.external_id, record.invoice_external_id, record.amount, record.paid_on, record.exchange_rate)
        for record in records
    } == {
        (
            row["id"],
            row["document_id"],
            Decimal(row["amount"]),
            day(row["paid_on"]),
            row["rate"] and Decimal(row["rate"]),
        )
        for row in expected
    }
    assert len(rows) > len(records) == len(expected) > 50


async def test_contacts_come_with_suppliers_and_what_customers_owe(http, xero, access):
    records = await read_all(xero, access, Resource.CONTACTS)
    assert {(record.external_id, record.name, record.email or "", record.is_customer) for record in records} == {
        (row["id"], row["name"], row["email"], row["is_customer"]) for row in await books(http, access, "Contacts")
    }
    open_invoices = [record for record in await read_all(xero, access, Resource.INVOICES) if record.status == "open"]
    owing = {record.contact.external_id for record in open_invoices}
    assert {record.external_id for record in records if record.receivable} == owing


async def test_archived_and_merged_contacts_are_seen(http, xero, access):
    customers = [row["id"] for row in await books(http, access, "Contacts") if row["is_customer"]]
    archived, loser, winner = customers[:3]
    await edit(
        http,
        access,
        {"edit": "archive", "contact_id": archived},
        {"edit": "merge", "contact_id": loser, "into": winner},
    )
    page = await xero.fetch_page(access, PageRequest(Resource.CONTACTS, ids=(archived, loser, winner)))
    found = {record.external_id: (record.is_archived, record.merged_into) for record in page.batch.contacts}
    assert found == {archived: (True, None), loser: (True, winner), winner: (False, None)}


async def test_only_what_changed_since_is_read(http, xero, access):
    first = await xero.fetch_page(access, PageRequest(Resource.PAYMENTS))
    deleted = first.batch.payments[0]
    at = first.read_at + timedelta(seconds=5)
    await control(
        http,
        "POST",
        f"/tenants/{access.tenant_id}/edits",
        {"edit": "delete_payment", "payment_id": deleted.external_id, "at": at.isoformat()},
    )
    later = await xero.fetch_page(access, PageRequest(Resource.PAYMENTS, changed_since=at))
    assert [(record.external_id, record.status) for record in later.batch.payments] == [
        (deleted.external_id, "deleted")
    ]
    never = await xero.fetch_page(access, PageRequest(Resource.PAYMENTS, changed_since=at + timedelta(days=1)))
    assert (never.row_count, never.is_last, never.total_rows) == (0, True, 0)


async def test_forty_named_invoices_are_one_read_and_bills_among_them_are_left_out(http, xero, access):
    rows = (await books(http, access, "Invoices"))[:39]
    nowhere = "00000000-0000-4000-8000-000000000000"
    page = await xero.fetch_page(access, PageRequest(Resource.INVOICES, ids=(*(row["id"] for row in rows), nowhere)))
    sales = {row["id"] for row in rows if row["type"] == "ACCREC"}
    assert {record.external_id for record in page.batch.invoices} == sales
    assert 0 < len(sales) < page.row_count == 39
    assert page.is_last


async def test_credit_notes_and_payments_are_named_one_by_one(xero, access):
    note = (await read_all(xero, access, Resource.CREDIT_MEMOS))[0]
    page = await xero.fetch_page(access, PageRequest(Resource.CREDIT_MEMOS, ids=(note.external_id,)))
    assert page.batch.credit_memos == (note,)
    paid = (await read_all(xero, access, Resource.PAYMENTS))[0]
    page = await xero.fetch_page(access, PageRequest(Resource.PAYMENTS, ids=(paid.external_id,)))
    assert page.batch.payments == (paid,)
    with pytest.raises(NotFound):
        await xero.fetch_page(access, PageRequest(Resource.PAYMENTS, ids=(note.external_id,)))


FAULTS = [
    ("token_expired", AccessExpired),
    ("bad_token", AccessExpired),
    ("scope_missing", PermissionMissing),
    ("forbidden", OrganisationForbidden),
    ("not_found", NotFound),
    ("query_error", RequestRejected),
    ("validation_error", RequestRejected),
    ("high_volume", HighVolume),
    ("limit_minute", RateLimited),
    ("limit_day", RateLimited),
    ("limit_concurrent", RateLimited),
    ("limit_appminute", RateLimited),
    ("server_error", VendorUnavailable),
    ("not_implemented", RequestRejected),
    ("maintenance", VendorUnavailable),
    ("unavailable", VendorUnavailable),
    ("organisation_offline", OrganisationOffline),
    ("html", AnswerUnreadable),
    ("empty", AnswerUnreadable),
    ("no_content", AnswerUnreadable),
    ("truncated", AnswerUnreadable),
    ("bad_gzip", AnswerUnreadable),
    ("refused", VendorUnavailable),
    ("reset", VendorUnavailable),
    ("lost_answer", VendorUnavailable),
]


@pytest.mark.parametrize(("kind", "meaning"), FAULTS)
async def test_each_fault_of_the_simulated_xero_is_one_error_and_the_next_call_succeeds(
    http, xero, access, kind, meaning
):
    await control(http, "POST", "/faults", {"kind": kind, "resource": "Invoices"})
    with pytest.raises(ConnectorError) as raised:
        await xero.fetch_page(access, PageRequest(Resource.INVOICES))
    assert type(raised.value) is meaning
    assert (await xero.fetch_page(access, PageRequest(Resource.INVOICES))).row_count


@pytest.mark.parametrize("kind", ["truncated", "reset"])
@pytest.mark.parametrize("sixteenths", range(16))
async def test_a_page_cut_anywhere_is_no_page(http, xero, access, kind, sixteenths):
    await control(http, "POST", "/faults", {"kind": kind, "resource": "Invoices", "keep": sixteenths / 16})
    with pytest.raises((AnswerUnreadable, VendorUnavailable)):
        await xero.fetch_page(access, PageRequest(Resource.INVOICES))


async def test_a_page_of_a_wrong_content_type_is_still_the_page(http, xero, access):
    await control(http, "POST", "/faults", {"kind": "wrong_type"})
    assert (await xero.fetch_page(access, PageRequest(Resource.INVOICES))).row_count


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("oauth_error", GrantRefused),
        ("html", AnswerUnreadable),
        ("empty", AnswerUnreadable),
        ("server_error", VendorUnavailable),
        ("unavailable", VendorUnavailable),
        ("truncated", AnswerUnreadable),
        ("lost_answer", VendorUnavailable),
    ],
)
async def test_faults_of_the_token_endpoint_are_a_refusal_only_in_xeros_own_word(http, xero, tokens, kind, meaning):
    await control(http, "POST", "/faults", {"kind": kind, "path": "/connect/token"})
    with pytest.raises(ConnectorError) as raised:
        await xero.refresh(APP, tokens.refresh_token)
    assert type(raised.value) is meaning
    assert (await xero.refresh(APP, tokens.refresh_token)).user_id == tokens.user_id


async def test_limits_and_bytes_are_counted_as_the_simulated_xero_counts_them(http, xero, access):
    await control(http, "PATCH", "/options", {"limits_enabled": True, "day_limit": 2})
    await control(http, "DELETE", "/limits")
    await control(http, "DELETE", "/ledger")
    page = await xero.fetch_page(access, PageRequest(Resource.CONTACTS))
    assert (page.traffic.calls, page.traffic.day_remaining) == (1, 1)
    assert 0 < page.traffic.bytes_wire < page.traffic.bytes_raw
    await xero.fetch_page(access, PageRequest(Resource.CONTACTS))
    with pytest.raises(RateLimited) as raised:
        await xero.fetch_page(access, PageRequest(Resource.CONTACTS))
    assert raised.value.limit == "day"
    assert raised.value.retry_after is not None


async def test_a_signed_webhook_names_what_to_read_and_a_wrongly_signed_probe_is_refused(http, xero, access, inbox):
    await control(
        http, "PUT", "/webhook", {"url": "http://us.test/hook", "categories": ["CONTACT", "INVOICE", "CREDITNOTE"]}
    )
    customer = next(row["id"] for row in await books(http, access, "Contacts") if row["is_customer"])
    made = {"edit": "create_invoice", "contact_id": customer}
    supplied = {"edit": "create_credit_note", "contact_id": customer, "type": "ACCPAYCREDIT"}
    await control(
        http,
        "POST",
        f"/tenants/{access.tenant_id}/edits",
        {"edits": [made, supplied], "webhook": True, "at": datetime.now(UTC).isoformat()},
    )
    (posted,) = inbox.requests
    signature = posted.headers["x-xero-signature"].encode()
    notices = xero.read_notices(posted.content, [signature], [OPTIONS.webhook_key])
    assert {(notice.category, notice.resource, notice.why_ignored is None) for notice in notices} >= {
        ("INVOICE", Resource.INVOICES, True),
        ("CREDITNOTE", None, False),
    }
    named = next(notice for notice in notices if notice.category == "INVOICE")
    assert named.tenant_id == access.tenant_id
    page = await xero.fetch_page(access, PageRequest(Resource.INVOICES, ids=(named.resource_id,)))
    assert page.batch.invoices[0].contact.external_id == customer

    inbox.requests.clear()
    await control(http, "POST", "/webhook/probe")
    assert [read_probe(xero, probe) for probe in inbox.requests] == [None, [], None, None]


def read_probe(xero, request):
    try:
        return xero.read_notices(request.content, [request.headers["x-xero-signature"].encode()], [OPTIONS.webhook_key])
    except BadSignature:
        return None
