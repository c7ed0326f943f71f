"""The control API: its list of operations, the state, call log, stats, clock, options and reset."""

import asyncio

import pytest

from simulator.call_log import max_calls_in_a_minute
from simulator.clock import Clock
from simulator.control.routes import OPERATIONS
from simulator.options import SimulatorOptions


async def test_the_list_describes_every_operation_edit_and_fault(anonymous):
    listed = await anonymous.control("GET", "")
    assert [(operation["method"], operation["path"]) for operation in listed["verbs"]] == [
        (method, f"/_control{path}") for method, path, _ in OPERATIONS
    ]
    assert all(operation["does"].endswith(".") for operation in listed["verbs"])
    assert set(listed["edits"]["pay"]["required"]) == {"edit", "invoice_id"}
    assert "amount" in listed["edits"]["pay"]["fields"]
    assert {"rename", "bulk_insert", "merge", "refund"} <= set(listed["edits"])
    assert "limit_minute" in listed["fault_kinds"]
    assert "retry_after" in listed["fault"]["fields"]


async def test_the_state_equals_what_the_accounting_api_shows(xero):
    state = await xero.control("GET", f"/tenants/{xero.tenant}/state")
    assert list(state) == ["Contacts", "Invoices", "Payments", "CreditNotes", "Overpayments", "Prepayments"]
    shown = {row["InvoiceID"]: row for row in await xero.rows("Invoices")}
    assert len(state["Invoices"]) == len(shown)
    for row in state["Invoices"]:
        there = shown[row["id"]]
        assert row["number"] == there["InvoiceNumber"]
        assert row["status"] == there["Status"]
        assert float(row["amount_due"]) == there["AmountDue"]
        assert f"{row['issued_on']}T00:00:00" == there["DateString"]
        assert row["updated_at"][:19] + "Z" == there["UpdatedDateUTCString"]
        assert row["contact_id"] == there["Contact"]["ContactID"]
    assert len(state["Contacts"]) == len(await xero.rows("Contacts", includeArchived="true"))


async def test_one_resource_of_the_state_can_be_read_alone(xero):
    assert list(await xero.control("GET", f"/tenants/{xero.tenant}/state?resource=Payments")) == ["Payments"]
    response = await xero.http.get(f"/_control/tenants/{xero.tenant}/state?resource=Cats")
    assert (response.status_code, "There is no resource Cats" in response.text) == (400, True)


async def test_an_unknown_tenant_is_named_in_the_error(anonymous):
    response = await anonymous.http.get("/_control/tenants/none/state")
    assert (response.status_code, "There is no tenant none" in response.text) == (400, True)


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"'])
async def test_a_body_that_is_not_a_json_object_is_an_error(anonymous, body):
    response = await anonymous.http.post("/_control/clock", content=body)
    assert response.status_code == 400
    assert response.json()["error"]


async def test_the_call_log_has_every_call_except_those_to_the_control_api(xero):
    await xero.control("DELETE", "/ledger")
    await xero.get("Invoices", headers={"If-Modified-Since": "2026-11-01T00:00:00"}, page=1)
    await xero.connections()
    first, second = await xero.control("GET", "/ledger")
    assert (first["method"], first["path"], first["query"]) == ("GET", "/api.xro/2.0/Invoices", "page=1")
    assert (first["resource"], first["tenant_id"], first["status"]) == ("Invoices", xero.tenant, 200)
    assert first["headers"]["if-modified-since"] == "2026-11-01T00:00:00"
    assert "authorization" not in first["headers"]
    assert first["at"] == "2026-11-22T10:00:00.250Z"
    assert first["in_flight"] == 1
    assert first["bytes_raw"] > first["bytes_wire"] > 0
    assert second["path"] == "/connections"
    assert [row["seq"] for row in await xero.control("GET", f"/ledger?since={first['seq']}")] == [second["seq"]]
    assert len(await xero.control("GET", f"/ledger?tenant_id={xero.tenant}")) == 2
    assert await xero.control("GET", "/ledger?tenant_id=other") == []


async def test_stats_count_per_tenant(xero, clock):
    await xero.control("PATCH", "/options", minute_limit=3)
    for _ in range(4):
        await xero.get("CreditNotes", page=1)
    clock.advance(61)
    await xero.get("Contacts", page=1)
    stats = await xero.control("GET", "/stats")
    mine = stats["tenants"][xero.tenant]
    assert (mine["calls"], mine["most_in_60_seconds"], mine["most_in_flight"]) == (5, 4, 1)
    assert mine["by_resource"] == {"CreditNotes": 4, "Contacts": 1}
    assert mine["by_status"] == {"200": 4, "429": 1}
    assert mine["refused"] == {"minute": 1}
    assert stats["violations"] == 1


