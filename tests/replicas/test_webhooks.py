"""Replicas that are killed amid webhook deliveries lose no event that was acknowledged and apply none twice.

Run shortened here; `make soak` runs the whole loop (SOAK_WEBHOOK_KILLS says how many kills).
"""

import asyncio
import itertools
import os
from datetime import UTC, datetime

import httpx

from tests.support.oracle import assert_mirror_equals
from tests.support.replica_processes import ONE_ORGANISATION, open_cluster
from tests.support.waiting import wait_until
from tests.support.webhooks import HOOK, delivery, sign

KILLS = int(os.environ.get("SOAK_WEBHOOK_KILLS", "1"))
# Of each kill, and how many of them are acknowledged before it.
CHANGES, ACKNOWLEDGED = 40, 10
AT_ONCE = 8
BOOKS = (
    *ONE_ORGANISATION,
    *("--contacts", "10", "--invoices", "120", "--payments", "0", "--credit-notes", "0"),
)
RECORD_UPDATES = (
    "CREATE TABLE recorded_updates (external_id text NOT NULL)",
    """
    CREATE FUNCTION record_update() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO recorded_updates VALUES (NEW.external_id);
      RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER record_update AFTER UPDATE ON billing_invoices FOR EACH ROW EXECUTE FUNCTION record_update()",
)


class Deliveries:
    """Delivers changes as Xero does: each until it is acknowledged, to whichever replica answers, some of them twice.

    Attributes:
        acknowledged: the ids of the invoices whose deliveries were.
    """

    def __init__(self, cluster, tenant_id):
        self.acknowledged = []
        self._cluster = cluster
        self._tenant_id = tenant_id
        self._turns = itertools.count()
        self._awaited = 0
        self._are_enough = asyncio.Event()
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._client = httpx.AsyncClient(timeout=30)

    async def deliver(self, invoice_id, times):
        now = datetime.now(UTC).isoformat()[:23]
        body = delivery(self._tenant_id, resourceId=invoice_id, eventType="UPDATE", eventDateUtc=now)
        for _ in range(times):
            async with self._limit:
                await self._send_until_acknowledged(body)
            self.acknowledged.append(invoice_id)
            if len(self.acknowledged) >= self._awaited:
                self._are_enough.set()

    async def wait_for_acknowledged(self, more):
        """Return at the instant at which so many more are acknowledged, while others are on their way."""
        self._awaited = len(self.acknowledged) + more
        self._are_enough.clear()
        await self._are_enough.wait()

    async def _send_until_acknowledged(self, body):
        headers = {"x-xero-signature": sign(body), "content-type": "application/json"}
        while True:
            answering = [replica for replica in self._cluster.replicas if replica.is_answering]
            replica = answering[next(self._turns) % len(answering)]
            try:
                answer = await self._client.post(f"{replica.url}{HOOK}", content=body, headers=headers)
            except httpx.TransportError:
                continue
            if answer.status_code == 200:
                return
            assert answer.status_code == 503, answer.text

    async def aclose(self):
        await self._client.aclose()


async def test_replicas_killed_amid_deliveries_lose_no_acknowledged_event_and_apply_none_twice(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=BOOKS) as cluster:
        replicas = [await cluster.start(), await cluster.start()]
        tenant_id = await cluster.start_first_sync()
        await cluster.postpone_ticks()
        for statement in RECORD_UPDATES:
            await cluster.execute(statement)
        deliveries = Deliveries(cluster, tenant_id)
        rows = await cluster.query("SELECT external_id FROM billing_invoices ORDER BY external_id")
        invoice_ids = [row["external_id"] for row in rows]
        changed = set()
        for number in range(KILLS):
            ids = [invoice_ids[(number * CHANGES + index) % len(invoice_ids)] for index in range(CHANGES)]
            edits = [{"edit": "change_reference", "id": each, "reference": f"change {number}"} for each in ids]
            await cluster.control("POST", f"/tenants/{tenant_id}/edits", {"edits": edits})
            await kill_amid(cluster, replicas, number % 2, deliveries, ids)
            changed |= {(number, each) for each in ids}
        await deliveries.aclose()
        await wait_until(lambda: is_drained(cluster), "every event is processed")

        events = await cluster.query("SELECT resource_id, status FROM xero_webhook_events")
        assert sorted(event["resource_id"] for event in events) == sorted(each for _, each in changed)
        assert {event["resource_id"] for event in events} == set(deliveries.acknowledged)
        assert {event["status"] for event in events} == {"processed"}
        updates = await cluster.query("SELECT external_id FROM recorded_updates")
        assert sorted(row["external_id"] for row in updates) == sorted(each for _, each in changed)
        await assert_mirror_equals(cluster, tenant_id)


async def kill_amid(cluster, replicas, victim, deliveries, invoice_ids):
    """Deliver these changes, kill a replica once some are acknowledged, and start another in its place."""
    tasks = [asyncio.create_task(deliveries.deliver(each, 1 + n % 2)) for n, each in enumerate(invoice_ids)]
    await deliveries.wait_for_acknowledged(ACKNOWLEDGED)
    replicas[victim].kill()
    replicas[victim] = await cluster.start()
    await asyncio.gather(*tasks)


async def is_drained(cluster):
    return not await cluster.query("SELECT 1 FROM xero_webhook_events WHERE status <> 'processed' LIMIT 1")
