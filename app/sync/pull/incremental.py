"""The incremental pull: reads what changed of one resource of one tenant, page by page.

Each page and its cursor are one transaction, so that a pull killed anywhere continues after its last whole page.
"""

from contextlib import aclosing
from dataclasses import dataclass, fields
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.billing.records import Counts, Resource
from app.billing.store import upsert
from app.connections import tenants
from app.connector import Page, PageRequest
from app.db import Session
from app.sync import progress, runs
from app.sync.client.page_size import read_page_size, record_page_limit
from app.sync.client.rate_limiter import Priority
from app.sync.client.tenant_client import TenantClient
from app.sync.client.usage import record_traffic
from app.sync.leases import FencedDatabase, HeldLease
from app.sync.pull import quarantine
from app.sync.pull.cursor import MAX_SHORT_PULLS, CursorState, begin, restart_pages
from app.sync.pull.order import FOLLOWING, StoreOrder
from app.sync.pull.pages import PageStep, read_pages
from app.sync.tables import Cursor

OVERLAP = timedelta(minutes=5)
# What of the state is stored; the rest is only known while one process reads.
TRANSIENT_FIELDS = ("seen", "counted", "last_rows")
STORED_FIELDS = tuple(field.name for field in fields(CursorState) if field.name not in TRANSIENT_FIELDS)


class TenantDeselected(RuntimeError):
    """The tenant was deselected or disconnected; its cursor stays for when it is selected again."""

    def __init__(self) -> None:
        super().__init__("Deselected or disconnected before its end; picked again, it goes on from here.")


@dataclass(frozen=True, slots=True)
class PullJob:
    """One resource to read for a run.

    Attributes:
        page_size: rows per page, at most.
        overlap: how far before the newest time stamp the next pull starts.
        is_waited_for: a person waits for it, so that it may use calls reserved for them.
    """

    run_id: UUID
    resource: Resource
    page_size: int
    overlap: timedelta = OVERLAP
    is_waited_for: bool = False


