"""The owner: everything done for one organisation while its lease is held, and by nobody else meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.billing.records import Resource
from app.clock import Clock
from app.concurrency import cancel_and_wait
from app.connections import grants, tenants
from app.connections.tenants import TenantProblem
from app.connections.tokens import AccessTokens
from app.connector import Connector, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing
from app.crypto import SealBroken
from app.db import Database, DatabaseUnavailable
from app.sync import runs
from app.sync.client.failures import TENANT_REMOVED, describe_failure, most_severe
from app.sync.client.rate_limiter import Paused, RateLimiter
from app.sync.client.tenant_client import TenantClient
from app.sync.leases import FencedDatabase, HeldLease, LeaseKeeper, LeaseLost
from app.sync.pull import quarantine
from app.sync.pull.incremental import PullRequest, TenantDeselected, pull
from app.sync.pull.reconcile import reconcile
from app.sync.runs import PULLS, WorkItem
from app.sync.webhooks import inbox
from app.sync.webhooks.drain import drain

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class RunnerDependencies:
    """What an owner works with.

    Attributes:
        page_size: rows asked for at a time.
        writers: passed by whoever writes a page.
        before_run_ends: called when the last part of a run is done, so that whoever hears of its end finds all done.
    """

    db: Database
    clock: Clock
    connector: Connector
    tokens: AccessTokens
    rate_limiter: RateLimiter
    page_size: int
    writers: asyncio.Semaphore
    before_run_ends: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """How the pull of one resource ended: `error` is None at its natural end."""

    run_id: UUID
    resource: Resource
    error: Exception | None


async def run_tenant(tools: RunnerDependencies, held: HeldLease, claimed_at: float) -> None:
    """Own one organisation until there is nothing to do for it, the lease is lost, or this replica stops."""
    keeper = LeaseKeeper(tools.db, tools.clock, held, claimed_at)
    heart = asyncio.create_task(keeper.run_heartbeat())
    try:
        await _run(tools, FencedDatabase(tools.db, held, tools.writers), keeper)
    except LeaseLost as error:
        log.warning("lease_lost", tenant_id=held.tenant_id, error=str(error))
    except DatabaseUnavailable as error:
        log.warning("database_unavailable", tenant_id=held.tenant_id, error=str(error))
    finally:
        await asyncio.shield(keeper.release(heart))


async def _run(tools: RunnerDependencies, desk: FencedDatabase, keeper: LeaseKeeper) -> None:
    """Do what there is to do: runs, and the inbox beside them, so that a long first sync delays no webhook."""
    held = desk.held
    async with desk.transaction() as session:
        grant_id = await tenants.find_grant_id_for_sync(session, held.vendor, held.tenant_id)
    if grant_id is None:
        await _cancel_pending(desk)
        return
    caller = TenantClient(
        tools.db,
        tools.clock,
        tools.connector,
        tools.tokens,
        tools.rate_limiter,
        held.tenant_id,
        grant_id,
        keeper.ensure_held,
    )
    passes: dict[asyncio.Task[None], str] = {}
    try:
        while await _start_run(tools, desk, caller, passes) or await drain(desk, caller, tools.connector) or passes:
            await _wait_for_progress(tools.clock, passes)
    finally:
        await cancel_and_wait(passes)


async def _start_run(
    tools: RunnerDependencies, desk: FencedDatabase, caller: TenantClient, passes: dict[asyncio.Task[None], str]
) -> bool:
    """Begin the oldest run that may go beside those under way: a pull beside a reconciliation, never beside a pull."""
    busy = {
        equivalent_triggers for trigger in passes.values() for equivalent_triggers in runs.equivalent_triggers(trigger)
    }
    async with desk.transaction() as session:
        work = await runs.claim_work(session, desk.held.vendor, desk.held.tenant_id, busy)
    if work:
        passes[asyncio.create_task(_execute_run(tools, desk, caller, work))] = work[0].trigger
    return bool(work)


async def _wait_for_progress(clock: Clock, passes: dict[asyncio.Task[None], str]) -> None:
    """Return when a pass ends, or when it is time to look into the inbox again; what broke a pass is raised."""
    if not passes:
        return
    rest = asyncio.create_task(clock.sleep(DRAIN_SECONDS))
    try:
        done, _ = await asyncio.wait({rest, *passes}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await cancel_and_wait([rest])
    for task in done & passes.keys():
        del passes[task]
        task.result()


async def _execute_run(
    tools: RunnerDependencies, desk: FencedDatabase, caller: TenantClient, work: Sequence[WorkItem]
) -> None:
    """Bring every resource of one run up to date, side by side."""
    if work[0].trigger in PULLS:
        async with desk.transaction() as session:
            await tenants.record_attempt(session, desk.held.vendor, desk.held.tenant_id)
    pulls = [asyncio.create_task(_pull(tools, desk, caller, one)) for one in work]
    try:
        ended = await asyncio.gather(*pulls)
    finally:
        # Whatever ends one of them outside its own errors ends the ownership: the others must not go on without it.
        await cancel_and_wait(pulls)
    await _finish_run(tools, desk, caller, ended)


async def _pull(tools: RunnerDependencies, desk: FencedDatabase, caller: TenantClient, work: WorkItem) -> PullOutcome:
    job = PullRequest(work.run_id, work.resource, desk.held, tools.page_size, is_waited_for=work.trigger == "manual")
    error: Exception | None = None
    try:
        if work.is_reconciliation:
            await reconcile(desk, caller, job, tools.connector.ids_per_read(work.resource))
        else:
            await pull(desk, caller, job)
    except (LeaseLost, DatabaseUnavailable):
        raise
    except (Paused, TenantDeselected, ConnectorError) as refusal:
        error = refusal
    except Exception as defect:
        # A defect ends this resource's pull and says so; left to fly it would be met again at once, call by call.
        log.exception("pull_failed", tenant_id=desk.held.tenant_id, resource=work.resource.value)
        error = defect
    return PullOutcome(work.run_id, work.resource, error)


def _outcome(error: Exception | None) -> tuple[str, str] | None:
    if error is None:
        return None
    if isinstance(error, Paused | TenantDeselected):
        return "paused", str(error)
    if isinstance(error, ConnectorError | SealBroken):
        return "failed", str(error)
    return "failed", "An internal error; the log says what."


async def _finish_run(
    tools: RunnerDependencies, desk: FencedDatabase, caller: TenantClient, ended: Sequence[PullOutcome]
) -> None:
    """Close the resources of a run and say how the organisation is; then close the run if this was its last part.

    The resources are one transaction: a replica that dies before leaves unfinished work behind, which another takes up.
    One that dies after it leaves a run without work, which the next look for a tick closes.
    """
    held, run_id = desk.held, ended[0].run_id
    trouble = await _find_problem(tools, desk, caller, ended)
    async with desk.transaction() as session:
        is_wanted = await tenants.find_grant_id_for_sync(session, held.vendor, held.tenant_id) is not None
        for one in ended:
            error = one.error if is_wanted or one.error is None else TenantDeselected()
            await runs.finish_resource(session, run_id, held.tenant_id, one.resource, _outcome(error))
        as_of = await runs.complete_since(session, run_id, held.tenant_id)
        if trouble and is_wanted:
            await tenants.record_problem(session, held.vendor, held.tenant_id, trouble)
        elif as_of:
            aside = await quarantine.count_quarantined(session, held.vendor, held.tenant_id)
            await tenants.record_success(session, held.vendor, held.tenant_id, as_of, aside)
    async with desk.transaction() as session:
        is_done = await runs.is_done(session, run_id)
    if is_done:
        await _refresh_derived(tools, run_id)
        async with desk.transaction() as session:
            await runs.finish_if_done(session, run_id)


async def _refresh_derived(tools: RunnerDependencies, run_id: UUID) -> None:
    try:
        await tools.before_run_ends()
    except DatabaseUnavailable:
        raise
    except Exception:
        # The rows are here and whole; a defect beside them must not have them fetched again and again.
        log.exception("upkeep_failed", run_id=str(run_id))


async def _find_problem(
    tools: RunnerDependencies, desk: FencedDatabase, caller: TenantClient, ended: Sequence[PullOutcome]
) -> TenantProblem | None:
    errors = {one.error: one.resource for one in ended if one.error and not isinstance(one.error, TenantDeselected)}
    if not errors:
        return None
    worst = most_severe(list(errors))
    if isinstance(worst, PermissionMissing):
        await _note_missing_permission(tools, desk, errors[worst])
    if isinstance(worst, OrganisationForbidden | NotFound) and await _is_gone(desk.held, caller):
        async with desk.transaction() as session:
            await tenants.mark_removed(session, desk.held.vendor, desk.held.tenant_id)
        return TENANT_REMOVED
    return describe_failure(worst, tools.clock.now())


async def _is_gone(held: HeldLease, caller: TenantClient) -> bool:
    try:
        return held.tenant_id not in await caller.organisations()
    except ConnectorError:
        return False


async def _note_missing_permission(tools: RunnerDependencies, desk: FencedDatabase, resource: Resource) -> None:
    held = desk.held
    async with desk.transaction() as session:
        if grant := await grants.find_grant_of_tenant(session, held.vendor, held.tenant_id):
            scope = tools.connector.scope_of(resource, grant.scope_set)
            await grants.record_missing_scopes(session, grant.id, sorted({*grant.missing_scopes, scope}))


async def _cancel_pending(desk: FencedDatabase) -> None:
    """Close whatever waits for an organisation that is not to be read any more."""
    held = desk.held
    while True:
        async with desk.transaction() as session:
            await inbox.ignore_waiting(session, held.vendor, held.tenant_id)
            work = await runs.claim_work(session, held.vendor, held.tenant_id)
            for one in work:
                await runs.finish_resource(
                    session, one.run_id, held.tenant_id, one.resource, _outcome(TenantDeselected())
                )
            if not work:
                return
            await runs.finish_if_done(session, work[0].run_id)
