"""The execution of one run for one tenant: its pulls or reconciliations side by side, and the end of the run."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import structlog

from app.billing.records import Resource
from app.clock import Clock
from app.concurrency import cancel_and_wait
from app.connections import tenants
from app.connections.reach_reader import ReachReader
from app.connections.tenants import TenantProblem
from app.connections.tokens import AccessTokens
from app.connector import Connector, ConnectorError, NotFound, OrganisationForbidden
from app.db import Database, DatabaseUnavailable, Session
from app.sync import run_work, runs
from app.sync.client.failures import (
    TENANT_REMOVED,
    describe_failure,
    describe_gaps,
    describe_missing_rows,
    most_severe,
)
from app.sync.client.rate_limiter import Paused, RateLimiter
from app.sync.client.tenant_client import TenantClient
from app.sync.client.tenant_grants import TenantGrants
from app.sync.leases import FencedDatabase, LeaseLost
from app.sync.pull import quarantine
from app.sync.pull.incremental import IncrementalPull, PullJob
from app.sync.pull.last_pages import LastPages
from app.sync.pull.order import StoreOrder
from app.sync.pull.pages import PageStep
from app.sync.pull.reconcile import Reconciler
from app.sync.pull.stored_cursors import StoredCursor, count_missing_rows
from app.sync.pull.storing import TenantDeselected, store_pages
from app.sync.run_work import WorkItem
from app.sync.runs import FinishedRun
from app.sync.tables import ResourceStatus, RunTrigger

log = structlog.get_logger(__name__)

# How long a last page that brings nothing new waits for the other pulls of its run.
LAST_PAGES_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunnerDependencies:
    """What the runners of one vendor on this replica share.

    Attributes:
        page_size: rows per page.
        write_slots: limits how many pages this replica writes at the same time.
        before_run_ends: called when the last resource of a run is done and before the run is closed, so that whoever
            sees its end finds alerts and review up to date.
        on_run_finished: called with each run that this replica has closed.
    """

    db: Database
    clock: Clock
    connector: Connector
    tokens: AccessTokens
    reach_reader: ReachReader
    rate_limiter: RateLimiter
    page_size: int
    write_slots: asyncio.Semaphore
    before_run_ends: Callable[[], Awaitable[None]]
    on_run_finished: Callable[[FinishedRun], None]

    def make_client(self, tenant_id: str, ensure_lease: Callable[[], None], *, is_patient: bool = True) -> TenantClient:
        """Return a client of one tenant; see `TenantClient` for the arguments."""
        return TenantClient(
            self.db,
            self.clock,
            self.connector,
            self.tokens,
            self.rate_limiter,
            tenant_id,
            TenantGrants(self.db, self.connector, self.reach_reader, tenant_id),
            ensure_lease,
            is_patient=is_patient,
        )


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """How the pull of one resource ended.

    Attributes:
        error: None when it came to its end.
        missing_rows: how many rows the vendor counts and did not deliver.
    """

    run_id: UUID
    resource: Resource
    error: Exception | None
    missing_rows: int = 0

    def status_and_reason(self, *, is_selected: bool) -> tuple[ResourceStatus, str] | None:
        """Return what the run's resource shows, None when the pull came to its end with every row."""
        error = self.error
        if error is None:
            return (ResourceStatus.PARTIAL, describe_missing_rows(self.missing_rows)) if self.missing_rows else None
        if not is_selected:
            error = TenantDeselected()
        if isinstance(error, Paused | TenantDeselected):
            return ResourceStatus.PAUSED, str(error)
        if isinstance(error, ConnectorError):
            return ResourceStatus.FAILED, str(error)
        return ResourceStatus.FAILED, "An internal error; the log says what."


