"""One replica at work for long: syncs, webhooks, reads and comparisons leave nothing behind in its memory.

Run shortened here; `make soak` runs it whole (SOAK_SYNCS says how many).
"""

import os
from pathlib import Path

import pytest

from tests.support.replica_processes import open_fleet
from tests.support.service import CARD

SYNCS = int(os.environ.get("SOAK_SYNCS", "6"))
BOOKS = (
    *("--no-limits", "--organisations", "4", "--practices", "0"),
    *("--contacts", "60", "--invoices", "600", "--payments", "300", "--credit-notes", "30"),
)
EDITS = 50
READS = ("/api/invoices?limit=200", "/api/customers?limit=200", "/api/alerts?limit=200", CARD, "/metrics")
# What the pools of memory and of connections may still grow by once all is warm.
MOST_MEGABYTES = 8
MOST_FILES = 12


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="What a process holds is read from /proc.")
async def test_a_replica_at_work_grows_neither_in_memory_nor_in_open_files(dsn, tmp_path):
    async with open_fleet(dsn, tmp_path, xero=BOOKS) as fleet:
        replica = await fleet.start(timings=None)
        tenant_ids = await fleet.connect()
        await fleet.pick(*tenant_ids)
        await fleet.work()
        await fleet.put_ticks_off()
        await fleet.control("PUT", "/webhook", {"url": f"{fleet.home}/api/webhooks/xero"})
        held = []
        for number in range(SYNCS):
            await one_round(fleet, tenant_ids[number % len(tenant_ids)])
            held.append(held_by(replica.process.pid))
        warm = held[len(held) // 2 :]
        megabytes, files = zip(*warm, strict=True)
        assert megabytes[-1] - megabytes[0] <= MOST_MEGABYTES
        assert files[-1] - files[0] <= MOST_FILES


async def one_round(fleet, tenant_id):
    edit = {"edit": "bulk_edit", "resource": "Invoices", "count": EDITS, "webhook": True}
    await fleet.edit(tenant_id, **edit)
    assert (await fleet.sync())["status"] == "succeeded"
    await fleet.call("POST", f"{CARD}/reconcile")
    await fleet.work()
    for path in READS:
        assert (await fleet.call("GET", path)).status_code == 200
    await fleet.control("DELETE", "/ledger")


def held_by(pid):
    """Return the resident memory in megabytes, and how many files are open."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    resident = next(line for line in lines if line.startswith("VmRSS"))
    return int(resident.split()[1]) / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))
