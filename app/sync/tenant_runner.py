"""The tenant runner: does everything for one tenant while this replica holds its lease."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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
from app.sync import runs
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
from app.sync.leases import FencedDatabase, HeldLease, LeaseKeeper, LeaseLost
from app.sync.pull import quarantine
from app.sync.pull.incremental import IncrementalPull, PullJob, TenantDeselected, count_missing_rows
from app.sync.pull.order import StoreOrder
from app.sync.pull.reconcile import Reconciler
from app.sync.runs import PULL_TRIGGERS, FinishedRun, WorkItem
from app.sync.tables import ResourceStatus, RunTrigger
from app.sync.webhooks import inbox
from app.sync.webhooks.drain import Drain

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 1.0


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


class TenantRunner:
    """Runs one tenant's pulls, reconciliations and webhook events while its lease is held.

    Args:
        dependencies: what all runners of this replica share.
        lease: the tenant's lease.
        claimed_at: our monotonic time in seconds, read before the lease was claimed.
    """

    def __init__(self, dependencies: RunnerDependencies, lease: HeldLease, claimed_at: float) -> None:
        self._dependencies = dependencies
        self._vendor, self._tenant_id = lease.vendor, lease.tenant_id
        self._keeper = LeaseKeeper(dependencies.db, dependencies.clock, lease, claimed_at)
        self._db = FencedDatabase(dependencies.db, lease, dependencies.write_slots)
        # The runs under way, with what triggered them.
        self._active_runs: dict[asyncio.Task[None], RunTrigger] = {}
        # The one drain under way, if any.
        self._active_drains: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until nothing is left to do, the lease is lost, or this replica stops; then release the lease."""
        heartbeat = asyncio.create_task(self._keeper.run_heartbeat())
        try:
            await self._work()
        except LeaseLost as error:
            log.warning("lease_lost", tenant_id=self._tenant_id, error=str(error))
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", tenant_id=self._tenant_id, error=str(error))
        finally:
            await asyncio.shield(self._keeper.release(heartbeat))

    async def _work(self) -> None:
        """Execute runs and drain the inbox beside them, so that a long one of either does not delay the other."""
        async with self._db.transaction() as session:
            is_synced = await tenants.is_synced(session, self._vendor, self._tenant_id)
        if not is_synced:
            await self._cancel_pending()
            return
        client = self._dependencies.make_client(self._tenant_id, self._keeper.ensure_held)
        drain = Drain(self._db, client, self._dependencies.connector)
        try:
            while await self._start_run(client) or await self._start_drain(drain) or self._active_runs:
                await self._wait_for_progress()
        finally:
            await cancel_and_wait([*self._active_runs, *self._active_drains])

    async def _start_run(self, client: TenantClient) -> bool:
        """Start the oldest run that may go beside those active: a pull beside a reconciliation, never beside a pull."""
        busy = {same for trigger in self._active_runs.values() for same in runs.equivalent_triggers(trigger)}
        async with self._db.transaction() as session:
            work = await runs.claim_work(session, self._vendor, self._tenant_id, busy)
        if work:
            self._active_runs[asyncio.create_task(self._execute_run(client, work))] = work[0].trigger
        return bool(work)

    async def _start_drain(self, drain: Drain) -> bool:
        """Start a drain of the events that are due, unless one is under way; return whether one is."""
        if not self._active_drains and (events := await drain.find_due()):
            self._active_drains.add(asyncio.create_task(drain.process(events)))
        return bool(self._active_drains)

    async def _wait_for_progress(self) -> None:
        """Return when a run or drain ends or it is time to look for work again; an error that broke one is raised."""
        active = {*self._active_runs, *self._active_drains}
        pause = asyncio.create_task(self._dependencies.clock.sleep(DRAIN_SECONDS))
        try:
            done, _ = await asyncio.wait({pause, *active}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel_and_wait([pause])
        for task in done & active:
            self._active_runs.pop(task, None)
            self._active_drains.discard(task)
            task.result()

    async def _execute_run(self, client: TenantClient, work: Sequence[WorkItem]) -> None:
        """Bring every resource of one run up to date, concurrently."""
        if work[0].trigger in PULL_TRIGGERS:
            async with self._db.transaction() as session:
                await tenants.record_attempt(session, self._vendor, self._tenant_id)
        order = StoreOrder(has_invoices=any(item.resource is Resource.INVOICES for item in work))
        pulls = [asyncio.create_task(self._pull(client, item, order)) for item in work]
        try:
            outcomes = await asyncio.gather(*pulls)
        finally:
            # An error that `_pull` does not turn into an outcome ends the runner; the other pulls must end with it.
            await cancel_and_wait(pulls)
        await self._finish_run(outcomes)

    async def _pull(self, client: TenantClient, item: WorkItem, order: StoreOrder) -> PullOutcome:
        is_waited_for = item.trigger == RunTrigger.MANUAL
        job = PullJob(item.run_id, item.resource, self._dependencies.page_size, is_waited_for=is_waited_for)
        error: Exception | None = None
        missing_rows = 0
        try:
            missing_rows = await self._operation_of(client, item, job, order).run()
        except (LeaseLost, DatabaseUnavailable):
            raise
        except (Paused, TenantDeselected, ConnectorError) as expected:
            error = expected
        except Exception as defect:
            # A defect ends this resource's pull and is shown. Raised, the same call would be made again at once.
            log.exception("pull_failed", tenant_id=self._tenant_id, resource=item.resource.value)
            error = defect
        finally:
            if item.resource is Resource.INVOICES:
                await order.finish()
        return PullOutcome(item.run_id, item.resource, error, missing_rows)

    def _operation_of(
        self, client: TenantClient, item: WorkItem, job: PullJob, order: StoreOrder
    ) -> IncrementalPull | Reconciler:
        if item.is_reconciliation:
            return Reconciler(self._db, client, job, self._dependencies.connector.ids_per_read(item.resource))
        return IncrementalPull(self._db, client, job, order)

    async def _finish_run(self, outcomes: Sequence[PullOutcome]) -> None:
        """Close this tenant's resources of a run and set its health; then close the run if nothing of it is left.

        The resources are closed in one transaction: a replica that dies before it leaves unfinished work, which another
        claims. One that dies after it leaves an open run without work, which the next tick's check closes.
        """
        run_id = outcomes[0].run_id
        problem = await self._find_problem(outcomes)
        async with self._db.transaction() as session:
            is_selected = await tenants.is_synced(session, self._vendor, self._tenant_id)
            for outcome in outcomes:
                result = outcome.status_and_reason(is_selected=is_selected)
                await runs.finish_resource(session, run_id, self._tenant_id, outcome.resource, result)
            as_of = await runs.complete_since(session, run_id, self._tenant_id)
            if problem and is_selected:
                await tenants.record_problem(session, self._vendor, self._tenant_id, problem)
            elif as_of:
                gaps = await self._describe_gaps(session)
                await tenants.record_success(session, self._vendor, self._tenant_id, as_of, gaps)
        async with self._db.transaction() as session:
            is_done = await runs.is_done(session, run_id)
        if is_done:
            await self._refresh_derived(run_id)
            async with self._db.transaction() as session:
                finished = await runs.finish_if_done(session, run_id)
            self._report(finished)

    def _report(self, run: FinishedRun | None) -> None:
        if run:
            self._dependencies.on_run_finished(run)

    async def _describe_gaps(self, session: Session) -> str | None:
        """Return what a person reads about rows that are not mirrored although the run ended; None without any."""
        missing = await count_missing_rows(session, self._vendor, self._tenant_id)
        quarantined = await quarantine.count_quarantined(session, self._vendor, self._tenant_id)
        return describe_gaps(missing, quarantined)

    async def _refresh_derived(self, run_id: UUID) -> None:
        try:
            await self._dependencies.before_run_ends()
        except DatabaseUnavailable:
            raise
        except Exception:
            # The rows are stored and complete; a defect in what is derived from them must not have them read again, and
            # the next run derives it anew. The error is logged with its traceback.
            log.exception("refresh_derived_failed", run_id=str(run_id))

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

    async def _cancel_pending(self) -> None:
        """Close whatever waits for a tenant that is not to be synced any more."""
        reason = (ResourceStatus.PAUSED, str(TenantDeselected()))
        while True:
            async with self._db.transaction() as session:
                await inbox.ignore_waiting(session, self._vendor, self._tenant_id)
                work = await runs.claim_work(session, self._vendor, self._tenant_id)
                for item in work:
                    await runs.finish_resource(session, item.run_id, self._tenant_id, item.resource, reason)
                if not work:
                    return
                finished = await runs.finish_if_done(session, work[0].run_id)
            self._report(finished)