class RunExecution:
    """Brings the resources of one tenant up to date for one run.

    Args:
        dependencies: what all runners of this replica share.
        db: the tenant's database, under its lease.
        client: makes the tenant's calls.
        work: the resources, all of one run.
        cursors: where the pull of each begins; empty for a reconciliation.
    """

    def __init__(
        self,
        dependencies: RunnerDependencies,
        db: FencedDatabase,
        client: TenantClient,
        work: Sequence[WorkItem],
        cursors: Mapping[Resource, StoredCursor],
    ) -> None:
        self._dependencies = dependencies
        self._db = db
        self._client = client
        self._work = work
        self._cursors = cursors
        self._run_id = work[0].run_id
        self._vendor, self._tenant_id = db.lease.vendor, db.lease.tenant_id
        self._order = StoreOrder(has_invoices=any(item.resource is Resource.INVOICES for item in work))
        self._last_pages = LastPages()
        # What kept a held page from being stored, after its pull had come to its end.
        self._late_errors: dict[Resource, Exception] = {}

    async def run(self) -> None:
        """Bring every resource up to date, concurrently, and close them."""
        pulls = [asyncio.create_task(self._pull(item)) for item in self._work]
        try:
            await self._wait_a_moment(pulls)
            if not all(pull.done() for pull in pulls):
                await self._store_each(self._last_pages.close())
            outcomes = await asyncio.gather(*pulls)
        finally:
            # An error that `_pull` does not turn into an outcome ends the runner; the other pulls must end with it.
            await cancel_and_wait(pulls)
        await self._finish(outcomes)

    async def _wait_a_moment(self, pulls: Sequence[asyncio.Task[PullOutcome]]) -> None:
        """Return when all pulls have ended or one has failed, at the latest after LAST_PAGES_SECONDS."""
        pause = asyncio.create_task(self._dependencies.clock.sleep(LAST_PAGES_SECONDS))
        ended = asyncio.create_task(asyncio.wait(pulls, return_when=asyncio.FIRST_EXCEPTION))
        try:
            await asyncio.wait((pause, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait((pause, ended))

    async def _pull(self, item: WorkItem) -> PullOutcome:
        error: Exception | None = None
        missing_rows = 0
        try:
            missing_rows = await self._operation_of(item).run()
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as failure:  # noqa: BLE001 - a defect is logged, and both are shown
            error = self._ended_by(failure, item.resource)
        finally:
            if item.resource is Resource.INVOICES:
                await self._order.finish()
        return PullOutcome(item.run_id, item.resource, error, missing_rows)

    def _ended_by(self, failure: Exception, resource: Resource) -> Exception:
        """Return what ended a pull.

        A defect ends this resource's pull and is shown. Raised, the same call would be made again at once.
        """
        if not isinstance(failure, Paused | TenantDeselected | ConnectorError):
            log.error("pull_failed", tenant_id=self._tenant_id, resource=resource.value, exc_info=failure)
        return failure

    def _operation_of(self, item: WorkItem) -> IncrementalPull | Reconciler:
        is_waited_for = item.trigger == RunTrigger.MANUAL
        job = PullJob(item.run_id, item.resource, self._dependencies.page_size, is_waited_for=is_waited_for)
        if item.is_reconciliation:
            return Reconciler(self._db, self._client, job, self._dependencies.connector.ids_per_read(item.resource))
        cursor = self._cursors[item.resource]
        return IncrementalPull(self._db, self._client, job, cursor, self._order, self._last_pages)

    async def _store_each(self, steps: Sequence[PageStep]) -> None:
        """Store held pages one by one, so that a defect in one does not keep the others from being stored."""
        for step in steps:
            resource = step.fetched.request.resource
            try:
                async with self._db.write_transaction() as session:
                    await store_pages(session, self._db.lease, self._run_id, [step])
            except (LeaseLost, DatabaseUnavailable):
                raise
            except Exception as failure:  # noqa: BLE001 - a defect is logged and shown
                self._late_errors[resource] = self._ended_by(failure, resource)

    async def _finish(self, outcomes: Sequence[PullOutcome]) -> None:
        """Store the pages that are still held and close the resources; then close the run if nothing of it is left.

        The resources are closed in one transaction: a replica that dies before it leaves unfinished work, which another
        claims. One that dies after it leaves an open run without work, which the next tick's check closes.
        """
        held = self._last_pages.close()
        try:
            await self._close(outcomes, held)
        except (LeaseLost, DatabaseUnavailable):
            raise
        except Exception as failure:
            if not held:
                raise
            log.warning("pages_not_stored_together", tenant_id=self._tenant_id, error=type(failure).__name__)
            await self._store_each(held)
            await self._close(outcomes, [])
        await self._finish_run_if_done()

    async def _close(self, outcomes: Sequence[PullOutcome], held: Sequence[PageStep]) -> None:
        """Store held pages, close this tenant's resources of the run and set its health, in one transaction."""
        outcomes = [self._with_late_error(outcome) for outcome in outcomes]
        problem = await self._find_problem(outcomes)
        async with self._db.write_transaction() if held else self._db.transaction() as session:
            if held:
                await store_pages(session, self._db.lease, self._run_id, held)
            # Pages are not stored for a tenant that is not synced.
            is_selected = bool(held) or await tenants.is_synced(session, self._vendor, self._tenant_id)
            results = {each.resource: each.status_and_reason(is_selected=is_selected) for each in outcomes}
            await run_work.finish_resources(session, self._run_id, self._tenant_id, results)
            as_of = await run_work.complete_since(session, self._run_id, self._tenant_id)
            if problem and is_selected:
                await tenants.record_problem(session, self._vendor, self._tenant_id, problem)
            elif as_of:
                gaps = await self._describe_gaps(session)
                await tenants.record_success(session, self._vendor, self._tenant_id, as_of, gaps)

    def _with_late_error(self, outcome: PullOutcome) -> PullOutcome:
        return replace(outcome, error=outcome.error or self._late_errors.get(outcome.resource))

    async def _finish_run_if_done(self) -> None:
        # In a transaction of its own: of two tenants that end at the same moment, the later one sees the other's end.
        async with self._dependencies.db.transaction() as session:
            is_done = await run_work.is_done(session, self._run_id)
        if not is_done:
            return
        await self._refresh_derived()
        async with self._db.transaction() as session:
            finished = await runs.finish_if_done(session, self._run_id)
        if finished:
            self._dependencies.on_run_finished(finished)

    async def _describe_gaps(self, session: Session) -> str | None:
        """Return what a person reads about rows that are not mirrored although the run ended; None without any."""
        missing = await count_missing_rows(session, self._vendor, self._tenant_id)
        quarantined = await quarantine.count_quarantined(session, self._vendor, self._tenant_id)
        return describe_gaps(missing, quarantined)

    async def _refresh_derived(self) -> None:
        try:
            await self._dependencies.before_run_ends()
        except DatabaseUnavailable:
            raise
        except Exception:
            # The rows are stored and complete; a defect in what is derived from them must not have them read again, and
            # the next run derives it anew. The error is logged with its traceback.
            log.exception("refresh_derived_failed", run_id=str(self._run_id))

    async def _find_problem(self, outcomes: Sequence[PullOutcome]) -> TenantProblem | None:
        """Return what to show of a run's most severe error, None when there was none."""
        errors = [each.error for each in outcomes if each.error and not isinstance(each.error, TenantDeselected)]
        if not errors:
            return None
        worst = most_severe(errors)
        if isinstance(worst, OrganisationForbidden | NotFound):
            async with self._db.transaction() as session:
                if await tenants.is_removed(session, self._vendor, self._tenant_id):
                    return TENANT_REMOVED
        return describe_failure(worst, self._dependencies.clock.now())
