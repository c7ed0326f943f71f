"""Leaks: syncs, webhooks, reads and reconciliations must not add to a replica's memory and open files for ever.

Run shortened here; `make soak` runs it whole (SOAK_SYNCS says how many).
"""

import os
from pathlib import Path

import pytest

from tests.support.replica_processes import open_cluster
from tests.support.service import INTEGRATION

ROUNDS = int(os.environ.get("SOAK_SYNCS", "4"))
BOOKS = (
    *("--no-limits", "--organisations", "2", "--practices", "0"),
    *("--contacts", "30", "--invoices", "300", "--payments", "150", "--credit-notes", "15"),
)
EDITS = 25
READS = ("/api/invoices?limit=200", "/api/customers?limit=200", "/api/alerts?limit=200", INTEGRATION, "/metrics")
# What pools of memory and of connections may still grow by in the second half of the rounds.
MAX_GROWTH_MEGABYTES = 8
MAX_GROWTH_FILES = 12


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="The memory of a process is read from /proc.")
async def test_a_replica_that_syncs_grows_neither_in_memory_nor_in_open_files(dsn, tmp_path):
    async with open_cluster(dsn, tmp_path, xero=BOOKS) as cluster:
        replica = await cluster.start(timings=None)
        tenant_ids = await cluster.connect()
        await cluster.select_tenants(*tenant_ids)
        await cluster.run_until_idle()
        await cluster.postpone_ticks()
        await cluster.control("PUT", "/webhook", {"url": f"{cluster.public_url}/api/webhooks/xero"})
        usage = []
        for number in range(ROUNDS):
            await sync_and_read(cluster, tenant_ids[number % len(tenant_ids)])
            usage.append(memory_and_files(replica.process.pid))
        second_half = usage[len(usage) // 2 :]
        megabytes, files = zip(*second_half, strict=True)
        assert megabytes[-1] - megabytes[0] <= MAX_GROWTH_MEGABYTES
        assert files[-1] - files[0] <= MAX_GROWTH_FILES


async def sync_and_read(cluster, tenant_id):
    edit = {"edit": "bulk_edit", "resource": "Invoices", "count": EDITS, "webhook": True}
    await cluster.edit_books(tenant_id, **edit)
    assert (await cluster.sync())["status"] == "succeeded"
    await cluster.call("POST", f"{INTEGRATION}/reconcile")
    await cluster.run_until_idle()
    for path in READS:
        assert (await cluster.call("GET", path)).status_code == 200
    await cluster.control("DELETE", "/ledger")


def memory_and_files(pid):
    """Return the resident memory in megabytes, and how many files are open."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    resident = next(line for line in lines if line.startswith("VmRSS"))
    return int(resident.split()[1]) / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))
