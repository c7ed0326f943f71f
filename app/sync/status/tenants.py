"""How the sync of each tenant stands, as a list shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from app.clock import Clock
from app.connections.states import ReasonCode, TenantHealth
from app.connections.tables import Tenant
from app.connections.tenants import list_unreached_ids
from app.db import Session
from app.sync import runs
from app.sync.client import usage
from app.sync.tables import Cursor, RateLimitBudget, ResourceStatus, RunResource


@dataclass(frozen=True, slots=True)
class Reason:
    code: str
    message: str


REMOVED = Reason(ReasonCode.TENANT_REMOVED, "Nobody who connected has access to it any more.")
UNREACHED = Reason(ReasonCode.RECONNECT_REQUIRED, "The connection it was read through has ended. Connect again.")


@dataclass(frozen=True, slots=True)
class Progress:
    """Rows read by the first sync; the estimate is the vendor's own count, None before its first answer."""

    rows_read: int
    row_estimate: int | None


@dataclass(frozen=True, slots=True)
class TenantView:
    """One tenant. Bytes are of response bodies, decompressed."""

    tenant_id: str
    name: str
    selected: bool
    health: TenantHealth
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
class SyncState:
    """What is shown beside the tenants' own rows, read once for all of them; mappings are by tenant id."""

    syncing: set[str]
    unreached: set[str]
    progress: dict[str, Progress]
    calls_today: dict[str, int]
    bytes_this_month: dict[str, int]
    next_tick_at: datetime | None
    daily_cap: int
    now: datetime


async def read_tenant_views(
    session: Session, vendor: str, clock: Clock, daily_cap: int, rows: Sequence[Tenant]
) -> list[TenantView]:
    """Return the views of these tenants, in their order."""
    schedule = await runs.schedule_of(session, vendor)
    sync_state = SyncState(
        syncing=await _syncing_tenants(session, rows),
        unreached=await list_unreached_ids(session, vendor),
        progress=await _first_sync_progress(session, vendor, rows),
        calls_today=await _calls_today(session, vendor),
        bytes_this_month=await usage.bytes_of_month(session, vendor, clock.now()),
        next_tick_at=schedule.due_at if schedule else None,
        daily_cap=daily_cap,
        now=clock.now(),
    )
    return [_view(row, sync_state) for row in rows]


def _view(row: Tenant, sync_state: SyncState) -> TenantView:
    is_unreached = row.tenant_id in sync_state.unreached
    health = TenantHealth.FAILING if is_unreached else _health_of(row, sync_state)
    is_attempted = row.is_selected and not row.removed_at and not is_unreached
    next_attempt_at = max(filter(None, (sync_state.next_tick_at, row.paused_until)), default=None)
    progress = sync_state.progress.get(row.tenant_id, Progress(0, None))
    return TenantView(
        tenant_id=row.tenant_id,
        name=row.name,
        selected=row.is_selected,
        health=health,
        reason=UNREACHED if is_unreached else _reason_of(row, sync_state),
        data_as_of=row.data_as_of,
        last_success_at=row.last_success_at,
        last_attempt_at=row.last_attempt_at,
        next_attempt_at=next_attempt_at if is_attempted else None,
        first_sync_progress=progress if health == TenantHealth.FIRST_SYNC else None,
        calls_today=sync_state.calls_today.get(row.tenant_id, 0),
        daily_cap=sync_state.daily_cap,
        bytes_this_month=sync_state.bytes_this_month.get(row.tenant_id, 0),
    )


def _reason_of(row: Tenant, sync_state: SyncState) -> Reason | None:
    if row.removed_at:
        return REMOVED
    if not (row.reason_code and row.is_selected) or _is_pause_over(row, sync_state):
        return None
    return Reason(row.reason_code, row.reason_message or "")


def _is_pause_over(row: Tenant, sync_state: SyncState) -> bool:
    return row.paused_until is not None and row.paused_until <= sync_state.now


def _health_of(row: Tenant, sync_state: SyncState) -> TenantHealth:
    """Return a tenant's health; a pause that is over no longer counts, whether or not a pull came since."""
    is_pause_over = _is_pause_over(row, sync_state)
    if row.removed_at:
        return TenantHealth.REMOVED
    if not row.is_selected:
        return TenantHealth.NOT_SELECTED
    if row.reason_code and row.health != TenantHealth.PARTIAL and not is_pause_over:
        return TenantHealth(row.health)
    if row.data_as_of is None:
        return TenantHealth.FIRST_SYNC
    if row.tenant_id in sync_state.syncing:
        return TenantHealth.SYNCING
    return TenantHealth.HEALTHY if is_pause_over else TenantHealth(row.health)


async def _syncing_tenants(session: Session, rows: Sequence[Tenant]) -> set[str]:
    ids = [row.tenant_id for row in rows]
    running = (RunResource.tenant_id.in_(ids), RunResource.status == ResourceStatus.RUNNING)
    return set((await session.scalars(select(RunResource.tenant_id).where(*running))).all())


async def _first_sync_progress(session: Session, vendor: str, rows: Sequence[Tenant]) -> dict[str, Progress]:
    ids = [row.tenant_id for row in rows if row.data_as_of is None]
    sums = (Cursor.tenant_id, func.sum(Cursor.rows_read), func.sum(Cursor.row_estimate))
    statement = select(*sums).where(Cursor.vendor == vendor, Cursor.tenant_id.in_(ids)).group_by(Cursor.tenant_id)
    found = (await session.execute(statement)).all()
    return {row[0]: Progress(int(row[1]), None if row[2] is None else int(row[2])) for row in found}


async def _calls_today(session: Session, vendor: str) -> dict[str, int]:
    recent = func.wall_clock() - func.make_interval(0, 0, 0, 1)
    statement = select(RateLimitBudget.tenant_id, RateLimitBudget.day_calls).where(
        RateLimitBudget.vendor == vendor, RateLimitBudget.tenant_id != "", RateLimitBudget.day_started_at > recent
    )
    return {row[0]: row[1] for row in (await session.execute(statement)).all()}
