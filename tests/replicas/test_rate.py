"""Two replicas at full speed on a clock that skips what would be waited for, held against Xero's own ledger.

Run shortened here; `make soak` runs ten minutes of twenty organisations (SOAK_MINUTES, SOAK_ORGANISATIONS).
"""

import os
from collections import defaultdict
from datetime import datetime, timedelta

from tests.support.replica_processes import open_fleet
from tests.support.shared_clock import Timekeeper

MINUTES = int(os.environ.get("SOAK_MINUTES", "2"))
ORGANISATIONS = int(os.environ.get("SOAK_ORGANISATIONS", "3"))
PER_MINUTE = 30
# Twice what the time allows, so that there is always something to ask for.
PAGE = 5
ROWS = PAGE * PER_MINUTE * MINUTES // 2
BOOKS = (
    *("--organisations", str(ORGANISATIONS), "--practices", "0", "--latency-ms", "10"),
    *("--contacts", str(ROWS), "--invoices", str(ROWS), "--payments", str(ROWS // 2), "--credit-notes", str(ROWS // 2)),
)
MANY = 20
CALM = ("60", "10")


async def test_no_limit_is_passed_and_nine_tenths_of_the_allowed_rate_are_used(dsn, tmp_path):
    time_file = tmp_path / "clock"
    settings = {
        "TEST_CLOCK": str(time_file),
        "XERO_PAGE_SIZE": str(PAGE),
        "XERO_REQUESTS_PER_MINUTE": str(PER_MINUTE),
        "XERO_APP_REQUESTS_PER_MINUTE": "9000",
    }
    async with (
        open_fleet(dsn, tmp_path, xero=BOOKS, **settings) as fleet,
        Timekeeper.employ(fleet, dsn, time_file) as timekeeper,
    ):
        both = [await fleet.start(CALM), await fleet.start(CALM)]
        tenant_ids = await fleet.connect()
        await fleet.remember_owners()
        half = len(tenant_ids) // 2
        fleet.front = both[0]
        await fleet.pick(*tenant_ids[:half])
        fleet.front = both[1]
        await fleet.pick(*tenant_ids)

        await timekeeper.pass_time(60 * MINUTES)

        stats = await fleet.control("GET", "/stats")
        assert stats["violations"] == 0
        assert stats["most_in_60_seconds_all_tenants"] <= 9000
        assert stats["tenants"].keys() == set(tenant_ids)
        for one in stats["tenants"].values():
            assert one["most_in_60_seconds"] <= PER_MINUTE
            assert one["most_in_flight"] <= 4
        # Of a few organisations the quicker replica may have taken every one.
        assert len(await fleet.owners()) == 2 or ORGANISATIONS < MANY
        assert not await fleet.is_idle(), "there was to be work for the whole time"
        for instants in (await calls_by_organisation(fleet)).values():
            within = [at for at in instants if at < instants[0] + timedelta(minutes=MINUTES)]
            assert len(within) >= 0.9 * PER_MINUTE * MINUTES


async def calls_by_organisation(fleet):
    calls = defaultdict(list)
    for call in await fleet.ledger():
        calls[call["tenant_id"]].append(datetime.fromisoformat(call["at"]))
    return calls
