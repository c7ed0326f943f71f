"""Xero's rate limits: the four kinds, their headers and windows, and how to switch them off."""

import asyncio

import pytest

from simulator.clock import Clock
from simulator.limits import Limits
from simulator.options import SimulatorOptions


async def make_calls(xero, count: int) -> None:
    for _ in range(count):
        assert (await xero.get("CreditNotes", page=1, pageSize=1)).status_code == 200


def remaining(response) -> tuple[str, str, str]:
    return tuple(response.headers[f"x-{name}limit-remaining"] for name in ("day", "min", "appmin"))


async def test_every_accounting_response_states_the_remaining_calls(xero):
    assert remaining(await xero.get("CreditNotes", page=1)) == ("4999", "59", "9999")
    assert remaining(await xero.get("CreditNotes/none")) == ("4998", "58", "9998")
    assert remaining(await xero.get("CreditNotes", where="bad")) == ("4997", "57", "9997")


async def test_the_sixty_first_call_of_a_minute_is_refused_until_the_window_ends(xero, clock):
    await make_calls(xero, 60)
    response = await xero.get("CreditNotes", page=1)
    assert response.status_code == 429
    assert response.headers["x-rate-limit-problem"] == "minute"
    assert response.content == b""
    assert remaining(response) == ("4940", "0", "9940"), "a refused call is not counted"
    wait = int(response.headers["retry-after"])
    assert 1 <= wait <= 60
    clock.advance(wait - 1)
    assert (await xero.get("CreditNotes", page=1)).status_code == 429
    clock.advance(1)
    assert (await xero.get("CreditNotes", page=1)).status_code == 200


async def test_each_tenant_has_a_minute_limit_of_its_own(xero):
    await make_calls(xero, 60)
    xero.tenant = list(xero.state.organisations)[1]
    assert remaining(await xero.get("CreditNotes", page=1)) == ("4999", "59", "9939")


async def test_the_day_limit_has_a_long_retry_after(xero, clock):
    await xero.control("POST", "/limits/use", tenant_id=xero.tenant, day=4999)
    await make_calls(xero, 1)
    response = await xero.get("CreditNotes", page=1)
    assert (response.status_code, response.headers["x-rate-limit-problem"]) == (429, "day")
    wait = int(response.headers["retry-after"])
    assert 60 < wait <= 86_400
    clock.advance(wait)
    xero.tokens = (await xero.refresh()).json()
    assert remaining(await xero.get("CreditNotes", page=1))[0] == "4999"


async def test_the_app_minute_limit_has_no_retry_after(xero):
    await xero.control("PATCH", "/options", app_minute_limit=3)
    await make_calls(xero, 2)
    xero.tenant = list(xero.state.organisations)[1]
    await make_calls(xero, 1)
    response = await xero.get("CreditNotes", page=1)
    assert (response.status_code, response.headers["x-rate-limit-problem"]) == (429, "appminute")
    assert "retry-after" not in response.headers


async def test_the_sixth_call_in_progress_is_refused_without_retry_after(xero):
    await xero.control("PATCH", "/options", latency_ms=30)
    responses = await asyncio.gather(*(xero.get("CreditNotes", page=1) for _ in range(6)))
    refused = [response for response in responses if response.status_code == 429]
    assert len(refused) == 1
    assert refused[0].headers["x-rate-limit-problem"] == "concurrent"
    assert "retry-after" not in refused[0].headers
    assert (await xero.get("CreditNotes", page=1)).status_code == 200
    assert (await xero.control("GET", "/stats"))["tenants"][xero.tenant]["most_in_flight"] == 6


async def test_limits_can_be_changed_and_switched_off(xero):
    await xero.control("PATCH", "/options", minute_limit=2)
    await make_calls(xero, 2)
    assert (await xero.get("CreditNotes", page=1)).status_code == 429
    await xero.control("PATCH", "/options", limits_enabled=False)
    await make_calls(xero, 3)
    await xero.control("PATCH", "/options", limits_enabled=True)
    await xero.control("DELETE", "/limits")
    await make_calls(xero, 2)


@pytest.mark.parametrize("length", [60, 86_400])
def test_windows_of_different_tenants_reset_at_different_times(clock, length):
    limits = Limits(Clock(clock), SimulatorOptions(minute_limit=1, day_limit=1 if length > 60 else 10))
    waits = set()
    for tenant in ("aaaa", "bbbb", "cccc"):
        assert limits.admit(tenant, 1) is None
        problem = limits.admit(tenant, 1)
        assert problem
        waits.add(problem[1])
    assert len(waits) == 3


async def test_identity_and_connections_are_not_limited(xero):
    await make_calls(xero, 60)
    assert len(await xero.connections()) == 3
    assert (await xero.refresh()).status_code == 200
