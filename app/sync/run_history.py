"""Runs as they are listed: with every resource of every organisation, or with totals alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, func, select

from app.db import Session
from app.paging import NewestFirst, PagePosition
from app.sync.tables import ResourceStatus, Run, RunResource, RunStatus, RunTrigger

RUN_ORDER = NewestFirst(Run.started_at, Run.id)
COUNTS = ("fetched", "created", "updated", "unchanged", "skipped", "failed", "calls", "bytes")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs to list; `tenant_id` asks for those that have or had something to do for the organisation."""

    trigger: RunTrigger | None = None
    status: RunStatus | None = None
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class RunTotals:
    """What a run did, over all of its resources.

    Attributes:
        organisations: how many organisations it covers.
        unsuccessful: how many resources of organisations were finished in another way than `succeeded`.
    """

    organisations: int = 0
    unsuccessful: int = 0
    fetched: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    calls: int = 0
    bytes: int = 0


async def list_runs(
    session: Session, vendor: str, filters: RunFilter, after: PagePosition | None, limit: int
) -> Sequence[Run]:
    """Return the runs after a position, newest first."""
    statement = select(Run).where(Run.vendor == vendor, *_conditions(filters))
    return (await session.scalars(RUN_ORDER.page_after(statement, after, limit))).all()


async def find_run(session: Session, vendor: str, run_id: UUID) -> tuple[Run, list[RunResource]] | None:
    """Return a run with its resources, or None when there is none of this id."""
    run = await session.scalar(select(Run).where(Run.id == run_id, Run.vendor == vendor))
    if run is None:
        return None
    return run, (await resources_of(session, [run_id])).get(run_id, [])


async def resources_of(session: Session, run_ids: Sequence[UUID]) -> dict[UUID, list[RunResource]]:
    """Return the resources of each of these runs."""
    statement = select(RunResource).where(RunResource.run_id.in_(run_ids))
    found: dict[UUID, list[RunResource]] = {}
    for row in (await session.scalars(statement.order_by(RunResource.tenant_id, RunResource.resource))).all():
        found.setdefault(row.run_id, []).append(row)
    return found


async def totals_of(session: Session, run_ids: Sequence[UUID]) -> dict[UUID, RunTotals]:
    """Return the totals of each of these runs that has resources."""
    is_unsuccessful = RunResource.status.in_((ResourceStatus.FAILED, ResourceStatus.PARTIAL, ResourceStatus.PAUSED))
    statement = (
        select(
            RunResource.run_id,
            func.count(RunResource.tenant_id.distinct()).label("organisations"),
            func.count().filter(is_unsuccessful).label("unsuccessful"),
            *(func.sum(getattr(RunResource, name)).label(name) for name in COUNTS),
        )
        .where(RunResource.run_id.in_(run_ids))
        .group_by(RunResource.run_id)
    )
    rows = (await session.execute(statement)).mappings().all()
    names = ("organisations", "unsuccessful", *COUNTS)
    return {row["run_id"]: RunTotals(**{name: int(row[name]) for name in names}) for row in rows}


def _conditions(filters: RunFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if filters.trigger:
        conditions.append(Run.trigger == filters.trigger)
    if filters.status:
        conditions.append(Run.status == filters.status)
    if filters.tenant_id:
        is_of_tenant = (RunResource.run_id == Run.id, RunResource.tenant_id == filters.tenant_id)
        conditions.append(select(RunResource.run_id).where(*is_of_tenant).exists())
    return conditions
