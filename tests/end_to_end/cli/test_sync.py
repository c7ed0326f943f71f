"""`vectis-xero sync`: its output, its exit status, and that it does not wait for a worker that has failed."""

import asyncio
import io

import pytest
from rich.console import Console

from app.cli.sync import sync_tenants
from tests.support.service import IDLE_TIMEOUT_SECONDS, open_harness


async def test_the_sync_command_ends_with_its_figures(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    output = io.StringIO()

    outcome = await sync_tenants(harness.services, Console(file=output, width=200), None)

    assert outcome == 0
    assert [text in output.getvalue() for text in ("contacts", "invoices", "4 of 4 succeeded")] == [True] * 3


async def test_the_sync_command_fails_when_a_resource_could_not_be_read(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    await harness.add_fault("organisation_offline", path="/api.xro/2.0/Payments")

    assert await sync_tenants(harness.services, Console(file=io.StringIO(), width=200), None) == 1


async def test_the_sync_command_ends_when_its_worker_fails(harness, monkeypatch):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])

    async def fail():
        raise RuntimeError("broken")

    monkeypatch.setattr(harness.engine.worker, "run_until_idle", fail)
    async with asyncio.timeout(IDLE_TIMEOUT_SECONDS):
        with pytest.raises(RuntimeError, match="broken"):
            await sync_tenants(harness.services, Console(file=io.StringIO()), None)


async def test_of_many_organisations_only_failures_and_totals_are_printed(dsn):
    async with open_harness(dsn, options={"organisations": 12, "invoices": 5, "limits_enabled": False}) as harness:
        tenant_ids = await harness.connect()
        await harness.select_tenants(*tenant_ids)
        await harness.add_fault("forbidden", tenant_id=tenant_ids[3], times=None)
        output = io.StringIO()
        assert await sync_tenants(harness.services, Console(file=output, width=200), None) == 1
    lines = [line for line in output.getvalue().splitlines() if "succeeded" in line or "no longer" in line]
    assert len(lines) == 5
    assert lines[-1].split()[:7] == ["12", "organisations", "all", "44", "of", "48", "succeeded"]
    [overall] = [line for line in output.getvalue().splitlines() if "12/12" in line]
    assert overall.split()[1] == "All"
