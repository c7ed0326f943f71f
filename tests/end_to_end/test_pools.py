"""Requests and the sync have connections of their own: neither waits for the other's."""

from contextlib import AsyncExitStack

from tests.support.oracle import assert_mirror_equals


async def use_up(stack, database):
    """Use every connection that a pool may open."""
    for _ in range(database.count_connections().limit):
        session = await stack.enter_async_context(database.transaction())
        await session.connection()


async def test_a_sync_succeeds_while_requests_use_all_of_theirs(harness):
    [tenant_id, *_] = await harness.connect()
    await harness.select_tenants(tenant_id)
    async with AsyncExitStack() as stack:
        await use_up(stack, harness.services.db)
        await harness.run_until_idle()
    await assert_mirror_equals(harness, tenant_id)


async def test_requests_are_answered_while_the_sync_uses_all_of_its_own(harness):
    async with AsyncExitStack() as stack:
        await use_up(stack, harness.services.sync_db)
        assert (await harness.call("GET", "/api/customers")).status_code == 200
