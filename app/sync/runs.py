"""Runs: how they are opened and closed. `run_work` does the same for their resources; `run_history` lists them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Select, and_, delete, exists, func, select, text
from sqlalchemy.dialects.postgresql import insert

from app.billing.records import Resource
from app.db import Session
from app.sync import progress
from app.sync.tables import (
    UNFINISHED,
    Lease,
    ResourceStatus,
    Run,
    RunResource,
    RunStatus,
    RunTrigger,
    Schedule,
)

PULL_TRIGGERS = (RunTrigger.SCHEDULE, RunTrigger.MANUAL)
RETENTION = timedelta(days=90)
TENANTS_WITH_WORK = text("""
WITH work (tenant_id, since) AS (
  SELECT resource.tenant_id, run.started_at
  FROM sync_run_resources AS resource JOIN sync_runs AS run ON run.id = resource.run_id
  WHERE run.vendor = :vendor AND run.status = 'running' AND resource.status IN ('pending', 'running')
  UNION ALL
  SELECT tenant_id, to_timestamp(0)
  FROM xero_webhook_events
  WHERE vendor = :vendor AND status IN ('pending', 'failed') AND due_at <= wall_clock())
SELECT tenant_id FROM work GROUP BY tenant_id
HAVING NOT EXISTS (SELECT FROM sync_leases AS lease WHERE lease.vendor = :vendor AND lease.tenant_id = work.tenant_id
                   AND lease.expires_at > wall_clock())
ORDER BY min(since), tenant_id LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a new run is for; `requested_by` is the subject of a token, `command` or `system`."""

    vendor: str
    trigger: RunTrigger
    tenant_ids: Sequence[str]
    requested_by: str = "system"


async def open_run(session: Session, request: RunRequest) -> UUID:
    """Return the id of the run that will bring these tenants up to date.

    While an equivalent run is open it is that one, with the tenants it lacks or has given up added, so that a second
    request never doubles the work.
    """
    await _lock_schedule(session, request.vendor)
    # Locked, because it may be closed at this moment: work added to a closed run would never be done. A run without
    # unfinished work is about to be closed, so it does not count as open either.
    unfinished = exists().where(RunResource.run_id == Run.id, RunResource.status.in_(UNFINISHED))
    running = await session.scalar(
        _running(request.vendor, equivalent_triggers(request.trigger)).where(unfinished).with_for_update(of=Run)
    )
    run_id = running or uuid4()
    if running is None:
        only = request.tenant_ids[0] if len(request.tenant_ids) == 1 else None
        session.add(
            Run(
                id=run_id,
                vendor=request.vendor,
                trigger=request.trigger,
                tenant_id=only,
                requested_by=request.requested_by,
            )
        )
        await session.flush()
    await _add_work(session, run_id, request.tenant_ids)
    if running is None:
        await progress.publish(session, "run_started", {"run_id": str(run_id), "trigger": request.trigger})
    return run_id


async def open_tick(session: Session, vendor: str, interval: timedelta, tenant_ids: Sequence[str]) -> UUID | None:
    """Open the tick that is due, once for all replicas; tenants with unfinished work are left out."""
    # Checked before it is locked: a process suspended between statements then blocks nobody while no tick is due.
    later = select(exists().where(Schedule.name == _name(vendor), Schedule.due_at > func.wall_clock()))
    if await session.scalar(later):
        return None
    schedule = await _lock_schedule(session, vendor)
    now = (await session.scalars(select(func.wall_clock()))).one()
    if schedule.due_at > now:
        return None
    schedule.last_at, schedule.due_at = now, now + interval
    busy = await _busy_tenants(session, vendor)
    idle = [tenant_id for tenant_id in tenant_ids if tenant_id not in busy]
    if not idle:
        return None
    run_id = uuid4()
    session.add(
        Run(id=run_id, vendor=vendor, trigger=RunTrigger.SCHEDULE, tenant_id=idle[0] if len(idle) == 1 else None)
    )
    await session.flush()
    await _add_work(session, run_id, idle)
    await progress.publish(session, "run_started", {"run_id": str(run_id), "trigger": RunTrigger.SCHEDULE})
    return run_id


async def record_finished_run(
    session: Session, vendor: str, trigger: RunTrigger, tenant_id: str, results: Iterable[RunResource]
) -> UUID:
    """Record work that is already over as a run, such as a drain of the inbox."""
    run_id = uuid4()
    session.add(Run(id=run_id, vendor=vendor, trigger=trigger, tenant_id=tenant_id, requested_by="system"))
    await session.flush()
    for result in results:
        result.run_id = run_id
        session.add(result)
    await session.flush()
    await finish_if_done(session, run_id)
    return run_id


async def tenants_with_work(session: Session, vendor: str, limit: int) -> list[str]:
    """Return tenants that have work and no owner: those with webhook events first, then the oldest run's."""
    return list((await session.scalars(TENANTS_WITH_WORK, {"vendor": vendor, "limit": limit})).all())


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that was just closed, and the seconds from its start to its end."""

    vendor: str
    trigger: str
    status: RunStatus
    seconds: float


async def finish_if_done(session: Session, run_id: UUID) -> FinishedRun | None:
    """Close the run once nothing of it is left to do, and return it; None if there is, or somebody else has."""
    run = await session.scalar(select(Run).where(Run.id == run_id, Run.status == RunStatus.RUNNING).with_for_update())
    if run is None:
        return None
    rows = (await session.scalars(select(RunResource).where(RunResource.run_id == run_id))).all()
    if any(row.status in UNFINISHED for row in rows):
        return None
    run.status = status = status_of({row.status for row in rows})
    run.error = next((row.error for row in rows if row.error), None)
    run.finished_at = finished_at = (await session.scalars(select(func.wall_clock()))).one()
    await session.flush()
    await progress.publish(session, "run_finished", {"run_id": str(run_id), "status": run.status})
    return FinishedRun(run.vendor, run.trigger, status, (finished_at - run.started_at).total_seconds())


async def close_orphaned_runs(session: Session, vendor: str) -> list[FinishedRun]:
    """Close open runs that have no work left and whose tenants nobody owns: their owner died before it closed them.

    Returns those that were closed.
    """
    mine = RunResource.run_id == Run.id
    owned = exists().where(
        mine,
        Lease.vendor == vendor,
        Lease.tenant_id == RunResource.tenant_id,
        Lease.expires_at > func.wall_clock(),
    )
    over = ~exists().where(mine, RunResource.status.in_(UNFINISHED))
    statement = select(Run.id).where(Run.vendor == vendor, Run.status == RunStatus.RUNNING, over, ~owned)
    closed = [await finish_if_done(session, run_id) for run_id in (await session.scalars(statement)).all()]
    return [run for run in closed if run]


def status_of(statuses: set[str]) -> RunStatus:
    """Return a run's status from those of its finished resources: a failure anywhere shows."""
    if statuses <= {ResourceStatus.SUCCEEDED}:
        return RunStatus.SUCCEEDED
    if statuses == {ResourceStatus.FAILED}:
        return RunStatus.FAILED
    has_failures = statuses & {ResourceStatus.FAILED, ResourceStatus.PARTIAL}
    return RunStatus.PARTIAL if has_failures else RunStatus.PAUSED


