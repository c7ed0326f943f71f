"""Every answer of Xero's that is not the one asked for has one meaning."""

import json

import httpx
import pytest
import respx

from app.billing.records import Resource
from app.connector import (
    AccessExpired,
    AnswerTooSlow,
    AnswerUnreadable,
    ConnectorError,
    HighVolume,
    NotFound,
    OrganisationForbidden,
    OrganisationOffline,
    PageRequest,
    PermissionMissing,
    RateLimited,
    RequestRejected,
    VendorUnavailable,
)
from app.xero.connector import XeroConnector
from app.xero.errors import clean
from tests.support.xero_samples import ACCESS, API, IDENTITY, LOGIN


def problem(status, detail):
    return json.dumps(
        {"Type": None, "Title": "?", "Status": status, "Detail": detail, "Instance": "a233ca33", "Extensions": {}}
    )


EXPIRED = problem(401, "TokenExpired: token expired at 01/01/2001 00:00:00")
HIGH_VOLUME = json.dumps(
    {
        "ErrorNumber": 51,
        "Type": "HighVolumeException",
        "Message": "Your request is not filtering Invoices efficiently. Please check https://developer.xero.com/x",
    }
)
VALIDATION = json.dumps(
    {
        "ErrorNumber": 10,
        "Type": "ValidationException",
        "Message": "A validation exception occurred",
        "Elements": [{"ValidationErrors": [{"Message": "Email address must be valid"}]}],
    }
)
NOT_IMPLEMENTED = (
    "<ApiException><ErrorNumber>20</ErrorNumber><Type>ApiMethodNotImplementedException</Type></ApiException>"
)
HTML = "<!DOCTYPE html><html><body>Access denied</body></html>"
MAINTENANCE = "The Xero API is currently offline for maintenance"

ANSWERS = [
    (400, HIGH_VOLUME, {}, HighVolume),
    (400, '{"ErrorNumber" : 51}', {}, HighVolume),
    (400, '{"Type":"HighVolumeException"}', {}, HighVolume),
    (400, '{"ErrorNumber":510,"Message":"Other"}', {}, RequestRejected),
    (400, VALIDATION, {}, RequestRejected),
    (400, '{"ErrorNumber":16,"Type":"QueryParseException","Message":"No such field"}', {}, RequestRejected),
    (400, HTML, {}, RequestRejected),
    (401, EXPIRED, {}, AccessExpired),
    (401, problem(401, "AuthenticationUnsuccessful"), {}, AccessExpired),
    (401, problem(401, "AuthorizationUnsuccessful"), {}, PermissionMissing),
    (401, "", {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}, PermissionMissing),
    (401, "", {}, AccessExpired),
    (401, HTML, {}, AccessExpired),
    (403, problem(403, "AuthenticationUnsuccessful"), {}, OrganisationForbidden),
    (403, HTML, {}, OrganisationForbidden),
    (404, "The resource you're looking for cannot be found", {"Content-Type": "text/html"}, NotFound),
    (405, "", {}, RequestRejected),
    (408, "", {}, VendorUnavailable),
    (414, HTML, {}, RequestRejected),
    (429, "", {}, RateLimited),
    (500, "An unhandled error with the Xero API occurred.", {}, VendorUnavailable),
    (501, NOT_IMPLEMENTED, {}, RequestRejected),
    (502, HTML, {}, VendorUnavailable),
    (503, MAINTENANCE, {}, VendorUnavailable),
    (503, "The Xero API is temporarily unavailable", {}, VendorUnavailable),
    (503, "The Organisation is offline", {}, OrganisationOffline),
    (504, "", {}, VendorUnavailable),
    (520, HTML, {}, VendorUnavailable),
    (301, "", {"Location": "https://elsewhere.test/"}, AnswerUnreadable),
    (302, HTML, {"Location": "/login"}, AnswerUnreadable),
    (202, "{}", {}, AnswerUnreadable),
    (206, "{}", {}, AnswerUnreadable),
    (200, HTML, {"Content-Type": "text/html"}, AnswerUnreadable),
    (200, "", {}, AnswerUnreadable),
    (200, "null", {}, AnswerUnreadable),
    (200, "[]", {}, AnswerUnreadable),
    (200, "{}", {}, AnswerUnreadable),
    (200, '{"Contacts":[]}', {}, AnswerUnreadable),
    (200, '{"Invoices":null}', {}, AnswerUnreadable),
    (200, '{"Invoices":{}}', {}, AnswerUnreadable),
    (200, '{"Invoices":[]}', {}, AnswerUnreadable),  # no instant anywhere
    (200, '{"Invoices":[{"InvoiceID":"046d8a6d', {}, AnswerUnreadable),
    (200, '{"pagination":{"pageCount":"many"},"Invoices":[]}', {}, AnswerUnreadable),
    (200, '{"Invoices":' + "[" * 100_000, {}, AnswerUnreadable),
]


async def ask(http):
    return await XeroConnector(http, LOGIN, IDENTITY, API).fetch_page(ACCESS, PageRequest(Resource.INVOICES))


@pytest.mark.parametrize(("status", "body", "headers", "meaning"), ANSWERS)
@respx.mock
async def test_each_answer_has_one_meaning(status, body, headers, meaning, respx_mock):
    respx_mock.get(url__startswith=f"{API}/api.xro/2.0/Invoices").respond(status, text=body, headers=headers)
    async with httpx.AsyncClient() as http:
        with pytest.raises(ConnectorError) as raised:
            await ask(http)
    assert type(raised.value) is meaning
    assert raised.value.traffic.calls == 1
    assert ".com" not in raised.value.detail
    assert ".test" not in raised.value.detail
    assert len(respx_mock.calls) == 1


