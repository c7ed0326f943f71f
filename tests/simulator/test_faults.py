"""Fault injection, in process and over a socket: the response of each kind, the calls that fail, how often."""

import gzip
import json
import time
import zlib

import httpx
import pytest

from simulator.faults import FAULT_KINDS, FAULTS_AFTER_EFFECT

RESPONSES = {
    "status": (400, ""),
    "token_expired": (401, "TokenExpired: token expired at 01/01/2001 00:00:00"),
    "bad_token": (401, "AuthenticationUnsuccessful"),
    "scope_missing": (401, "AuthorizationUnsuccessful"),
    "forbidden": (403, "AuthenticationUnsuccessful"),
    "not_found": (404, "The resource you're looking for cannot be found"),
    "query_error": (400, '"ErrorNumber":16'),
    "validation_error": (400, '"ErrorNumber":10'),
    "high_volume": (400, '"ErrorNumber":51'),
    "limit_minute": (429, ""),
    "limit_day": (429, ""),
    "limit_concurrent": (429, ""),
    "limit_appminute": (429, ""),
    "server_error": (500, "An unhandled error with the Xero API occurred."),
    "not_implemented": (501, "<ErrorNumber>20</ErrorNumber>"),
    "maintenance": (503, "The Xero API is currently offline for maintenance"),
    "unavailable": (503, "The Xero API is temporarily unavailable"),
    "organisation_offline": (503, "The Organisation is offline"),
    "html": (200, "<!DOCTYPE html>"),
    "empty": (200, ""),
    "no_content": (204, ""),
    "oauth_error": (400, '{"error":"invalid_grant"}'),
}


async def add_fault(xero, kind, **fields):
    return await xero.control("POST", "/faults", kind=kind, **fields)


def test_this_module_tests_every_kind_of_fault():
    assert set(RESPONSES) | FAULTS_AFTER_EFFECT | {"refused", "unanswered"} == set(FAULT_KINDS)


@pytest.mark.parametrize("kind", RESPONSES)
async def test_a_fault_is_injected_once_by_default(xero, kind):
    status, text = RESPONSES[kind]
    await add_fault(xero, kind)
    injected_count = await xero.get("Invoices", page=1)
    assert injected_count.status_code == status
    assert text in injected_count.text
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert [entry.fault for entry in xero.state.call_log.entries][-2:] == [kind, None]


@pytest.mark.parametrize(
    ("kind", "given", "sent"),
    [
        ("limit_minute", None, "22"),
        ("limit_day", None, "66975"),
        ("limit_concurrent", None, None),
        ("limit_appminute", None, None),
        ("limit_minute", "", None),
        ("limit_day", "1000000000", "1000000000"),
        ("limit_minute", "-5", "-5"),
        ("limit_minute", "Sun, 22 Nov 2026 10:01:00 GMT", "Sun, 22 Nov 2026 10:01:00 GMT"),
        ("limit_concurrent", "3", "3"),
    ],
)
async def test_retry_after_is_sent_as_given(xero, kind, given, sent):
    await add_fault(xero, kind, retry_after=given)
    response = await xero.get("Invoices", page=1)
    assert response.headers["x-rate-limit-problem"] == kind.removeprefix("limit_")
    assert response.headers.get("retry-after") == sent
    assert "x-minlimit-remaining" in response.headers


async def test_a_fault_can_have_any_status(xero):
    await add_fault(xero, "status", status=418, text="teapot")
    response = await xero.get("Invoices", page=1)
    assert (response.status_code, response.text) == (418, "teapot")


async def test_a_status_fault_can_have_any_body(xero):
    await add_fault(xero, "status", status=200, text='{"Invoices": NaN}', content_type="application/json")
    response = await xero.get("Invoices", page=1)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.text == '{"Invoices": NaN}'


async def test_a_fault_fails_only_the_calls_that_match_it(xero):
    second = list(xero.state.organisations)[1]
    await add_fault(xero, "server_error", tenant_id=second, resource="invoices", query="page=2", times=None)
    assert (await xero.get("Invoices", page=2)).status_code == 200
    xero.tenant = second
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert (await xero.get("Payments", page=2)).status_code == 200
    for _ in range(3):
        assert (await xero.get("Invoices", page=2)).status_code == 500
    await xero.control("DELETE", "/faults")
    assert (await xero.get("Invoices", page=2)).status_code == 200


@pytest.mark.parametrize(
    ("query", "fails"),
    [
        ({"page": 1, "pageSize": 251}, True),
        ({"page": 1, "pageSize": 250}, False),
        ({"page": 1}, False),
        ({"page": 1, "pageSize": 1000, "IDs": "00000000-0000-4000-8000-000000000001"}, False),
    ],
)
async def test_a_fault_can_match_the_rows_that_are_asked_for(xero, query, fails):
    await add_fault(xero, "server_error", resource="Invoices", rows_above=250)
    assert ((await xero.get("Invoices", **query)).status_code == 500) is fails


async def test_a_fault_can_match_method_and_path(xero):
    await add_fault(xero, "server_error", path="/connections", method="DELETE", times=None)
    connection = (await xero.connections())[0]["id"]
    assert (await xero.http.delete(f"/connections/{connection}", headers=xero.headers())).status_code == 500
    assert len(await xero.connections()) == 3


