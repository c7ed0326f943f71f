"""How each organisation is doing, as a list shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from app.clock import Clock
from app.connections.tables import Tenant
from app.db import Session
from app.sync import runs
from app.sync.client import usage
from app.sync.tables import Budget, Cursor, RunResource


@dataclass(frozen=True, slots=True)
class Reason:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows read of the rows the vendor said there are; the estimate is None before its first answer."""

    rows_read: int
    row_estimate: int | None


@dataclass(frozen=True, slots=True)
class TenantView:
    """One organisation. Bytes are of answer bodies, decompressed."""

    tenant_id: str
    name: str
    selected: bool
    health: str
    reason: Reason | None
    data_as_of: datetime | None
    last_success_at: datetime | None
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    first_sync_progress: Progress | None
    calls_today: int
    daily_cap: int
    bytes_this_month: int


@dataclass(frozen=True, slots=True)
class Around:
    """What is needed beside the organisations' own rows, read once for all of them."""

    busy: set[str]
    progress: dict[str, Progress]
    calls: dict[str, int]
    month: dict[str, int]
    next_tick_at: datetime | None
    daily_cap: int
    now: datetime


async def views_of(
    session: Session, vendor: str, clock: Clock, daily_cap: int, rows: Sequence[Tenant]
) -> list[TenantView]:
    """Return the views of these organisations, in their order."""
    schedule = await runs.schedule_of(session, vendor)
    around = Around(
        busy=await _busy(session, rows),
        progress=await _progress(session, vendor, rows),
        calls=await _calls(session, vendor),
        month=await usage.bytes_of_month(session, vendor, clock.now()),
        next_tick_at=schedule.due_at if schedule else None,
        daily_cap=daily_cap,
        now=clock.now(),
    )
    return [_view(row, around) for row in rows]


def _view(row: Tenant, around: Around) -> TenantView:
    is_over = row.paused_until is not None and row.paused_until <= around.now
    health = _health(row, is_over=is_over, is_busy=row.tenant_id in around.busy)
    has_reason = row.reason_code and row.is_selected and not is_over
    reason = Reason(row.reason_code or "", row.reason_message or "") if has_reason else None
    next_attempt_at = max(filter(None, (around.next_tick_at, row.paused_until)), default=None)
    return TenantView(
        tenant_id=row.tenant_id,
        name=row.name,
        selected=row.is_selected,
        health=health,
        reason=Reason("tenant_removed", "It was de-selected on the vendor's side.") if row.removed_at else reason,
        data_as_of=row.data_as_of,
        last_success_at=row.last_success_at,
        last_attempt_at=row.last_attempt_at,
        next_attempt_at=next_attempt_at if row.is_selected and not row.removed_at else None,
        first_sync_progress=around.progress.get(row.tenant_id, Progress(0, None)) if health == "first_sync" else None,
        calls_today=around.calls.get(row.tenant_id, 0),
        daily_cap=around.daily_cap,
        bytes_this_month=around.month.get(row.tenant_id, 0),
    )


def _health(row: Tenant, *, is_over: bool, is_busy: bool) -> str:
    """Return how an organisation is; a pause whose time is over says nothing any more, whether or not a pull came."""
    if row.removed_at:
        return "removed"
    if not row.is_selected:
        return "not_selected"
    if row.reason_code and row.health != "partial" and not is_over:
        return row.health
    if row.data_as_of is None:
        return "first_sync"
    if is_busy:
        return "syncing"
    return "healthy" if is_over else row.health


async def _busy(session: Session, rows: Sequence[Tenant]) -> set[str]:
    ids = [row.tenant_id for row in rows]
    working = (RunResource.tenant_id.in_(ids), RunResource.status == "running")
    return set((await session.scalars(select(RunResource.tenant_id).where(*working))).all())


async def _progress(session: Session, vendor: str, rows: Sequence[Tenant]) -> dict[str, Progress]:
    ids = [row.tenant_id for row in rows if row.data_as_of is None]
    sums = (Cursor.tenant_id, func.sum(Cursor.rows_read), func.sum(Cursor.row_estimate))
    statement = select(*sums).where(Cursor.vendor == vendor, Cursor.tenant_id.in_(ids)).group_by(Cursor.tenant_id)
    found = (await session.execute(statement)).all()
    return {row[0]: Progress(int(row[1]), None if row[2] is None else int(row[2])) for row in found}


async def _calls(session: Session, vendor: str) -> dict[str, int]:
    recent = func.wall_clock() - func.make_interval(0, 0, 0, 1)
    statement = select(Budget.tenant_id, Budget.day_calls).where(
        Budget.vendor == vendor, Budget.tenant_id != "", Budget.day_started_at > recent
    )
    return {row[0]: row[1] for row in (await session.execute(statement)).all()}
