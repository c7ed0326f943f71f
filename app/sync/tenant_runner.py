"""The owner: everything done for one organisation while its lease is held, and by nobody else meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.billing.records import Resource
from app.clock import Clock
from app.concurrency import end_tasks
from app.connections import grants, tenants
from app.connections.tenants import Trouble
from app.connections.tokens import Tokens
from app.connector import Connector, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing
from app.crypto import SealBroken
from app.db import Database, DatabaseUnavailable
from app.sync import runs
from app.sync.client.failures import REMOVED, describe, gravest
from app.sync.client.rate_limiter import Paused, Spender
from app.sync.client.tenant_client import Caller
from app.sync.leases import Desk, Held, LeaseLost, Ownership
from app.sync.pull import quarantine
from app.sync.pull.incremental import Job, NotWanted, pull
from app.sync.pull.reconcile import reconcile
from app.sync.runs import PULLS, Work
from app.sync.webhooks import inbox
from app.sync.webhooks.drain import drain

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What an owner works with.

    Attributes:
        page_size: rows asked for at a time.
        writers: passed by whoever writes a page.
        before_run_ends: called when the last part of a run is done, so that whoever hears of its end finds all done.
    """

    db: Database
    clock: Clock
    connector: Connector
    tokens: Tokens
    spender: Spender
    page_size: int
    writers: asyncio.Semaphore
    before_run_ends: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the pull of one resource ended: `error` is None at its natural end."""

    run_id: UUID
    resource: Resource
    error: Exception | None


async def serve(tools: Tools, held: Held, claimed_at: float) -> None:
    """Own one organisation until there is nothing to do for it, the lease is lost, or this replica stops."""
    ownership = Ownership(tools.db, tools.clock, held, claimed_at)
    heart = asyncio.create_task(ownership.beat())
    try:
        await _work(tools, Desk(tools.db, held, tools.writers), ownership)
    except LeaseLost as error:
        log.warning("lease_lost", tenant_id=held.tenant_id, error=str(error))
    except DatabaseUnavailable as error:
        log.warning("database_unavailable", tenant_id=held.tenant_id, error=str(error))
    finally:
        await asyncio.shield(ownership.hand_back(heart))


async def _work(tools: Tools, desk: Desk, ownership: Ownership) -> None:
    """Do what there is to do: runs, and the inbox beside them, so that a long first sync delays no webhook."""
    held = desk.held
    async with desk.transaction() as session:
        grant_id = await tenants.grant_at_work(session, held.vendor, held.tenant_id)
    if grant_id is None:
        await _give_up(desk)
        return
    caller = Caller(
        tools.db, tools.clock, tools.connector, tools.tokens, tools.spender, held.tenant_id, grant_id, ownership.check
    )
    passes: dict[asyncio.Task[None], str] = {}
    try:
        while await _begin_pass(tools, desk, caller, passes) or await drain(desk, caller, tools.connector) or passes:
            await _until_something_ends(tools.clock, passes)
    finally:
        await end_tasks(passes)


async def _begin_pass(tools: Tools, desk: Desk, caller: Caller, passes: dict[asyncio.Task[None], str]) -> bool:
    """Begin the oldest run that may go beside those under way: a pull beside a reconciliation, never beside a pull."""
    busy = {alike for trigger in passes.values() for alike in runs.alike(trigger)}
    async with desk.transaction() as session:
        work = await runs.take_work(session, desk.held.vendor, desk.held.tenant_id, busy)
    if work:
        passes[asyncio.create_task(_pass(tools, desk, caller, work))] = work[0].trigger
    return bool(work)


async def _until_something_ends(clock: Clock, passes: dict[asyncio.Task[None], str]) -> None:
    """Return when a pass ends, or when it is time to look into the inbox again; what broke a pass is raised."""
    if not passes:
        return
    rest = asyncio.create_task(clock.sleep(DRAIN_SECONDS))
    try:
        done, _ = await asyncio.wait({rest, *passes}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks([rest])
    for task in done & passes.keys():
        del passes[task]
        task.result()


async def _pass(tools: Tools, desk: Desk, caller: Caller, work: Sequence[Work]) -> None:
    """Bring every resource of one run up to date, side by side."""
    if work[0].trigger in PULLS:
        async with desk.transaction() as session:
            await tenants.mark_attempt(session, desk.held.vendor, desk.held.tenant_id)
    pulls = [asyncio.create_task(_pull(tools, desk, caller, one)) for one in work]
    try:
        ended = await asyncio.gather(*pulls)
    finally:
        # Whatever ends one of them outside its own errors ends the ownership: the others must not go on without it.
        await end_tasks(pulls)
    await _conclude(tools, desk, caller, ended)


async def _pull(tools: Tools, desk: Desk, caller: Caller, work: Work) -> Ended:
    job = Job(work.run_id, work.resource, desk.held, tools.page_size, is_waited_for=work.trigger == "manual")
    error: Exception | None = None
    try:
        if work.is_reconciliation:
            await reconcile(desk, caller, job, tools.connector.ids_per_read(work.resource))
        else:
            await pull(desk, caller, job)
    except (LeaseLost, DatabaseUnavailable):
        raise
    except (Paused, NotWanted, ConnectorError) as refusal:
        error = refusal
    except Exception as defect:
        # A defect ends this resource's pull and says so; left to fly it would be met again at once, call by call.
        log.exception("pull_failed", tenant_id=desk.held.tenant_id, resource=work.resource.value)
        error = defect
    return Ended(work.run_id, work.resource, error)


def _outcome(error: Exception | None) -> tuple[str, str] | None:
    if error is None:
        return None
    if isinstance(error, Paused | NotWanted):
        return "paused", str(error)
    if isinstance(error, ConnectorError | SealBroken):
        return "failed", str(error)
    return "failed", "An internal error; the log says what."


async def _conclude(tools: Tools, desk: Desk, caller: Caller, ended: Sequence[Ended]) -> None:
    """Close the resources of a run and say how the organisation is; then close the run if this was its last part.

    The resources are one transaction: a replica that dies before leaves unfinished work behind, which another takes up.
    One that dies after it leaves a run without work, which the next look for a tick closes.
    """
    held, run_id = desk.held, ended[0].run_id
    trouble = await _trouble(tools, desk, caller, ended)
    async with desk.transaction() as session:
        is_wanted = await tenants.grant_at_work(session, held.vendor, held.tenant_id) is not None
        for one in ended:
            error = one.error if is_wanted or one.error is None else NotWanted()
            await runs.finish_resource(session, run_id, held.tenant_id, one.resource, _outcome(error))
        as_of = await runs.whole_since(session, run_id, held.tenant_id)
        if trouble and is_wanted:
            await tenants.mark_trouble(session, held.vendor, held.tenant_id, trouble)
        elif as_of:
            aside = await quarantine.count_of(session, held.vendor, held.tenant_id)
            await tenants.mark_success(session, held.vendor, held.tenant_id, as_of, aside)
    async with desk.transaction() as session:
        is_done = await runs.is_done(session, run_id)
    if is_done:
        await _keep_up(tools, run_id)
        async with desk.transaction() as session:
            await runs.finish_if_done(session, run_id)


async def _keep_up(tools: Tools, run_id: UUID) -> None:
    try:
        await tools.before_run_ends()
    except DatabaseUnavailable:
        raise
    except Exception:
        # The rows are here and whole; a defect beside them must not have them fetched again and again.
        log.exception("upkeep_failed", run_id=str(run_id))


async def _trouble(tools: Tools, desk: Desk, caller: Caller, ended: Sequence[Ended]) -> Trouble | None:
    errors = {one.error: one.resource for one in ended if one.error and not isinstance(one.error, NotWanted)}
    if not errors:
        return None
    worst = gravest(list(errors))
    if isinstance(worst, PermissionMissing):
        await _note_missing_permission(tools, desk, errors[worst])
    if isinstance(worst, OrganisationForbidden | NotFound) and await _is_gone(desk.held, caller):
        async with desk.transaction() as session:
            await tenants.mark_removed(session, desk.held.vendor, desk.held.tenant_id)
        return REMOVED
    return describe(worst, tools.clock.now())


async def _is_gone(held: Held, caller: Caller) -> bool:
    try:
        return held.tenant_id not in await caller.organisations()
    except ConnectorError:
        return False


async def _note_missing_permission(tools: Tools, desk: Desk, resource: Resource) -> None:
    held = desk.held
    async with desk.transaction() as session:
        if grant := await grants.grant_reaching(session, held.vendor, held.tenant_id):
            scope = tools.connector.scope_of(resource, grant.scope_set)
            await grants.note_missing_permission(session, grant.id, sorted({*grant.missing_scopes, scope}))


async def _give_up(desk: Desk) -> None:
    """Close whatever waits for an organisation that is not to be read any more."""
    held = desk.held
    while True:
        async with desk.transaction() as session:
            await inbox.ignore_waiting(session, held.vendor, held.tenant_id)
            work = await runs.take_work(session, held.vendor, held.tenant_id)
            for one in work:
                await runs.finish_resource(session, one.run_id, held.tenant_id, one.resource, _outcome(NotWanted()))
            if not work:
                return
            await runs.finish_if_done(session, work[0].run_id)
