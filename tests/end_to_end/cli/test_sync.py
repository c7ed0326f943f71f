"""`vectis-xero sync`: what it draws, what it answers, and that it never waits for work that nobody does."""

import asyncio
import io

import pytest
from rich.console import Console

from app.cli.sync import sync_tenants


async def test_a_sync_by_command_ends_with_its_figures(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])
    drawn = io.StringIO()

    outcome = await sync_tenants(world.services, Console(file=drawn, width=200), None)

    assert outcome == 0
    assert [word in drawn.getvalue() for word in ("contacts", "invoices", "succeeded")] == [True] * 3


async def test_a_sync_by_command_says_when_something_did_not_come(world):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])
    await world.fault("organisation_offline", path="/api.xro/2.0/Payments")

    assert await sync_tenants(world.services, Console(file=io.StringIO(), width=200), None) == 1


async def test_a_sync_by_command_ends_when_its_worker_breaks(world, monkeypatch):
    tenant_ids = await world.connect()
    await world.pick(tenant_ids[0])

    async def break_down():
        raise RuntimeError("broken")

    monkeypatch.setattr(world.engine.worker, "run_until_idle", break_down)
    async with asyncio.timeout(10):
        with pytest.raises(RuntimeError, match="broken"):
            await sync_tenants(world.services, Console(file=io.StringIO()), None)