async def test_an_injected_429_is_not_counted_as_a_violation(xero):
    await xero.control("POST", "/faults", kind="limit_minute")
    await xero.get("Contacts", page=1)
    assert (await xero.control("GET", "/stats"))["violations"] == 0


async def test_calls_in_progress_are_counted_when_a_call_arrives(xero):
    await xero.control("PATCH", "/options", latency_ms=20)
    await xero.control("DELETE", "/ledger")
    await asyncio.gather(*(xero.get("CreditNotes", page=1) for _ in range(3)))
    assert sorted(entry.in_flight for entry in xero.state.call_log.entries) == [1, 2, 3]
    assert xero.state.call_log.in_flight[xero.tenant] == 0


@pytest.mark.parametrize(
    ("seconds", "most"), [([], 0), ([1], 1), ([0, 59.999], 2), ([0, 60], 1), ([0, 30, 60, 61, 89, 90], 4)]
)
def test_the_most_calls_in_a_minute_are_those_of_any_rolling_minute(seconds, most):
    assert max_calls_in_a_minute(int(second * 1000) for second in seconds) == most


async def test_the_clock_can_be_advanced(xero):
    assert await xero.control("POST", "/clock", advance_seconds=1800) == {"now": "2026-11-22T10:30:00.250Z"}
    assert (await xero.get("Invoices", page=1)).status_code == 401


def test_a_change_of_the_clock_rate_does_not_change_the_time(clock):
    mine = Clock(clock, rate=10)
    start = mine.now()
    clock.advance(6)
    assert (mine.now() - start).total_seconds() == 60
    mine.set_rate(1)
    clock.advance(5)
    assert (mine.now() - start).total_seconds() == 65
    mine.advance(-5)
    mine.set_rate(100)
    clock.advance(1)
    assert (mine.now() - start).total_seconds() == 160


async def test_options_can_be_changed_and_unknown_or_invalid_ones_are_errors(anonymous):
    before = await anonymous.control("GET", "/options")
    assert before["minute_limit"] == 60
    assert (await anonymous.control("PATCH", "/options", minute_limit=5))["minute_limit"] == 5
    for body in ({"colour": "red"}, {"minute_limit": "many"}):
        response = await anonymous.http.patch("/_control/options", json=body)
        assert response.status_code == 400
    assert (await anonymous.control("GET", "/options"))["minute_limit"] == 5


async def test_a_reset_forgets_everything_and_takes_the_given_options(xero):
    await xero.edit("create_contact", name="Gone soon")
    await xero.control("POST", "/faults", kind="html", times=None)
    await xero.control("POST", "/clock", advance_seconds=99)
    await xero.control("POST", "/reset", invoices=20, payments=5, organisations=1)
    assert xero.state.clock.now_ms() == 1795341600250
    assert await xero.control("GET", "/faults") == []
    assert await xero.control("GET", "/ledger") == []
    (first, practice) = await xero.control("GET", "/tenants")
    assert (first["tenant_id"], first["invoices"], practice["tenant_type"]) == (xero.tenant, 20, "PRACTICE")
    assert (await xero.get("Invoices", page=1)).status_code == 401
    await xero.sign_in()
    assert "Gone soon" not in [row["Name"] for row in await xero.rows("Contacts")]


async def test_a_tenant_can_be_renamed(xero):
    await xero.control("PATCH", f"/tenants/{xero.tenant}", name="Renamed Group")
    assert (await xero.connections())[0]["tenantName"] == "Renamed Group"


async def test_users_and_tokens_can_be_listed(xero):
    users = await xero.control("GET", "/users")
    assert [user["is_at_browser"] for user in users] == [True, False]
    tokens = await xero.control("GET", "/tokens")
    assert [row["token"] for row in tokens["access"]] == [xero.tokens["access_token"]]
    assert [row["token"] for row in tokens["refresh"]] == [xero.tokens["refresh_token"]]
    assert len(tokens["connections"]) == 3


def test_the_default_options_are_xeros_limits_and_token_lifetimes():
    options = SimulatorOptions()
    assert (options.minute_limit, options.day_limit, options.concurrent_limit) == (60, 5000, 5)
    assert (options.access_token_seconds, options.refresh_token_days, options.refresh_grace_seconds) == (1800, 60, 1800)