FAILURES = [
    (httpx.ConnectError("[Errno 111] api.test refused"), VendorUnavailable, 0),
    (httpx.ConnectTimeout("api.test"), VendorUnavailable, 0),
    (httpx.PoolTimeout(""), VendorUnavailable, 0),
    (httpx.ReadTimeout("api.test"), AnswerTooSlow, 1),
    (httpx.ReadError(""), VendorUnavailable, 1),
    (httpx.WriteError(""), VendorUnavailable, 1),
    (httpx.RemoteProtocolError("peer closed connection without sending complete message body"), VendorUnavailable, 1),
    (httpx.ProxyError("proxy.test"), VendorUnavailable, 1),
]


@pytest.mark.parametrize(("failure", "meaning", "calls"), FAILURES)
@respx.mock
async def test_no_answer_at_all_is_an_outage_and_names_no_host(failure, meaning, calls, respx_mock):
    respx_mock.get(url__startswith=API).mock(side_effect=failure)
    async with httpx.AsyncClient() as http:
        with pytest.raises(ConnectorError) as raised:
            await ask(http)
    assert type(raised.value) is meaning
    assert raised.value.traffic.calls == calls
    assert ".test" not in raised.value.detail


NOW = "Mon, 23 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "limit", "retry_after"),
    [
        ({"X-Rate-Limit-Problem": "minute", "Retry-After": "22"}, "minute", 22),
        ({"X-Rate-Limit-Problem": "Day", "Retry-After": "66975"}, "day", 66975),
        ({"X-Rate-Limit-Problem": "concurrent"}, "concurrent", None),
        ({"X-Rate-Limit-Problem": "appminute"}, "app_minute", None),
        ({"X-Rate-Limit-Problem": "app-minute"}, "app_minute", None),
        ({"X-Rate-Limit-Problem": "galactic"}, "unknown", None),
        ({}, "unknown", None),
        ({"Retry-After": "1.5"}, "unknown", 1.5),
        ({"Retry-After": "0"}, "unknown", 0),
        ({"Retry-After": "1000000000"}, "unknown", 1e9),
        ({"Retry-After": "-5"}, "unknown", None),
        ({"Retry-After": "soon"}, "unknown", None),
        ({"Retry-After": "nan"}, "unknown", None),
        ({"Retry-After": "inf"}, "unknown", None),
        ({"Retry-After": "9" * 400}, "unknown", None),
        ({"Retry-After": "1e9"}, "unknown", None),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:30 GMT", "Date": NOW}, "unknown", 90),
        ({"Retry-After": "Mon, 23 Nov 2026 11:00:00 GMT", "Date": NOW}, "unknown", None),
        ({"Retry-After": "Mon, 23 Nov 2026 12:01:30 GMT"}, "unknown", None),
        ({"Retry-After": "Mon, 99 Nov 99999 12:01:30 GMT", "Date": NOW}, "unknown", None),
    ],
)
@respx.mock
async def test_a_429_says_which_limit_and_for_how_long_or_that_it_does_not_know(
    headers, limit, retry_after, respx_mock
):
    respx_mock.get(url__startswith=API).respond(429, text="slow down", headers=headers)
    async with httpx.AsyncClient() as http:
        with pytest.raises(RateLimited) as raised:
            await ask(http)
    assert (raised.value.limit, raised.value.retry_after) == (limit, retry_after)


@respx.mock
async def test_a_refusal_carries_xeros_reason_and_what_is_left_of_the_limits(respx_mock):
    left = {"X-DayLimit-Remaining": "4539"}
    respx_mock.get(url__startswith=API).respond(400, text=VALIDATION, headers=left)
    async with httpx.AsyncClient() as http:
        with pytest.raises(RequestRejected) as raised:
            await ask(http)
    assert "A validation exception occurred Email address must be valid" in raised.value.detail
    traffic = raised.value.traffic
    assert (traffic.day_remaining, traffic.bytes_raw) == (4539, len(VALIDATION))


@pytest.mark.parametrize("nonsense", ["", "many", "-1", "٣", "9" * 30, "1.5"])
@respx.mock
async def test_a_limit_header_that_is_no_number_says_nothing(nonsense, respx_mock):
    headers = [(b"X-DayLimit-Remaining", nonsense.encode())]
    respx_mock.get(url__startswith=API).respond(404, headers=headers)
    async with httpx.AsyncClient() as http:
        with pytest.raises(NotFound) as raised:
            await ask(http)
    assert raised.value.traffic.day_remaining is None


def test_a_vendors_sentence_loses_addresses_and_tokens():
    token = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjFDQUY4RTY2NzcyRDZEQzAyOEQ2NzI2RkQwMjYxNTgxNTcwRUZDMTkifQ"
    said = f"See https://developer.xero.com/a?b  or api.xero.com,\n\0bearer {token} and {'x' * 5000}"
    assert clean(said) == "See … or … bearer … and …"
    assert len(clean("no " * 500)) == 300
    kept = "Invoice 046d8a6d-1ae1-4b4d-9340-5601bdf41b87 is not valid."
    assert clean(kept) == kept