class IncrementalPull:
    """One pull of one resource.

    Args:
        db: the tenant's database, under its lease.
        client: reads the vendor's pages.
        job: what to read.
        order: how far the invoices are stored that are pulled beside it.
    """

    def __init__(self, db: FencedDatabase, client: TenantClient, job: PullJob, order: StoreOrder) -> None:
        self._db = db
        self._client = client
        self._job = job
        self._order = order
        self._vendor, self._tenant_id = db.lease.vendor, db.lease.tenant_id

    async def run(self) -> int:
        """Read the resource to its end; whatever ends it earlier, everything up to the last whole page is kept.

        Returns:
            How many rows the vendor counts and did not deliver, now or in an earlier pull.

        Raises:
            LeaseLost, Paused, TenantDeselected, ConnectorError: why it ended early.
        """
        async with self._db.transaction() as session:
            row = await self._load_cursor(session)
            page_size = await read_page_size(session, self._db.lease, self._job.resource, self._job.page_size)
        state = begin(_state_of(row))
        if row.page_size != page_size:
            state = restart_pages(state)
        request = PageRequest(self._job.resource, page_size=page_size, is_filtered=row.is_filtered)
        priority = Priority.INTERACTIVE if self._job.is_waited_for and row.completed_at else Priority.SYNC
        if self._job.resource is Resource.INVOICES and row.completed_at:
            # Only a first pull is long enough to be waited for.
            await self._order.finish()
        async with aclosing(read_pages(self._client, state, request, self._job.overlap, priority)) as steps:
            async for step in steps:
                await self._store_in_order(step)
                state = step.next_state
        return state.missing_rows

    async def _store_in_order(self, step: PageStep) -> None:
        """Store a page once the invoices that it refers to are stored."""
        reached = step.next_state.high_water
        if self._job.resource in FOLLOWING:
            await self._order.wait_for(reached)
        async with self._db.write_transaction() as session:
            await self._store_page(session, step)
        if self._job.resource is Resource.INVOICES:
            await self._order.advance(reached)

    async def _store_page(self, session: Session, step: PageStep) -> None:
        """Write a page, its cursor and its counts; the progress event comes last, because it takes a lock."""
        job, vendor, tenant_id = self._job, self._vendor, self._tenant_id
        fetched = step.fetched
        if not await tenants.is_synced(session, vendor, tenant_id):
            raise TenantDeselected
        page = await quarantine.reject_incomplete(session, self._db.lease, fetched.page)
        counts = await upsert(session, vendor, tenant_id, page.batch, page.read_at)
        await quarantine.quarantine_rejected(session, self._db.lease, job.resource, page)
        await record_traffic(session, vendor, tenant_id, page.traffic)
        rows_read = await self._save_cursor(session, step)
        if fetched.is_limited:
            await record_page_limit(session, self._db.lease, job.resource, fetched.request.page_size)
        # The contacts that a document brings along are not rows of this resource.
        own_counts = counts.get(job.resource, Counts())
        await runs.add_page_counts(session, job.run_id, tenant_id, job.resource, page, own_counts)
        await progress.publish(
            session,
            "page",
            {
                "run_id": str(job.run_id),
                "tenant_id": tenant_id,
                "resource": job.resource.value,
                "rows": page.row_count,
                "rows_read": rows_read,
                "row_estimate": page.total_rows if step.state.since is None else None,
                "is_complete": not step.next_state.is_active,
            },
        )

    async def _load_cursor(self, session: Session) -> Cursor:
        """Return the cursor's row; the first pull makes it."""
        key = {"vendor": self._vendor, "tenant_id": self._tenant_id, "resource": self._job.resource.value}
        await session.execute(insert(Cursor).values(**key).on_conflict_do_nothing())
        return (await session.scalars(select(Cursor).where(self._is_row()))).one()

    async def _save_cursor(self, session: Session, step: PageStep) -> int:
        """Store the next state; return how many rows the first pull has read."""
        page, request = step.fetched.page, step.fetched.request
        is_first_pull = Cursor.completed_at.is_(None)
        rows_read = Cursor.rows_read + _count_new_rows(step.state, page)
        estimate = func.coalesce(Cursor.row_estimate, page.total_rows)
        values = {name: getattr(step.next_state, name) for name in STORED_FIELDS} | {
            "page_size": request.page_size,
            "is_filtered": request.is_filtered,
            "rows_read": case((is_first_pull, rows_read), else_=Cursor.rows_read),
            "row_estimate": case((is_first_pull, estimate), else_=Cursor.row_estimate),
            "completed_at": Cursor.completed_at if step.next_state.is_active else func.wall_clock(),
        }
        statement = update(Cursor).where(self._is_row()).values(values).returning(Cursor.rows_read)
        return (await session.scalars(statement)).one()

    def _is_row(self) -> ColumnElement[bool]:
        return Cursor.is_of(self._vendor, self._tenant_id, self._job.resource)


async def record_missing_rows(session: Session, lease: HeldLease, resource: Resource, missing_rows: int) -> None:
    """Store what a whole read of the resource found, on which pulls from now on go by."""
    is_row = Cursor.is_of(lease.vendor, lease.tenant_id, resource)
    values = {"missing_rows": missing_rows, "short_pulls": MAX_SHORT_PULLS if missing_rows else 0}
    await session.execute(update(Cursor).where(is_row).values(values))


async def count_missing_rows(session: Session, vendor: str, tenant_id: str) -> int:
    """Return how many rows of a tenant the vendor counts and did not deliver."""
    mine = (Cursor.vendor == vendor, Cursor.tenant_id == tenant_id)
    return int(await session.scalar(select(func.sum(Cursor.missing_rows)).where(*mine)) or 0)


def _state_of(row: Cursor) -> CursorState:
    return CursorState(**{name: getattr(row, name) for name in STORED_FIELDS})


def _count_new_rows(state: CursorState, page: Page) -> int:
    """Return how many rows of a page were not read before; those of the bound's own seconds were."""
    if state.resume_since is not None:
        return 0
    if state.high_water is None or state.page > 1:
        return page.row_count
    return sum(key.changed_at > state.high_water for key in page.keys)
