"""The service behind a transaction pooler: its first request, a first sync, a webhook and many readers at once."""

import asyncio

from app.database_url import Pooler
from tests.support.loop_time import stopped_loop_time
from tests.support.oracle import assert_mirror_equals
from tests.support.service import open_harness
from tests.support.webhooks import HOOK, delivery, sign

READS = ("/api/invoices", "/api/customers", "/api/payments", "/api/alerts", "/api/integrations/xero")
READERS = 100


async def test_a_first_sync_equals_the_books_and_a_hundred_readers_at_once_are_answered(pooled_dsn):
    async with open_harness(pooled_dsn, database_pooler=Pooler.TRANSACTION) as harness:
        assert (await harness.client.get("/health/ready")).status_code == 200
        [tenant_id, *_] = await harness.connect()
        await harness.select_tenants(tenant_id)
        await harness.run_until_idle()
        await assert_mirror_equals(harness, tenant_id)

        # On a slow machine some of them wait for longer than a connection is waited for.
        with stopped_loop_time():
            answers = await asyncio.gather(*(harness.call("GET", READS[n % len(READS)]) for n in range(READERS)))
        assert [answer.status_code for answer in answers] == [200] * READERS

        body = delivery(tenant_id)
        headers = {"x-xero-signature": sign(body), "content-type": "application/json"}
        assert (await harness.client.post(HOOK, content=body, headers=headers)).json() == {"stored": 1}
