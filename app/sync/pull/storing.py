"""Storing pages: rows, cursor, cost, counts and progress of pages of one tenant in one transaction."""

from collections.abc import Sequence
from uuid import UUID

from app.billing.records import Batch, Counts
from app.billing.store import upsert
from app.connections import tenants
from app.db import Session
from app.sync import progress, run_work
from app.sync.client.page_size import record_page_limit
from app.sync.client.usage import add_traffic, record_traffic
from app.sync.leases import HeldLease
from app.sync.pull import quarantine
from app.sync.pull.pages import PageStep
from app.sync.pull.stored_cursors import save_cursors
from app.sync.run_work import StoredPage


class TenantDeselected(RuntimeError):
    """The tenant was deselected or disconnected; its cursor stays for when it is selected again."""

    def __init__(self) -> None:
        super().__init__("Deselected or disconnected before its end; picked again, it goes on from here.")


async def store_pages(session: Session, lease: HeldLease, run_id: UUID, steps: Sequence[PageStep]) -> None:
    """Write one page of each of some resources; the progress events come last, because they take a lock.

    Args:
        session: a transaction under the lease.
        lease: of the tenant.
        run_id: the run whose counts the pages are added to.
        steps: the pages, what documents refer to before the documents.

    Raises:
        TenantDeselected: the tenant is not synced any more.
    """
    vendor, tenant_id = lease.vendor, lease.tenant_id
    if not await tenants.is_synced(session, vendor, tenant_id):
        raise TenantDeselected
    stored = [await _store_rows(session, lease, step) for step in steps]
    await quarantine.quarantine_pages(session, lease, {each.resource: each.page for each in stored})
    await record_traffic(session, vendor, tenant_id, add_traffic(each.page.traffic for each in stored))
    rows_read = await save_cursors(session, lease, steps)
    for step in steps:
        if step.fetched.is_limited:
            request = step.fetched.request
            await record_page_limit(session, lease, request.resource, request.page_size)
    await run_work.add_page_counts(session, run_id, tenant_id, stored)
    events = [
        {
            "run_id": str(run_id),
            "tenant_id": tenant_id,
            "resource": each.resource.value,
            "rows": each.page.row_count,
            "rows_read": rows_read[each.resource],
            "row_estimate": each.page.total_rows if step.state.since is None else None,
            "is_complete": not step.next_state.is_active,
        }
        for step, each in zip(steps, stored, strict=True)
    ]
    await progress.publish(session, "page", *events)


async def _store_rows(session: Session, lease: HeldLease, step: PageStep) -> StoredPage:
    resource = step.fetched.request.resource
    page = await quarantine.reject_incomplete(session, lease, step.fetched.page)
    if page.batch == Batch():
        return StoredPage(resource, page, Counts())
    counts = await upsert(session, lease.vendor, lease.tenant_id, page.batch, page.read_at)
    # The contacts that a document brings along are not rows of this resource.
    return StoredPage(resource, page, counts.get(resource, Counts()))