async def test_a_fault_can_be_injected_several_times_and_be_removed(xero):
    first = await add_fault(xero, "unavailable", times=2)
    other = await add_fault(xero, "html", resource="Contacts", times=None)
    statuses = [(await xero.get("Invoices", page=1)).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    listed = {row["id"]: row for row in await xero.control("GET", "/faults")}
    assert listed[first["id"]]["struck"] == 2
    assert [row["id"] for row in await xero.control("DELETE", f"/faults/{other['id']}")] == [first["id"]]


async def test_a_share_of_calls_can_fail(xero):
    await xero.control("PATCH", "/options", limits_enabled=False)
    await add_fault(xero, "unavailable", share=0.3, times=None)
    statuses = [(await xero.get("CreditNotes", page=1, pageSize=1)).status_code for _ in range(200)]
    assert 35 < statuses.count(503) < 85


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
async def test_a_fault_can_match_the_grant_type(xero, grant_type):
    await add_fault(xero, "oauth_error", grant_type=grant_type, text="invalid_grant", times=None)
    assert (await xero.refresh()).status_code == (400 if grant_type == "refresh_token" else 200)


async def test_a_refused_refresh_has_no_effect_but_one_with_a_lost_response_has(xero):
    await add_fault(xero, "refused", path="/connect/token")
    with pytest.raises(httpx.ReadError):
        await xero.refresh()
    tokens = xero.state.tokens.refresh_tokens
    assert [row.superseded_at for row in tokens.values()] == [None]
    await add_fault(xero, "lost_answer", path="/connect/token")
    with pytest.raises(httpx.ReadError):
        await xero.refresh()
    assert len(tokens) == 2
    assert (await xero.refresh()).status_code == 200, "the superseded token is valid within its grace period"


async def test_a_truncated_response_is_not_json(xero):
    await add_fault(xero, "truncated")
    response = await xero.get("Invoices", page=1)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


async def test_withheld_rows_are_counted_all_the_same(xero):
    whole = (await xero.get("Invoices", page=1)).json()
    await add_fault(xero, "withheld_rows")
    found = (await xero.get("Invoices", page=1)).json()
    assert whole["Invoices"]
    assert (found["Invoices"], found["pagination"]) == ([], whole["pagination"])


@pytest.mark.parametrize("sixteenth", range(16))
async def test_a_response_can_be_truncated_at_any_share(xero, sixteenth):
    whole = len((await xero.get("CreditNotes", page=1)).content)
    await add_fault(xero, "truncated", keep=sixteenth / 16)
    response = await xero.get("CreditNotes", page=1)
    assert len(response.content) == int(whole * sixteenth / 16)


async def test_a_gzip_bomb_is_small_on_the_wire(xero):
    await add_fault(xero, "gzip_bomb", megabytes=8)
    response = await xero.get("CreditNotes", page=1)
    assert len(response.content) > 8 << 20
    assert response.json()["CreditNotes"]
    assert xero.state.call_log.entries[-1].bytes_wire < 20_000


async def test_a_wrong_content_type_leaves_the_body_unchanged(xero):
    await add_fault(xero, "wrong_type")
    response = await xero.get("Invoices", page=1)
    assert response.headers["content-type"].startswith("text/html")
    assert response.json()["Invoices"]


async def test_bad_gzip_cannot_be_unpacked(xero):
    await add_fault(xero, "bad_gzip")
    async with xero.http.stream("GET", "/api.xro/2.0/Invoices?page=1", headers=xero.headers()) as response:
        compressed = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    with pytest.raises(zlib.error):
        gzip.decompress(compressed)


async def test_a_delay_changes_nothing_but_the_duration(xero):
    await add_fault(xero, "delay", seconds=0.05)
    started = time.monotonic()
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert time.monotonic() - started >= 0.05
    assert xero.state.call_log.entries[-1].milliseconds >= 50


async def test_a_call_with_a_fault_counts_against_the_limits(xero):
    await add_fault(xero, "unavailable")
    assert (await xero.get("Invoices", page=1)).headers["x-minlimit-remaining"] == "59"
    assert (await xero.get("Invoices", page=1)).headers["x-minlimit-remaining"] == "58"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"kind": "earthquake"}, "There is no fault 'earthquake'"),
        ({}, "missing required field `kind`"),
        ({"kind": "html", "share": 2}, "share"),
        ({"kind": "html", "tenant": "x"}, "unknown field `tenant`"),
    ],
)
async def test_an_invalid_fault_is_an_error_that_says_why(xero, body, message):
    response = await xero.http.post("/_control/faults", json=body)
    assert response.status_code == 400
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset", (httpx.RemoteProtocolError, httpx.ReadError)),
        ("lost_answer", (httpx.RemoteProtocolError, httpx.ReadError)),
        ("refused", (httpx.RemoteProtocolError, httpx.ReadError)),
        ("bad_gzip", httpx.DecodingError),
    ],
)
def test_a_client_sees_the_connection_error_and_the_next_call_succeeds(live_client, kind, error):
    live_client.post("/_control/faults", json={"kind": kind, "resource": "Invoices"})
    with pytest.raises(error):
        live_client.get("/api.xro/2.0/Invoices?page=1")
    assert live_client.get("/api.xro/2.0/Invoices?page=1").status_code == 200


def test_an_unanswered_call_ends_when_the_client_gives_up(live_client):
    live_client.post("/_control/faults", json={"kind": "unanswered", "resource": "Invoices"})
    with pytest.raises(httpx.ReadTimeout):
        live_client.get("/api.xro/2.0/Invoices?page=1", timeout=httpx.Timeout(30, read=0.2))
    assert live_client.get("/api.xro/2.0/Invoices?page=1").status_code == 200


def test_a_reset_comes_after_half_of_the_body(live_client):
    live_client.post("/_control/faults", json={"kind": "reset", "resource": "Invoices"})
    with live_client.stream("GET", "/api.xro/2.0/Invoices?page=1") as response:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            list(response.iter_raw())
        assert response.num_bytes_downloaded == int(response.headers["content-length"]) // 2
