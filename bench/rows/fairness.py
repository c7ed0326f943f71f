"""Seconds of the first syncs of thirty small organisations while a very large one is synced, beside without it."""

import time

from bench.context import Bench, tell
from bench.environment import Service, serve
from bench.pretend_xero import PretendXero, run_pretend_xero
from bench.result import Comparison, Samples

NAME = "fairness"
SMALL_ROWS = {"contacts": 10, "invoices": 25, "payments": 12, "credit_notes": 3}
SMALL_COUNT = 30
LARGE_INVOICES = 200_000
INVOICES_PER_EDIT = 20_000
ARE_COMPLETE = "SELECT bool_and(data_as_of IS NOT NULL) FROM tenants WHERE tenant_id = ANY(:ids)"
IS_READING = "SELECT EXISTS (SELECT FROM sync_cursors WHERE tenant_id = :tenant AND rows_read > 5000)"


async def measure(bench: Bench) -> list[Comparison]:
    """Sync the first thirty alone, then the other thirty while the large organisation is being read."""
    with run_pretend_xero({"organisations": 1 + 2 * SMALL_COUNT, **SMALL_ROWS}, is_cached=False) as xero:
        async with bench.postgres.database() as dsn, serve(dsn, xero.url) as service:
            large, *small = await service.connect()
            tell(f"adding {LARGE_INVOICES:,} invoices to the large organisation")
            await _add_invoices(xero, large)
            alone = await _sync(service, [], small[:SMALL_COUNT])
            await service.select([*small[:SMALL_COUNT], large])
            await service.wait_until(IS_READING, tenant=large)
            beside = await _sync(service, [*small[:SMALL_COUNT], large], small[SMALL_COUNT:])
            if await service.query_value(ARE_COMPLETE, ids=[large]):
                raise RuntimeError("The large organisation was complete first, so nothing was measured.")
    return [
        Comparison(
            row=NAME,
            what=f"{SMALL_COUNT} small first syncs beside {LARGE_INVOICES:,} invoices",
            ours=Samples.of([beside], "s"),
            beside="without them",
            theirs=Samples.of([alone], "s"),
        )
    ]


async def _add_invoices(xero: PretendXero, tenant_id: str) -> None:
    for _ in range(LARGE_INVOICES // INVOICES_PER_EDIT):
        edit = {"edit": "bulk_insert", "resource": "Invoices", "count": INVOICES_PER_EDIT}
        await xero.control("POST", f"/tenants/{tenant_id}/edits", edit)


async def _sync(service: Service, selected: list[str], added: list[str]) -> float:
    """Return the seconds from the selection of more organisations until all of these are complete."""
    started = time.perf_counter()
    await service.select([*selected, *added])
    await service.wait_until(ARE_COMPLETE, ids=added)
    return time.perf_counter() - started
