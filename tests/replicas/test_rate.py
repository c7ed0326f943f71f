"""The rate limiter of two replicas at full speed on a clock that skips the waits, checked against Xero's call log.

Run shortened here; `make soak` runs ten minutes of twenty organisations (SOAK_MINUTES, SOAK_ORGANISATIONS).
"""

import os
from collections import defaultdict
from datetime import datetime, timedelta

from tests.support.replica_processes import open_cluster
from tests.support.shared_clock import SharedClockController

MINUTES = int(os.environ.get("SOAK_MINUTES", "2"))
ORGANISATIONS = int(os.environ.get("SOAK_ORGANISATIONS", "2"))
PER_MINUTE = 30
# Twice the rows that can be read in the time, so that there is always something to ask for.
PAGE_SIZE = 5
ROWS = PAGE_SIZE * PER_MINUTE * MINUTES // 2
BOOKS = (
    *("--organisations", str(ORGANISATIONS), "--practices", "0", "--latency-ms", "10"),
    *("--contacts", str(ROWS), "--invoices", str(ROWS), "--payments", str(ROWS // 2), "--credit-notes", str(ROWS // 2)),
)
# With so many organisations neither replica can take all of them before the other takes one.
MANY = 20
# The shared clock moves faster or slower than real time; leases so long are lost in neither.
LONG_LEASES = ("60", "10")


async def test_no_limit_is_passed_and_nine_tenths_of_the_allowed_rate_are_used(dsn, tmp_path):
    clock_file = tmp_path / "clock"
    settings = {
        "TEST_CLOCK": str(clock_file),
        "XERO_PAGE_SIZE": str(PAGE_SIZE),
        "XERO_REQUESTS_PER_MINUTE": str(PER_MINUTE),
        "XERO_APP_REQUESTS_PER_MINUTE": "9000",
    }
    async with (
        open_cluster(dsn, tmp_path, xero=BOOKS, **settings) as cluster,
        SharedClockController.open(cluster, dsn, clock_file) as clock,
    ):
        both = [await cluster.start(LONG_LEASES), await cluster.start(LONG_LEASES)]
        tenant_ids = await cluster.connect()
        await cluster.record_owners()
        half = len(tenant_ids) // 2
        cluster.target = both[0]
        await cluster.select_tenants(*tenant_ids[:half])
        cluster.target = both[1]
        await cluster.select_tenants(*tenant_ids)

        await clock.advance(60 * MINUTES)

        stats = await cluster.control("GET", "/stats")
        assert stats["violations"] == 0
        assert stats["most_in_60_seconds_all_tenants"] <= 9000
        assert stats["tenants"].keys() == set(tenant_ids)
        for tenant in stats["tenants"].values():
            assert tenant["most_in_60_seconds"] <= PER_MINUTE
            assert tenant["most_in_flight"] <= 4
        # Of a few organisations one replica may have taken every one.
        assert len(await cluster.recorded_owners()) == 2 or ORGANISATIONS < MANY
        assert not await cluster.is_idle(), "the work ended before the time did"
        for instants in (await calls_by_organisation(cluster)).values():
            in_time = [at for at in instants if at < instants[0] + timedelta(minutes=MINUTES)]
            assert len(in_time) >= 0.9 * PER_MINUTE * MINUTES


async def calls_by_organisation(cluster):
    calls = defaultdict(list)
    for call in await cluster.xero_calls():
        calls[call["tenant_id"]].append(datetime.fromisoformat(call["at"]))
    return calls
