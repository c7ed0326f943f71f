"""`vectis-xero sync`: what it draws, what it answers, and that it never waits for work that nobody does."""

import asyncio
import io

import pytest
from rich.console import Console

from app.cli.sync import follow_sync
from tests.support.service import IDLE_TIMEOUT_SECONDS


async def test_a_sync_by_command_ends_with_its_figures(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    drawn = io.StringIO()

    outcome = await follow_sync(harness.services, Console(file=drawn, width=200), None)

    assert outcome == 0
    assert [word in drawn.getvalue() for word in ("contacts", "invoices", "succeeded")] == [True] * 3


async def test_a_sync_by_command_says_when_something_did_not_come(harness):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])
    await harness.add_fault("organisation_offline", path="/api.xro/2.0/Payments")

    assert await follow_sync(harness.services, Console(file=io.StringIO(), width=200), None) == 1


async def test_a_sync_by_command_ends_when_its_worker_breaks(harness, monkeypatch):
    tenant_ids = await harness.connect()
    await harness.select_tenants(tenant_ids[0])

    async def break_down():
        raise RuntimeError("broken")

    monkeypatch.setattr(harness.engine.worker, "run_until_idle", break_down)
    async with asyncio.timeout(IDLE_TIMEOUT_SECONDS):
        with pytest.raises(RuntimeError, match="broken"):
            await follow_sync(harness.services, Console(file=io.StringIO()), None)
