"""The owner: everything done for one organisation while its lease is held, and by nobody else meanwhile."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from app.clock import Clock
from app.connections import grants, tenants
from app.connections.tenants import Trouble
from app.connections.tokens import Tokens
from app.connector import Connector, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing, Resource
from app.db import Database, DatabaseUnavailable
from app.sync import quarantine, runs
from app.sync.budget import Paused, Spender
from app.sync.calls import Caller
from app.sync.drain import drain
from app.sync.leases import HEARTBEAT_SECONDS, LEASE_SECONDS, Held, LeaseLost, guard, release_lease, renew_lease
from app.sync.pull import Job, pull
from app.sync.reconcile import reconcile
from app.sync.runs import Work
from app.sync.troubles import REMOVED, describe, gravest

log = structlog.get_logger(__name__)

DRAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What an owner works with.

    Attributes:
        page_size: rows asked for at a time.
        when_run_ends: called after a run of several resources is closed.
    """

    db: Database
    clock: Clock
    connector: Connector
    tokens: Tokens
    spender: Spender
    page_size: int
    when_run_ends: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the pull of one resource ended: `error` is None at its natural end."""

    run_id: UUID
    resource: Resource
    error: Exception | None


class Ownership:
    """A lease kept alive. By our own monotonic clock it ends before anyone else may take it."""

    def __init__(self, db: Database, clock: Clock, held: Held) -> None:
        self._db = db
        self._clock = clock
        self._held = held
        self._good_until = time.monotonic() + LEASE_SECONDS

    def check(self) -> None:
        """Make sure that a call may still be made; a process that was stopped for long learns here that it may not.

        Raises:
            LeaseLost: the lease has run out, or another owner has come.
        """
        if time.monotonic() >= self._good_until:
            raise LeaseLost(f"The lease of {self._held.tenant_id} has run out.")

    async def beat(self) -> None:
        while True:
            await self._clock.sleep(HEARTBEAT_SECONDS)
            began = time.monotonic()
            try:
                async with self._db.transaction() as session:
                    is_ours = await renew_lease(session, self._held)
            except DatabaseUnavailable:
                continue
            self._good_until = began + LEASE_SECONDS if is_ours else 0

    async def hand_back(self) -> None:
        try:
            async with self._db.transaction() as session:
                await release_lease(session, self._held)
        except DatabaseUnavailable as error:
            log.warning("lease_not_handed_back", tenant_id=self._held.tenant_id, error=str(error))


async def serve(tools: Tools, held: Held) -> None:
    """Own one organisation until there is nothing to do for it, the lease is lost, or this replica stops."""
    ownership = Ownership(tools.db, tools.clock, held)
    heart = asyncio.create_task(ownership.beat())
    try:
        await _work(tools, held, ownership)
    except LeaseLost as error:
        log.warning("lease_lost", tenant_id=held.tenant_id, error=str(error))
    except DatabaseUnavailable as error:
        log.warning("database_unavailable", tenant_id=held.tenant_id, error=str(error))
    finally:
        heart.cancel()
        await asyncio.gather(heart, return_exceptions=True)
        await asyncio.shield(ownership.hand_back())


async def _work(tools: Tools, held: Held, ownership: Ownership) -> None:
    async with tools.db.transaction() as session:
        grant_id = await grants.grant_of_tenant(session, held.vendor, held.tenant_id)
    if grant_id is None:
        await _give_up(tools, held)
        return
    caller = Caller(
        tools.db, tools.clock, tools.connector, tools.tokens, tools.spender, held.tenant_id, grant_id, ownership.check
    )
    while True:
        async with tools.db.transaction() as session:
            await guard(session, held)
            work = await runs.take_work(session, held.vendor, held.tenant_id)
        if work:
            await _pull_and_drain(tools, held, caller, work)
        elif not await drain(tools.db, caller, tools.connector, held):
            return


async def _pull_and_drain(tools: Tools, held: Held, caller: Caller, work: Sequence[Work]) -> None:
    """Pull every resource side by side, and work the inbox off meanwhile: a long first sync delays no webhook."""
    draining = asyncio.create_task(_drain_meanwhile(tools, held, caller))
    try:
        await _pull_all(tools, held, caller, work)
    finally:
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


async def _drain_meanwhile(tools: Tools, held: Held, caller: Caller) -> None:
    while True:
        await drain(tools.db, caller, tools.connector, held)
        await tools.clock.sleep(DRAIN_SECONDS)


async def _pull_all(tools: Tools, held: Held, caller: Caller, work: Sequence[Work]) -> None:
    async with tools.db.transaction() as session:
        await guard(session, held)
        await tenants.mark_attempt(session, held.vendor, held.tenant_id)
    pulls = [asyncio.create_task(_pull(tools, held, caller, one)) for one in work]
    try:
        ended = await asyncio.gather(*pulls)
    except BaseException:
        # Whatever ends one of them outside its own errors ends the ownership: the others must not go on without it.
        for task in pulls:
            task.cancel()
        await asyncio.gather(*pulls, return_exceptions=True)
        raise
    await _conclude(tools, held, caller, ended)


async def _pull(tools: Tools, held: Held, caller: Caller, work: Work) -> Ended:
    run_id, resource = work.run_id, work.resource
    job = Job(run_id, resource, held, tools.page_size)
    error: Exception | None = None
    try:
        if work.is_reconciliation:
            await reconcile(tools.db, caller, job, tools.connector.ids_per_read(resource))
        else:
            await pull(tools.db, caller, job)
    except (LeaseLost, DatabaseUnavailable):
        raise
    except (Paused, ConnectorError) as refusal:
        error = refusal
    except Exception as defect:
        # A defect ends this resource's pull and says so; left to fly it would be met again at once, call by call.
        log.exception("pull_failed", tenant_id=held.tenant_id, resource=resource.value)
        error = defect
    async with tools.db.transaction() as session:
        await guard(session, held)
        await runs.finish_resource(session, run_id, held.tenant_id, resource, _outcome(error))
    return Ended(run_id, resource, error)


def _outcome(error: Exception | None) -> tuple[str, str] | None:
    if error is None:
        return None
    if isinstance(error, Paused | ConnectorError):
        return "paused" if isinstance(error, Paused) else "failed", str(error)
    return "failed", "An internal error; the log says what."


async def _conclude(tools: Tools, held: Held, caller: Caller, ended: Sequence[Ended]) -> None:
    """Say how the organisation is, and close the runs this was the last part of."""
    trouble = await _trouble(tools, held, caller, ended)
    closed = False
    async with tools.db.transaction() as session:
        await guard(session, held)
        for run_id in {one.run_id for one in ended}:
            as_of = await runs.whole_since(session, run_id, held.tenant_id)
            if trouble:
                await tenants.mark_trouble(session, held.vendor, held.tenant_id, trouble)
            elif as_of:
                aside = await quarantine.count_of(session, held.vendor, held.tenant_id)
                await tenants.mark_success(session, held.vendor, held.tenant_id, as_of, aside)
            closed |= await runs.finish_if_done(session, run_id)
    if closed:
        await tools.when_run_ends()


async def _trouble(tools: Tools, held: Held, caller: Caller, ended: Sequence[Ended]) -> Trouble | None:
    errors = {one.error: one.resource for one in ended if one.error is not None}
    if not errors:
        return None
    worst = gravest(list(errors))
    if isinstance(worst, PermissionMissing):
        await _note_missing_permission(tools, held, errors[worst])
    if isinstance(worst, OrganisationForbidden | NotFound) and await _is_gone(held, caller):
        async with tools.db.transaction() as session:
            await tenants.mark_removed(session, held.vendor, held.tenant_id)
        return REMOVED
    return describe(worst, tools.clock.now())


async def _is_gone(held: Held, caller: Caller) -> bool:
    try:
        return held.tenant_id not in await caller.organisations()
    except ConnectorError:
        return False


async def _note_missing_permission(tools: Tools, held: Held, resource: Resource) -> None:
    async with tools.db.transaction() as session:
        if grant := await grants.grant_reaching(session, held.vendor, held.tenant_id):
            scope = tools.connector.scope_of(resource, grant.scope_set)
            await grants.note_missing_permission(session, grant.id, sorted({*grant.missing_scopes, scope}))


async def _give_up(tools: Tools, held: Held) -> None:
    async with tools.db.transaction() as session:
        await guard(session, held)
        for work in await runs.take_work(session, held.vendor, held.tenant_id):
            error = ("failed", "This organisation is not connected any more.")
            await runs.finish_resource(session, work.run_id, held.tenant_id, work.resource, error)
            await runs.finish_if_done(session, work.run_id)
