"""Two replicas behind PgBouncer in transaction mode: a kill loses no row, and both share the app's limit.

`make soak` runs every test of this folder behind PgBouncer too (TEST_POOLER).
"""

import signal
from datetime import datetime, timedelta

from tests.support.oracle import assert_mirror_equals
from tests.support.replica_processes import ONE_ORGANISATION, open_cluster
from tests.support.waiting import wait_until

THREE_THOUSAND = (
    *ONE_ORGANISATION,
    *("--contacts", "200", "--invoices", "2000", "--payments", "700", "--credit-notes", "100"),
)
TWO_ORGANISATIONS = ("--no-limits", "--organisations", "2", "--practices", "0", "--latency-ms", "20")
# Of all organisations together, which the rate limiter spreads evenly: ten calls a second.
APP_CALLS_PER_MINUTE = 600
CALLS = 40
LONG_LEASES = ("60", "10")


async def test_a_killed_replica_s_organisation_is_taken_over_and_no_row_is_lost(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=THREE_THOUSAND, is_pooled=True, XERO_PAGE_SIZE="100") as cluster:
        owner = await cluster.start()
        tenant_id = await cluster.start_first_sync()
        former, _ = await cluster.lease_holder()
        other = cluster.launch()
        owner.kill()
        await other.wait_until_ready()
        await cluster.wait_for_takeover(former)
        await cluster.run_until_idle()
        await assert_mirror_equals(cluster, tenant_id)


async def test_two_replicas_together_stay_within_the_app_s_limit(dsn, tmp_path):
    limit = {"XERO_APP_REQUESTS_PER_MINUTE": str(APP_CALLS_PER_MINUTE), "XERO_PAGE_SIZE": "2"}
    async with open_cluster(dsn, tmp_path, xero=TWO_ORGANISATIONS, is_pooled=True, **limit) as cluster:
        first = await cluster.start(LONG_LEASES)
        tenant_ids = await cluster.connect()
        await cluster.record_owners()
        await cluster.select_tenants(*tenant_ids[:1])
        await wait_until(lambda: has_owners(cluster, 1), "a replica reads the first organisation")
        # While it is stopped, only the other can take the second one.
        cluster.target = await cluster.start(LONG_LEASES)
        await cluster.stop_between_transactions(first)
        await cluster.select_tenants(*tenant_ids)
        await wait_until(lambda: has_owners(cluster, 2), "the other replica reads the second one")
        first.signal(signal.SIGCONT)
        await cluster.control("DELETE", "/ledger")

        async def are_made():
            return len(await cluster.xero_calls()) >= CALLS

        await wait_until(are_made, "both replicas have made calls")
        instants = sorted(datetime.fromisoformat(call["at"]) for call in await cluster.xero_calls())
        # The first call may arrive late and the last early by what a call travels.
        assert instants[-1] - instants[0] > 0.9 * (len(instants) - 1) * timedelta(minutes=1) / APP_CALLS_PER_MINUTE


async def has_owners(cluster, number):
    return len(await cluster.recorded_owners()) == number
