"""The incremental pull: reads what changed of one resource of one tenant, page by page.

Each page and its cursor are one transaction, so that a pull killed anywhere continues after its last whole page.
"""

from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from app.billing.records import Resource
from app.connector import PageRequest
from app.sync.client.rate_limiter import Priority
from app.sync.client.tenant_client import TenantClient
from app.sync.leases import FencedDatabase
from app.sync.pull.cursor import begin, restart_pages
from app.sync.pull.last_pages import LastPages
from app.sync.pull.order import FOLLOWING, StoreOrder
from app.sync.pull.pages import PageStep, read_pages
from app.sync.pull.stored_cursors import StoredCursor
from app.sync.pull.storing import store_pages

OVERLAP = timedelta(minutes=5)


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
        cursor: where to begin.
        order: how far the invoices are stored that are pulled beside it.
        last_pages: holds the last page if it brings nothing new; whoever started the pull stores what is held.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what the pulls of a run share, and what is this one's
        self,
        db: FencedDatabase,
        client: TenantClient,
        job: PullJob,
        cursor: StoredCursor,
        order: StoreOrder,
        last_pages: LastPages,
    ) -> None:
        self._db = db
        self._client = client
        self._job = job
        self._cursor = cursor
        self._order = order
        self._last_pages = last_pages

    async def run(self) -> int:
        """Read the resource to its end; whatever ends it earlier, everything up to the last whole page is kept.

        Returns:
            How many rows the vendor counts and did not deliver, now or in an earlier pull.

        Raises:
            LeaseLost, Paused, TenantDeselected, ConnectorError: why it ended early.
        """
        job, cursor = self._job, self._cursor
        page_size = cursor.next_page_size(job.page_size)
        state = begin(cursor.state)
        if cursor.page_size != page_size:
            state = restart_pages(state)
        request = PageRequest(job.resource, page_size=page_size, is_filtered=cursor.is_filtered)
        priority = Priority.INTERACTIVE if job.is_waited_for and cursor.is_completed else Priority.SYNC
        if job.resource is Resource.INVOICES and cursor.is_completed:
            # Only a first pull is long enough to be waited for.
            await self._order.finish()
        async with aclosing(read_pages(self._client, state, request, job.overlap, priority)) as steps:
            async for step in steps:
                if not (cursor.is_completed and self._last_pages.hold(step)):
                    await self._store_in_order(step)
                state = step.next_state
        return state.missing_rows

    async def _store_in_order(self, step: PageStep) -> None:
        """Store a page once the invoices that it refers to are stored."""
        reached = step.next_state.high_water
        if self._job.resource in FOLLOWING:
            await self._order.wait_for(reached)
        async with self._db.write_transaction() as session:
            await store_pages(session, self._db.lease, self._job.run_id, [step])
        if self._job.resource is Resource.INVOICES:
            await self._order.advance(reached)
