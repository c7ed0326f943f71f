"""A fault at the token endpoint that passes must not cost a run, a webhook or a person's time."""

import pytest

from tests.support.clocks import shifted_clock
from tests.support.oracle import assert_mirror_equals
from tests.support.service import INTEGRATION, open_harness


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "server_error", "refused", "html"])
async def test_a_blip_at_the_token_endpoint_costs_no_run(dsn, kind):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        tenant_ids = await harness.connect_and_sync(organisations=2)
        for tenant_id in tenant_ids:
            await harness.edit_books(tenant_id, edit="bulk_edit", resource="Invoices", count=5)
        await clock.advance(3600)
        await harness.add_fault(kind, path="/connect/token", grant_type="refresh_token", times=3)
        run = await harness.sync()
        assert (run["status"], run["error"]) == ("succeeded", None)
        for tenant_id in tenant_ids:
            await assert_mirror_equals(harness, tenant_id)
        assert {tenant["health"] for tenant in (await harness.selected_tenants()).values()} == {"healthy"}


async def test_an_outage_of_the_token_endpoint_fails_the_run_and_the_next_one_brings_everything(dsn):
    async with shifted_clock(dsn) as clock, open_harness(dsn, clock=clock) as harness:
        [tenant_id] = await harness.connect_and_sync()
        await clock.advance(3600)
        await harness.add_fault("server_error", path="/connect/token", grant_type="refresh_token", times=None)
        assert (await harness.sync())["status"] == "failed"
        asked = [call for call in await harness.control("GET", "/ledger") if call["grant_type"] == "refresh_token"]
        assert len(asked) <= 7
        assert (await harness.read(INTEGRATION))["state"] == "connected"
        await harness.control("DELETE", "/faults")
        await clock.advance(60)
        assert (await harness.sync())["status"] == "succeeded"
        await assert_mirror_equals(harness, tenant_id)
