"""Faults to order, in process and through a socket: what each looks like, whom it hits, how often."""

import gzip
import json
import time
import zlib

import httpx
import pytest

from simulator.faults import FAULT_KINDS, FAULTS_AFTER_EFFECT

ANSWERS = {
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


async def order(xero, kind, **fields):
    return await xero.control("POST", "/faults", kind=kind, **fields)


def test_every_kind_is_tried_here():
    assert set(ANSWERS) | FAULTS_AFTER_EFFECT | {"refused"} == set(FAULT_KINDS)


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_fault_strikes_once_and_then_all_is_well(xero, kind):
    status, text = ANSWERS[kind]
    await order(xero, kind)
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
async def test_retry_after_is_sent_as_ordered(xero, kind, given, sent):
    await order(xero, kind, retry_after=given)
    response = await xero.get("Invoices", page=1)
    assert response.headers["x-rate-limit-problem"] == kind.removeprefix("limit_")
    assert response.headers.get("retry-after") == sent
    assert "x-minlimit-remaining" in response.headers


async def test_a_status_of_any_number_can_be_had(xero):
    await order(xero, "status", status=418, text="teapot")
    response = await xero.get("Invoices", page=1)
    assert (response.status_code, response.text) == (418, "teapot")


async def test_a_status_can_carry_any_body(xero):
    await order(xero, "status", status=200, text='{"Invoices": NaN}', content_type="application/json")
    response = await xero.get("Invoices", page=1)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    assert response.text == '{"Invoices": NaN}'


async def test_faults_hit_only_the_calls_they_describe(xero):
    second = list(xero.state.organisations)[1]
    await order(xero, "server_error", tenant_id=second, resource="invoices", query="page=2", times=None)
    assert (await xero.get("Invoices", page=2)).status_code == 200
    xero.tenant = second
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert (await xero.get("Payments", page=2)).status_code == 200
    for _ in range(3):
        assert (await xero.get("Invoices", page=2)).status_code == 500
    await xero.control("DELETE", "/faults")
    assert (await xero.get("Invoices", page=2)).status_code == 200


async def test_methods_and_paths_can_be_told_apart(xero):
    await order(xero, "server_error", path="/connections", method="DELETE", times=None)
    connection = (await xero.connections())[0]["id"]
    assert (await xero.http.delete(f"/connections/{connection}", headers=xero.headers())).status_code == 500
    assert len(await xero.connections()) == 3


async def test_a_fault_can_strike_a_number_of_times_and_be_cancelled(xero):
    placed = await order(xero, "unavailable", times=2)
    other = await order(xero, "html", resource="Contacts", times=None)
    statuses = [(await xero.get("Invoices", page=1)).status_code for _ in range(3)]
    assert statuses == [503, 503, 200]
    listed = {row["id"]: row for row in await xero.control("GET", "/faults")}
    assert listed[placed["id"]]["struck"] == 2
    assert [row["id"] for row in await xero.control("DELETE", f"/faults/{other['id']}")] == [placed["id"]]


async def test_a_share_of_calls_can_fail(xero):
    await xero.control("PATCH", "/options", limits_enabled=False)
    await order(xero, "unavailable", share=0.3, times=None)
    statuses = [(await xero.get("CreditNotes", page=1, pageSize=1)).status_code for _ in range(200)]
    assert 35 < statuses.count(503) < 85


@pytest.mark.parametrize("grant_type", ["authorization_code", "refresh_token"])
async def test_token_faults_can_name_the_grant(xero, grant_type):
    await order(xero, "oauth_error", grant_type=grant_type, text="invalid_grant", times=None)
    assert (await xero.refresh()).status_code == (400 if grant_type == "refresh_token" else 200)


async def test_a_refused_refresh_has_no_effect_but_a_lost_one_has(xero):
    await order(xero, "refused", path="/connect/token")
    with pytest.raises(httpx.ReadError):
        await xero.refresh()
    tokens = xero.state.tokens.refresh_tokens
    assert [row.superseded_at for row in tokens.values()] == [None]
    await order(xero, "lost_answer", path="/connect/token")
    with pytest.raises(httpx.ReadError):
        await xero.refresh()
    assert len(tokens) == 2
    assert (await xero.refresh()).status_code == 200, "the old token is good within its grace"


async def test_a_truncated_answer_is_no_json(xero):
    await order(xero, "truncated")
    response = await xero.get("Invoices", page=1)
    assert response.status_code == 200
    with pytest.raises(json.JSONDecodeError):
        response.json()


@pytest.mark.parametrize("sixteenth", range(16))
async def test_an_answer_can_be_cut_anywhere(xero, sixteenth):
    whole = len((await xero.get("CreditNotes", page=1)).content)
    await order(xero, "truncated", keep=sixteenth / 16)
    response = await xero.get("CreditNotes", page=1)
    assert len(response.content) == int(whole * sixteenth / 16)


async def test_a_gzip_bomb_is_small_on_the_wire(xero):
    await order(xero, "gzip_bomb", megabytes=8)
    response = await xero.get("CreditNotes", page=1)
    assert len(response.content) > 8 << 20
    assert response.json()["CreditNotes"]
    assert xero.state.call_log.entries[-1].bytes_wire < 20_000


async def test_a_wrong_type_is_in_the_header_alone(xero):
    await order(xero, "wrong_type")
    response = await xero.get("Invoices", page=1)
    assert response.headers["content-type"].startswith("text/html")
    assert response.json()["Invoices"]


async def test_bad_gzip_cannot_be_unpacked(xero):
    await order(xero, "bad_gzip")
    async with xero.http.stream("GET", "/api.xro/2.0/Invoices?page=1", headers=xero.headers()) as response:
        packed = b"".join([chunk async for chunk in response.aiter_raw()])
    assert response.headers["content-encoding"] == "gzip"
    with pytest.raises(zlib.error):
        gzip.decompress(packed)


async def test_a_delay_is_only_a_delay(xero):
    await order(xero, "delay", seconds=0.05)
    started = time.monotonic()
    assert (await xero.get("Invoices", page=1)).status_code == 200
    assert time.monotonic() - started >= 0.05
    assert xero.state.call_log.entries[-1].milliseconds >= 50


async def test_a_faulty_call_counts_against_the_limits(xero):
    await order(xero, "unavailable")
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
async def test_a_fault_that_cannot_be_is_refused(xero, body, message):
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
def test_a_socket_breaks_as_it_would_at_xero(live_client, kind, error):
    live_client.post("/_control/faults", json={"kind": kind, "resource": "Invoices"})
    with pytest.raises(error):
        live_client.get("/api.xro/2.0/Invoices?page=1")
    assert live_client.get("/api.xro/2.0/Invoices?page=1").status_code == 200


def test_a_reset_comes_after_half_of_the_body(live_client):
    live_client.post("/_control/faults", json={"kind": "reset", "resource": "Invoices"})
    with live_client.stream("GET", "/api.xro/2.0/Invoices?page=1") as response:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            list(response.iter_raw())
        assert response.num_bytes_downloaded == int(response.headers["content-length"]) // 2
