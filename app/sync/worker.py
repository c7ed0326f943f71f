"""The worker: takes organisations that have something to do, owns each by a lease while it lasts, and hands it back.

An owner does everything for its organisation: the pulls of its runs side by side, and the webhook events as they come.
Nobody else calls the vendor for it, so calls at once are counted here, and whoever dies is replaced once its lease
runs out.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import func, select

from app.clock import Clock
from app.connections import grants, tenants
from app.connections.tenants import Trouble
from app.connections.tokens import GrantUnusable, Tokens
from app.connector import (
    AppRejected,
    Connector,
    ConnectorError,
    NotFound,
    OrganisationForbidden,
    PermissionMissing,
    Resource,
)
from app.db import Database, DatabaseUnavailable
from app.sync import quarantine, runs
from app.sync.budget import Paused, Spender
from app.sync.calls import Caller
from app.sync.drain import drain
from app.sync.leases import (
    HEARTBEAT_SECONDS,
    LEASE_SECONDS,
    Held,
    LeaseLost,
    claim_lease,
    guard,
    release_lease,
    renew_lease,
)
from app.sync.pull import Job, pull

log = structlog.get_logger(__name__)

AT_ONCE = 8
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How the pull of one resource ended: `error` is None at its natural end."""

    run_id: UUID
    resource: Resource
    error: BaseException | None


