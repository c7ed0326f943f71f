"""The reconciliation: reads an organisation's books whole, proves the mirror equal to them or heals it, and says so.

It finds what no pull can: changes that do not move the vendor's stamp (due dates of part-paid invoices, removed
allocations), rows lost or altered here by whatever means, and rows the vendor does not have. It costs the calls of a
first sync, which is the cheapest full comparison that Xero's lists allow: they know no form with ids and stamps alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from app.billing.mirror import absence
from app.billing.mirror.absence import ResourceScope
from app.billing.records import Counts
from app.billing.store import upsert
from app.connector import NotFound, PageRequest
from app.db import Session
from app.paging import NewestFirst, PagePosition
from app.sync import progress, runs
from app.sync.client.tenant_client import Fetched, TenantClient
from app.sync.client.usage import record_traffic
from app.sync.leases import FencedDatabase
from app.sync.pull import quarantine
from app.sync.pull.cursor import CursorState, advance, begin
from app.sync.pull.incremental import PullRequest
from app.sync.tables import Cursor, Reconciliation, Run

# Absent rows are looked up one by one where the vendor knows no other way; more than this are reported and left.
MOST_LOOKUPS = 50
FINDING_ORDER = NewestFirst(Reconciliation.finished_at, Reconciliation.id)


@dataclass
class Findings:
    """What one comparison found so far; `present` are the ids the vendor delivered."""

    checked: int = 0
    missing: int = 0
    stale: int = 0
    orphaned: int = 0
    healed: int = 0
    present: set[str] = field(default_factory=set)


async def reconcile(desk: FencedDatabase, caller: TenantClient, job: PullRequest, ids_per_read: int) -> None:
    """Compare one resource whole and heal it; a crash begins it anew, since nothing of it is half done.

    Raises:
        LeaseLost, Paused, ConnectorError: why it stopped before the end; what was healed stays healed.
    """
    found = Findings()
    async with desk.transaction() as session:
        began_at = (await session.scalars(select(func.wall_clock()))).one()
        is_filtered = await _is_filtered(session, job)
    walk = begin(CursorState())
    while walk.is_walking:
        request = PageRequest(job.resource, walk.since, walk.page, job.page_size, is_filtered=is_filtered)
        fetched = await caller.fetch(request)
        is_filtered = fetched.request.is_filtered
        async with desk.write_transaction() as session:
            await _heal_page(session, job, fetched, found)
        walk = advance(walk, fetched.page, timedelta(0))
    await _heal_absent(desk, caller, job, found, began_at, ids_per_read)
    async with desk.transaction() as session:
        await quarantine.drop_unseen(session, job.held, job.resource, began_at)
        await _record_run(session, job, found)


async def open_nightly(session: Session, vendor: str, every: timedelta, tenant_ids: Sequence[str]) -> UUID | None:
    """Open the reconciliation that is due, once for all replicas; the first comes one interval after the first look."""
    schedule = await runs.lock_schedule(session, f"reconcile:{vendor}", every)
    now = (await session.scalars(select(func.wall_clock()))).one()
    if schedule.due_at > now or not tenant_ids:
        return None
    schedule.last_at, schedule.due_at = now, now + every
    return await runs.open_run(session, runs.RunRequest(vendor, "reconcile", tenant_ids))


async def list_findings(
    session: Session, vendor: str, after: PagePosition | None, limit: int
) -> Sequence[Reconciliation]:
    """Return the findings of reconciliations after a position, newest first."""
    statement = select(Reconciliation).join(Run, Run.id == Reconciliation.run_id).where(Run.vendor == vendor)
    return (await session.scalars(FINDING_ORDER.page_after(statement, after, limit))).all()


async def _is_filtered(session: Session, job: PullRequest) -> bool:
    """Say whether the vendor filters for us; an organisation that refused to once would refuse again."""
    held = job.held
    here = (Cursor.vendor == held.vendor, Cursor.tenant_id == held.tenant_id, Cursor.resource == job.resource.value)
    known = await session.scalar(select(Cursor.is_filtered).where(*here))
    return True if known is None else known


async def _heal_page(session: Session, job: PullRequest, fetched: Fetched, found: Findings) -> None:
    page, held = fetched.page, job.held
    stamps = {key.external_id: key.changed_at for key in page.keys}
    await absence.clear_implausible_stamps(session, _scope_of(job), stamps, page.read_at)
    counted = await upsert(session, held.vendor, held.tenant_id, page.batch, page.read_at)
    counts = counted.get(job.resource, Counts())
    await quarantine.quarantine_rejected(session, held, job.resource, page)
    await record_traffic(session, held.vendor, held.tenant_id, page.traffic)
    await runs.add_page_counts(session, job.run_id, held.tenant_id, job.resource, page, counts)
    first_seen = stamps.keys() - found.present
    found.present |= stamps.keys()
    found.checked += len(first_seen)
    found.missing += counts.created
    found.stale += counts.updated
    found.healed += counts.created + counts.updated
    step = {"run_id": str(job.run_id), "tenant_id": held.tenant_id, "resource": job.resource.value}
    figures = {"rows": page.row_count, "rows_read": found.checked, "row_estimate": page.total_rows}
    await progress.publish(session, "page", {**step, **figures, "is_complete": page.is_last})


async def _heal_absent(  # noqa: PLR0913, PLR0917 - what a lookup needs
    desk: FencedDatabase, caller: TenantClient, job: PullRequest, found: Findings, began_at: datetime, ids_per_read: int
) -> None:
    """Ask by name for rows the walk did not bring, and mark those the vendor does not know."""
    async with desk.transaction() as session:
        absent = await absence.find_missing_upstream(session, _scope_of(job), found.present, began_at)
    found.orphaned = len(absent)
    most = MOST_LOOKUPS * ids_per_read
    for start in range(0, min(len(absent), most), ids_per_read):
        asked = absent[start : start + ids_per_read]
        gone = set(asked) - await _known(desk, caller, job, asked)
        async with desk.write_transaction() as session:
            found.healed += await absence.mark_deleted(session, _scope_of(job), gone)


async def _known(desk: FencedDatabase, caller: TenantClient, job: PullRequest, asked: Sequence[str]) -> set[str]:
    try:
        page = (await caller.fetch(PageRequest(job.resource, ids=tuple(asked)))).page
    except NotFound:
        return set()
    async with desk.write_transaction() as session:
        await upsert(session, job.held.vendor, job.held.tenant_id, page.batch, page.read_at)
        await record_traffic(session, job.held.vendor, job.held.tenant_id, page.traffic)
    return {record.external_id for record in page.batch.records_of(job.resource)}


def _scope_of(job: PullRequest) -> ResourceScope:
    return ResourceScope(job.held.vendor, job.held.tenant_id, job.resource)


async def _record_run(session: Session, job: PullRequest, found: Findings) -> None:
    session.add(
        Reconciliation(
            run_id=job.run_id,
            tenant_id=job.held.tenant_id,
            resource=job.resource.value,
            checked=found.checked,
            missing=found.missing,
            stale=found.stale,
            orphaned=found.orphaned,
            healed=found.healed,
        )
    )
    await session.flush()
