"""The tenant runner: does everything for one tenant while this replica holds its lease."""

import asyncio
from collections.abc import Mapping

import structlog

from app.billing.records import Resource
from app.concurrency import cancel_and_wait
from app.connections import tenants
from app.db import DatabaseUnavailable
from app.sync import run_work, runs
from app.sync.client.tenant_client import TenantClient
from app.sync.leases import FencedDatabase, HeldLease, LeaseKeeper, LeaseLost
from app.sync.pull.stored_cursors import StoredCursor, load_cursors
from app.sync.pull.storing import TenantDeselected
from app.sync.run_execution import RunExecution, RunnerDependencies
from app.sync.run_work import TenantWork
from app.sync.tables import ResourceStatus, RunTrigger
from app.sync.webhooks import inbox
from app.sync.webhooks.drain import Drain

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 1.0


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
        work = await self._find_work()
        if not work.is_synced:
            await self._cancel_pending()
            return
        client = self._dependencies.make_client(self._tenant_id, self._keeper.ensure_held)
        drain = Drain(self._db, client, self._dependencies.connector)
        try:
            while await self._start_work(work, client, drain):
                await self._wait_for_progress()
                work = await self._find_work()
        finally:
            await cancel_and_wait([*self._active_runs, *self._active_drains])

    async def _find_work(self) -> TenantWork:
        # A look needs no fencing: whatever it leads to checks the token.
        async with self._dependencies.db.transaction() as session:
            return await run_work.find_work(session, self._vendor, self._tenant_id, self._busy_triggers())

    def _busy_triggers(self) -> set[RunTrigger]:
        return {same for trigger in self._active_runs.values() for same in runs.equivalent_triggers(trigger)}

    async def _start_work(self, work: TenantWork, client: TenantClient, drain: Drain) -> bool:
        """Start what was found; return whether anything is under way."""
        if work.has_runs:
            await self._start_run(client)
        if work.has_events:
            await self._start_drain(drain)
        return bool(self._active_runs or self._active_drains)

    async def _start_run(self, client: TenantClient) -> None:
        """Start the oldest run that may go beside those active: a pull beside a reconciliation, never beside a pull."""
        lease = self._db.lease
        async with self._db.transaction() as session:
            work = await run_work.claim_work(session, lease.vendor, lease.tenant_id, self._busy_triggers())
            if not work:
                return
            cursors: Mapping[Resource, StoredCursor] = {}
            if work[0].trigger in runs.PULL_TRIGGERS:
                await tenants.record_attempt(session, lease.vendor, lease.tenant_id)
                cursors = await load_cursors(session, lease, [item.resource for item in work])
        execution = RunExecution(self._dependencies, self._db, client, work, cursors)
        self._active_runs[asyncio.create_task(execution.run())] = work[0].trigger

    async def _start_drain(self, drain: Drain) -> None:
        """Start a drain of the events that are due, unless one is under way."""
        if not self._active_drains and (events := await drain.find_due()):
            self._active_drains.add(asyncio.create_task(drain.process(events)))

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

    async def _cancel_pending(self) -> None:
        """Close whatever waits for a tenant that is not to be synced any more."""
        reason = (ResourceStatus.PAUSED, str(TenantDeselected()))
        while True:
            async with self._db.transaction() as session:
                await inbox.ignore_waiting(session, self._vendor, self._tenant_id)
                work = await run_work.claim_work(session, self._vendor, self._tenant_id)
                if not work:
                    return
                results = {item.resource: reason for item in work}
                await run_work.finish_resources(session, work[0].run_id, self._tenant_id, results)
                finished = await runs.finish_if_done(session, work[0].run_id)
            if finished:
                self._dependencies.on_run_finished(finished)