async def is_running(session: Session, vendor: str) -> bool:
    return await session.scalar(_running(vendor, PULL_TRIGGERS)) is not None


async def schedule_of(session: Session, vendor: str) -> Schedule | None:
    return await session.get(Schedule, _name(vendor))


async def schedule_tick_now(session: Session, vendor: str) -> None:
    """Make the next tick due now."""
    schedule = await _lock_schedule(session, vendor)
    schedule.due_at = func.wall_clock()
    await session.flush()


async def delete_expired(session: Session) -> None:
    await session.execute(delete(Run).where(Run.finished_at < func.wall_clock() - RETENTION))


async def lock_schedule(session: Session, name: str, first_after: timedelta) -> Schedule:
    """Lock a recurring task's row, so that one replica at a time decides whether it is due; the first call makes it."""
    first = insert(Schedule).values(name=name, due_at=func.wall_clock() + first_after)
    await session.execute(first.on_conflict_do_nothing())
    return (await session.scalars(select(Schedule).where(Schedule.name == name).with_for_update())).one()


async def _lock_schedule(session: Session, vendor: str) -> Schedule:
    return await lock_schedule(session, _name(vendor), timedelta(0))


async def _add_work(session: Session, run_id: UUID, tenant_ids: Sequence[str]) -> None:
    rows = [
        {"run_id": run_id, "tenant_id": tenant_id, "resource": resource.value}
        for tenant_id in tenant_ids
        for resource in Resource
    ]
    if rows:
        # A tenant that the same run gave up before, as when it was deselected, starts again.
        again = {"status": ResourceStatus.PENDING, "error": None}
        given_up = RunResource.status.in_((ResourceStatus.PAUSED, ResourceStatus.FAILED))
        add = insert(RunResource).values(rows)
        key = [column.name for column in RunResource.__table__.primary_key]
        await session.execute(add.on_conflict_do_update(index_elements=key, set_=again, where=given_up))


async def _busy_tenants(session: Session, vendor: str) -> set[str]:
    unfinished = and_(Run.id == RunResource.run_id, Run.vendor == vendor, RunResource.status.in_(UNFINISHED))
    return set((await session.scalars(select(RunResource.tenant_id).join(Run, unfinished))).all())


def _running(vendor: str, triggers: tuple[RunTrigger, ...]) -> Select[UUID]:
    running = (Run.vendor == vendor, Run.status == RunStatus.RUNNING, Run.trigger.in_(triggers))
    return select(Run.id).where(*running).order_by(Run.started_at).limit(1)


def equivalent_triggers(trigger: RunTrigger) -> tuple[RunTrigger, ...]:
    """Return the triggers whose runs do the same work."""
    return PULL_TRIGGERS if trigger in PULL_TRIGGERS else (trigger,)


def _name(vendor: str) -> str:
    return f"tick:{vendor}"
