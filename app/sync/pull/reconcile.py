"""The reconciliation: reads one resource of a tenant whole, proves the mirror equal to it or heals it, and reports.

It finds what no pull can: changes that do not move the vendor's time stamp (due dates of part-paid invoices, removed
allocations), rows lost or altered here by whatever means, and rows the vendor no longer has. It costs the calls of a
first sync, which is the cheapest full comparison that Xero's lists allow: none returns ids and time stamps alone.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import func, select

from app.billing.mirror import absence
from app.billing.mirror.absence import ResourceScope
from app.billing.records import Counts, believe_stamp
from app.billing.store import upsert
from app.connector import NotFound, PageRequest
from app.db import Session
from app.paging import NewestFirst, PagePosition
from app.sync import progress, run_work, runs
from app.sync.client.page_size import read_page_size, record_page_limit
from app.sync.client.tenant_client import Fetched, TenantClient
from app.sync.client.usage import record_traffic
from app.sync.leases import FencedDatabase
from app.sync.pull import quarantine
from app.sync.pull.cursor import CursorState, begin
from app.sync.pull.incremental import PullJob
from app.sync.pull.pages import read_pages
from app.sync.pull.stored_cursors import record_missing_rows
from app.sync.run_work import StoredPage
from app.sync.tables import Cursor, Reconciliation, Run, RunTrigger

# Missing rows are looked up by id, and where the vendor takes one id per read, one by one; this many reads at most.
MAX_LOOKUPS = 50
REPORT_ORDER = NewestFirst(Reconciliation.finished_at, Reconciliation.id)


@dataclass
class Findings:
    """What a comparison has found so far; `present` holds the ids the vendor delivered."""

    checked: int = 0
    missing: int = 0
    stale: int = 0
    orphaned: int = 0
    healed: int = 0
    present: set[str] = field(default_factory=set)


class Reconciler:
    """One reconciliation of one resource.

    Args:
        db: the tenant's database, under its lease.
        client: reads the vendor's pages.
        job: what to read.
        ids_per_read: how many ids one request to the vendor may name.
    """

    def __init__(self, db: FencedDatabase, client: TenantClient, job: PullJob, ids_per_read: int) -> None:
        self._db = db
        self._client = client
        self._job = job
        self._ids_per_read = ids_per_read
        self._vendor, self._tenant_id = db.lease.vendor, db.lease.tenant_id
        self._scope = ResourceScope(self._vendor, self._tenant_id, job.resource)
        self._findings = Findings()

    async def run(self) -> int:
        """Compare the resource whole and heal it. A crash starts it anew; what was healed until then stays healed.

        Returns:
            How many rows the vendor counts and did not deliver.

        Raises:
            LeaseLost, Paused, ConnectorError: why it ended early.
        """
        async with self._db.transaction() as session:
            started_at = (await session.scalars(select(func.wall_clock()))).one()
            request = await self._first_request(session)
        state = await self._read_pages(request)
        await self._heal_missing(started_at)
        async with self._db.transaction() as session:
            await quarantine.delete_unseen(session, self._db.lease, self._job.resource, started_at)
            await record_missing_rows(session, self._db.lease, self._job.resource, state.missing_rows)
            await self._save_report(session)
        return state.missing_rows

    async def _read_pages(self, request: PageRequest) -> CursorState:
        """Read the list to its end and heal every page; return the state at the end."""
        state = begin(CursorState())
        async with aclosing(read_pages(self._client, state, request)) as steps:
            async for step in steps:
                async with self._db.write_transaction() as session:
                    await self._heal_page(session, step.fetched)
                state = step.next_state
        return state

    async def _first_request(self, session: Session) -> PageRequest:
        resource = self._job.resource
        page_size = await read_page_size(session, self._db.lease, resource, self._job.page_size)
        return PageRequest(resource, page_size=page_size, is_filtered=await self._accepts_filter(session))

    async def _accepts_filter(self, session: Session) -> bool:
        """Say whether the vendor filters this resource for us; a tenant that refused once would refuse again."""
        is_row = Cursor.is_of(self._vendor, self._tenant_id, self._job.resource)
        known = await session.scalar(select(Cursor.is_filtered).where(is_row))
        return True if known is None else known

    async def _heal_page(self, session: Session, fetched: Fetched) -> None:
        """Write a page as the vendor has it now and count what differed."""
        job, found = self._job, self._findings
        page = await quarantine.reject_incomplete(session, self._db.lease, fetched.page)
        stamps = {key.external_id: believe_stamp(key.changed_at, page.read_at) for key in page.keys}
        await absence.clear_implausible_stamps(session, self._scope, stamps, page.read_at)
        counted = await upsert(session, self._vendor, self._tenant_id, page.batch, page.read_at)
        counts = counted.get(job.resource, Counts())
        await quarantine.quarantine_rejected(session, self._db.lease, job.resource, page)
        await record_traffic(session, self._vendor, self._tenant_id, page.traffic)
        await run_work.add_page_counts(session, job.run_id, self._tenant_id, [StoredPage(job.resource, page, counts)])
        if fetched.is_limited:
            await record_page_limit(session, self._db.lease, job.resource, fetched.request.page_size)
        found.checked += len(stamps.keys() - found.present)
        found.present |= stamps.keys()
        found.missing += counts.created
        found.stale += counts.updated
        found.healed += counts.created + counts.updated
        step = {"run_id": str(job.run_id), "tenant_id": self._tenant_id, "resource": job.resource.value}
        figures = {"rows": page.row_count, "rows_read": found.checked, "row_estimate": page.total_rows}
        await progress.publish(session, "page", {**step, **figures, "is_complete": page.is_last})

    async def _heal_missing(self, started_at: datetime) -> None:
        """Ask by id for rows the vendor did not deliver, and mark those it does not know as deleted."""
        async with self._db.transaction() as session:
            missing = await absence.find_missing_upstream(session, self._scope, self._findings.present, started_at)
        self._findings.orphaned = len(missing)
        for start in range(0, min(len(missing), MAX_LOOKUPS * self._ids_per_read), self._ids_per_read):
            asked = missing[start : start + self._ids_per_read]
            deleted = set(asked) - await self._fetch_known(asked)
            async with self._db.write_transaction() as session:
                self._findings.healed += await absence.mark_deleted(session, self._scope, deleted)

    async def _fetch_known(self, ids: Sequence[str]) -> set[str]:
        """Read these rows by id and store them; return the ids of those the vendor still has."""
        try:
            page = (await self._client.fetch(PageRequest(self._job.resource, ids=tuple(ids)))).page
        except NotFound:
            return set()
        async with self._db.write_transaction() as session:
            complete = await quarantine.reject_incomplete(session, self._db.lease, page)
            await upsert(session, self._vendor, self._tenant_id, complete.batch, page.read_at)
            await record_traffic(session, self._vendor, self._tenant_id, page.traffic)
        return {record.external_id for record in page.batch.records_of(self._job.resource)}

    async def _save_report(self, session: Session) -> None:
        found = self._findings
        session.add(
            Reconciliation(
                run_id=self._job.run_id,
                tenant_id=self._tenant_id,
                resource=self._job.resource.value,
                checked=found.checked,
                missing=found.missing,
                stale=found.stale,
                orphaned=found.orphaned,
                healed=found.healed,
            )
        )
        await session.flush()


async def open_nightly(session: Session, vendor: str, every: timedelta, tenant_ids: Sequence[str]) -> UUID | None:
    """Open the reconciliation that is due, once for all replicas; the first comes one interval after the first call."""
    schedule = await runs.lock_schedule(session, f"reconcile:{vendor}", every)
    now = (await session.scalars(select(func.wall_clock()))).one()
    if schedule.due_at > now or not tenant_ids:
        return None
    schedule.last_at, schedule.due_at = now, now + every
    return await runs.open_run(session, runs.RunRequest(vendor, RunTrigger.RECONCILE, tenant_ids))


async def list_reports(
    session: Session, vendor: str, after: PagePosition | None, limit: int
) -> Sequence[Reconciliation]:
    """Return one keyset page of the reports of reconciliations, newest first."""
    statement = select(Reconciliation).join(Run, Run.id == Reconciliation.run_id).where(Run.vendor == vendor)
    return (await session.scalars(REPORT_ORDER.page_after(statement, after, limit))).all()