class Worker:
    """Works for one vendor on this replica.

    Args:
        db: the database all replicas share.
        clock: waits.
        connector: the vendor.
        tokens: the grants' access tokens.
        spender: the budget.
        page_size: rows asked for at a time.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the collaborators of the whole room meet here
        self, db: Database, clock: Clock, connector: Connector, tokens: Tokens, spender: Spender, page_size: int
    ) -> None:
        self.owner = str(uuid4())
        self._db = db
        self._clock = clock
        self._connector = connector
        self._tokens = tokens
        self._spender = spender
        self._page_size = page_size
        self._nudge = asyncio.Event()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self.looked_at = time.monotonic()

    def nudge(self) -> None:
        """Say that there may be something to do, so that it need not wait for the next look."""
        self._nudge.set()

    async def run(self) -> None:
        """Look for work until cancelled; then stop what is under way and hand every lease back."""
        try:
            while True:
                await self._look()
                self.looked_at = time.monotonic()
                await self._pause()
        finally:
            await self._stop()

    async def run_until_idle(self) -> None:
        """Work until nothing is left to do; for commands and tests."""
        while await self._look() or self._serving:
            await asyncio.wait(list(self._serving.values()), timeout=LOOK_SECONDS)

    async def _look(self) -> int:
        """Start serving organisations that wait, as many as there is room for; return how many were started."""
        self._serving = {tenant_id: task for tenant_id, task in self._serving.items() if not task.done()}
        room = AT_ONCE - len(self._serving)
        if room <= 0:
            return 0
        try:
            return await self._start(room)
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", error=str(error))
            return 0

    async def _start(self, room: int) -> int:
        async with self._db.transaction() as session:
            waiting = await runs.tenants_with_work(session, self._connector.vendor, room)
        started = 0
        for tenant_id in waiting:
            async with self._db.transaction() as session:
                held = await claim_lease(session, self._connector.vendor, tenant_id, self.owner)
            if held:
                self._serving[tenant_id] = asyncio.create_task(self._serve(held), name=f"serve {tenant_id}")
                started += 1
        return started

    async def _pause(self) -> None:
        waiter = asyncio.create_task(self._nudge.wait())
        sleeper = asyncio.create_task(self._clock.sleep(LOOK_SECONDS))
        tasks = {waiter, sleeper, *self._serving.values()}
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in (waiter, sleeper):
            task.cancel()
        self._nudge.clear()

    async def _stop(self) -> None:
        for task in self._serving.values():
            task.cancel()
        await asyncio.gather(*self._serving.values(), return_exceptions=True)

    async def _serve(self, held: Held) -> None:
        """Own one organisation until there is nothing to do for it, the lease is lost, or this replica stops."""
        ownership = Ownership(self._db, self._clock, held)
        heart = asyncio.create_task(ownership.beat())
        try:
            await self._work(held, ownership)
        except LeaseLost as error:
            log.warning("lease_lost", tenant_id=held.tenant_id, error=str(error))
        except DatabaseUnavailable as error:
            log.warning("database_unavailable", tenant_id=held.tenant_id, error=str(error))
        except Exception:
            # A defect must not kill the worker, and must not be retried in a tight loop either: it is logged in
            # full, and the lease is left to run out before anyone tries again.
            log.exception("serving_failed", tenant_id=held.tenant_id)
            ownership.keep = True
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
            await asyncio.shield(ownership.hand_back())

    async def _work(self, held: Held, ownership: "Ownership") -> None:
        async with self._db.transaction() as session:
            grant_id = await grants.grant_of_tenant(session, held.vendor, held.tenant_id)
        if grant_id is None:
            await self._give_up(held, "This organisation is not connected any more.")
            return
        caller = Caller(
            self._db,
            self._clock,
            self._connector,
            self._tokens,
            self._spender,
            held.tenant_id,
            grant_id,
            ownership.check,
        )
        while True:
            async with self._db.transaction() as session:
                await guard(session, held)
                work = await runs.take_work(session, held.vendor, held.tenant_id)
            pulled = await self._pull_and_drain(held, caller, work)
            if not work and not pulled:
                return

    async def _pull_and_drain(
        self, held: Held, caller: Caller, work: Sequence[tuple[UUID, Resource]]
    ) -> int:
        """Pull every resource side by side, and work the inbox off meanwhile; return how many events were taken up."""
        if not work:
            return await drain(self._db, caller, self._connector, held)
        draining = asyncio.create_task(self._drain_meanwhile(held, caller))
        try:
            await self._pull_all(held, caller, work)
        finally:
            draining.cancel()
            await asyncio.gather(draining, return_exceptions=True)
        return 1

    async def _drain_meanwhile(self, held: Held, caller: Caller) -> None:
        while True:
            await drain(self._db, caller, self._connector, held)
            await self._clock.sleep(LOOK_SECONDS)

    async def _pull_all(self, held: Held, caller: Caller, work: Sequence[tuple[UUID, Resource]]) -> None:
        async with self._db.transaction() as session:
            await guard(session, held)
            await tenants.mark_attempt(session, held.vendor, held.tenant_id)
            began_at = (await session.scalars(select(func.wall_clock()))).one()
        pulls = [asyncio.create_task(self._pull(held, caller, run_id, resource)) for run_id, resource in work]
        try:
            ended = [await finished for finished in asyncio.as_completed(pulls)]
        except BaseException:
            for task in pulls:
                task.cancel()
            await asyncio.gather(*pulls, return_exceptions=True)
            raise
        await self._conclude(held, caller, ended, began_at)

    async def _pull(self, held: Held, caller: Caller, run_id: UUID, resource: Resource) -> Ended:
        job = Job(run_id, resource, held, self._page_size)
        try:
            await pull(self._db, caller, job)
        except (Paused, ConnectorError) as error:
            await self._close(held, run_id, resource, ("paused" if isinstance(error, Paused) else "failed", str(error)))
            return Ended(run_id, resource, error)
        await self._close(held, run_id, resource, None)
        return Ended(run_id, resource, None)

    async def _close(self, held: Held, run_id: UUID, resource: Resource, error: tuple[str, str] | None) -> None:
        async with self._db.transaction() as session:
            await guard(session, held)
            await runs.finish_resource(session, run_id, held.tenant_id, resource, error)

    async def _conclude(self, held: Held, caller: Caller, ended: Sequence[Ended], began_at: datetime) -> None:
        """Say how the organisation is, and close the runs this was the last part of."""
        errors = [one.error for one in ended if one.error is not None]
        trouble = await self._trouble(caller, held, errors) if errors else None
        async with self._db.transaction() as session:
            await guard(session, held)
            if trouble:
                await tenants.mark_trouble(session, held.vendor, held.tenant_id, trouble)
            elif {one.resource for one in ended} == set(Resource):
                aside = await quarantine.count_of(session, held.vendor, held.tenant_id)
                await tenants.mark_success(session, held.vendor, held.tenant_id, began_at, aside)
            for run_id in {one.run_id for one in ended}:
                await runs.finish_if_done(session, run_id)

    async def _trouble(self, caller: Caller, held: Held, errors: Sequence[BaseException]) -> Trouble:
        worst = min(errors, key=_gravity)
        if isinstance(worst, PermissionMissing):
            await self._note_missing_permission(held)
        if isinstance(worst, OrganisationForbidden | NotFound) and await self._is_gone(caller, held):
            async with self._db.transaction() as session:
                await tenants.mark_removed(session, held.vendor, held.tenant_id)
            return Trouble("removed", "tenant_removed", "This organisation was de-selected on the vendor's side.")
        return describe(worst, self._clock.now())

    async def _is_gone(self, caller: Caller, held: Held) -> bool:
        try:
            return held.tenant_id not in await caller.organisations()
        except ConnectorError:
            return False

    async def _note_missing_permission(self, held: Held) -> None:
        async with self._db.transaction() as session:
            grant_id = await grants.grant_of_tenant(session, held.vendor, held.tenant_id)
            if grant_id:
                await grants.note_refused_permission(session, grant_id)

    async def _give_up(self, held: Held, reason: str) -> None:
        async with self._db.transaction() as session:
            await guard(session, held)
            for run_id, resource in await runs.take_work(session, held.vendor, held.tenant_id):
                await runs.finish_resource(session, run_id, held.tenant_id, resource, ("failed", reason))
                await runs.finish_if_done(session, run_id)


class Ownership:
    """A lease kept alive. By our own monotonic clock it ends a little before anyone else may take it."""

    def __init__(self, db: Database, clock: Clock, held: Held) -> None:
        self._db = db
        self._clock = clock
        self._held = held
        self._good_until = time.monotonic() + LEASE_SECONDS
        self.keep = False

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
        if self.keep:
            return
        try:
            async with self._db.transaction() as session:
                await release_lease(session, self._held)
        except DatabaseUnavailable as error:
            log.warning("lease_not_handed_back", tenant_id=self._held.tenant_id, error=str(error))


def _gravity(error: BaseException) -> int:
    """Order troubles by how much a person must know: what needs a hand comes before what passes."""
    order = (GrantUnusable, OrganisationForbidden, NotFound, PermissionMissing, AppRejected, ConnectorError, Paused)
    return next((rank for rank, kind in enumerate(order) if isinstance(error, kind)), len(order))


def describe(error: BaseException, now: datetime) -> Trouble:
    """Return what a person reads about an organisation whose pull ended with this error."""
    if isinstance(error, Paused):
        return _describe_pause(error, now)
    if isinstance(error, GrantUnusable):
        return Trouble("failing", "reconnect_required", "Disconnect and connect again.")
    if isinstance(error, OrganisationForbidden | NotFound):
        text = "It no longer grants access: re-authorise it, or pick another. The others go on."
        return Trouble("forbidden", "tenant_forbidden", text)
    if isinstance(error, PermissionMissing):
        return Trouble("failing", "needs_permission", error.detail)
    if isinstance(error, AppRejected):
        return Trouble("failing", "app_rejected", error.detail)
    return Trouble("failing", "xero_unavailable", f"{error} We keep trying at every tick.")


def _describe_pause(error: Paused, now: datetime) -> Trouble:
    until = error.until(now)
    if error.reason == "day_share":
        text = "It has used its share of today's calls. The rest is kept for webhooks; we continue by ourselves."
        return Trouble("paused", "rate_limited_day", text, until)
    if error.reason == "day":
        return Trouble("rate_limited", "rate_limited_day", "The daily limit is reached; we continue by ourselves.", until)
    return Trouble("rate_limited", "rate_limited_minute", "A rate limit is reached; we continue by ourselves.", until)


