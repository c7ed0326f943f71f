"""`status` and `check`: what they say of a connection, as text and as JSON, and their exit statuses."""

import json

import pytest

from app.cli.report import print_check, print_status
from tests.support.service import INTEGRATION, open_harness


@pytest.fixture
def run(harness, capsys):
    """Print a report on the harness's services; returns its exit status and what it printed."""

    async def run(print_report, *, as_json):
        status = await print_report(harness.services, as_json=as_json)
        return status, capsys.readouterr().out

    return run


async def test_the_reports_follow_the_connection_from_its_set_up_to_a_trouble(harness, run):
    status, text = await run(print_status, as_json=False)
    assert (status, text.splitlines()[0]) == (1, "Xero: not connected: nobody has signed in yet")
    status, text = await run(print_check, as_json=True)
    assert (status, json.loads(text)["ok"]) == (1, False)

    [tenant_id] = await harness.connect_and_sync()
    name = (await harness.read(f"{INTEGRATION}/tenants"))["items"][0]["name"]
    status, text = await run(print_status, as_json=False)
    assert (status, text.splitlines()[0]) == (0, "Xero: connected")
    assert any(line.split()[: len(name.split()) + 1] == [*name.split(), "healthy"] for line in text.splitlines())
    status, text = await run(print_check, as_json=True)
    found = json.loads(text)
    assert (status, found["ok"]) == (0, True)
    assert {(check["vendor"], check["state"]) for check in found["checks"]} == {("xero", "passed")}
    status, text = await run(print_check, as_json=False)
    assert status == 0
    assert text.splitlines()[1].split()[0] == "passed"

    await harness.add_fault("forbidden", times=None)
    await harness.call("POST", f"{INTEGRATION}/sync")
    await harness.run_until_idle()
    status, text = await run(print_status, as_json=True)
    report = json.loads(text)
    [vendor] = report["vendors"]
    assert (status, report["healthy"], vendor["needs_attention"]) == (1, False, 1)
    assert [(each["tenant_id"], each["health"]) for each in vendor["organisations"]] == [(tenant_id, "forbidden")]
    assert vendor["banners"][0]["code"] == "tenant_forbidden"
    status, text = await run(print_status, as_json=False)
    assert "[critical]" in text


async def test_the_worst_organisations_are_named_first_and_a_screen_holds_the_list(dsn, capsys):
    options = {"organisations": 16, "limits_enabled": False, "invoices": 5}
    async with open_harness(dsn, options=options) as harness:
        tenant_ids = await harness.connect_and_sync(16)
        await harness.add_fault("forbidden", tenant_id=tenant_ids[-1], times=None)
        await harness.call("POST", f"{INTEGRATION}/sync")
        await harness.run_until_idle()
        assert await print_status(harness.services, as_json=False) == 1
        lines = capsys.readouterr().out.splitlines()
    [first] = [number for number, line in enumerate(lines) if line.lstrip().startswith("organisation ")]
    assert "forbidden" in lines[first + 1]
    assert lines[-1] == "  and 1 more; --json lists all."
    assert len(lines) <= 24
