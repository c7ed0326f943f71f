"""The metrics of one vendor's sync over all replicas, which Prometheus collects for an operator's alarms."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, case, func, or_, select

from app.connections.grant_choice import find_last_to_expire
from app.connections.reach import is_unreached, read_reach
from app.connections.states import TenantHealth
from app.connections.tables import Tenant
from app.db import Session
from app.sync.status.tenants import STALE_AFTER_INTERVALS
from app.sync.tables import RateLimitBudget
from app.sync.webhooks.inbox import inbox_state

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class SyncMetrics:
    """The state of the selected tenants and of the inbox; tenants that were removed are only counted.

    Attributes:
        organisations: number of tenants by health.
        data_age: age in seconds of the stalest complete data; None while no tenant was ever complete.
        last_success_age: seconds since the last succeeded run of the tenant for which it is longest; None while no
            tenant had one.
        calls_left_today: calls left of the day of the tenant that has the fewest; None while none is selected.
        refresh_token_days_left: days until the first tenant cannot be read any more, because the refresh token that
            expires last of the living grants that reach it has expired; None where none has a known end.
        events_waiting: webhook events stored and not yet processed.
        events_failed: webhook events that failed, dead letters included.
        signature_failures: deliveries of the last 24 hours whose signature was wrong.
    """

    organisations: Mapping[str, int]
    data_age: float | None
    last_success_age: float | None
    calls_left_today: int | None
    refresh_token_days_left: float | None
    events_waiting: int
    events_failed: int
    signature_failures: int


async def read_sync_metrics(session: Session, vendor: str, interval: timedelta, daily_cap: int) -> SyncMetrics:
    """Read the metrics from the tables.

    Args:
        session: an open transaction.
        vendor: the vendor's word in `source`.
        interval: the time between two ticks.
        daily_cap: calls per tenant and day.
    """
    extremes = await _read_extremes(session, vendor, daily_cap)
    state = await inbox_state(session, vendor)
    return SyncMetrics(
        organisations=await _count_by_health(session, vendor, interval),
        data_age=_seconds(extremes.now, extremes.data_as_of),
        last_success_age=_seconds(extremes.now, extremes.last_success_at),
        calls_left_today=extremes.calls_left,
        refresh_token_days_left=await _refresh_token_days_left(session, vendor, extremes.now),
        events_waiting=state.pending,
        events_failed=state.failed,
        signature_failures=state.signature_failures,
    )


async def _count_by_health(session: Session, vendor: str, interval: timedelta) -> Mapping[str, int]:
    is_stale = and_(
        Tenant.health.in_([TenantHealth.HEALTHY, TenantHealth.PARTIAL]),
        Tenant.data_as_of < func.wall_clock() - STALE_AFTER_INTERVALS * interval,
    )
    health = case(
        (Tenant.removed_at.is_not(None), TenantHealth.REMOVED),
        (or_(is_unreached(), is_stale), TenantHealth.FAILING),
        else_=Tenant.health,
    )
    shown = select(health.label("health")).where(Tenant.vendor == vendor, Tenant.is_selected).subquery()
    counted = select(shown.c.health, func.count()).group_by(shown.c.health)
    return {row[0]: row[1] for row in await session.execute(counted)}


async def _read_extremes(session: Session, vendor: str, daily_cap: int) -> Row[Any]:
    """Return the present instant, the oldest ones of the selected tenants, and the fewest calls left to one of them."""
    is_its_own = and_(RateLimitBudget.vendor == Tenant.vendor, RateLimitBudget.tenant_id == Tenant.tenant_id)
    is_of_today = RateLimitBudget.day_started_at > func.wall_clock() - DAY
    left = case(
        (is_of_today, func.least(daily_cap - RateLimitBudget.day_calls, RateLimitBudget.day_remaining)), else_=daily_cap
    )
    statement = (
        select(
            func.wall_clock().label("now"),
            func.min(Tenant.data_as_of).label("data_as_of"),
            func.min(Tenant.last_success_at).label("last_success_at"),
            func.greatest(func.min(left), case((func.count() > 0, 0))).label("calls_left"),
        )
        .outerjoin(RateLimitBudget, is_its_own)
        .where(_is_synced(vendor))
    )
    return (await session.execute(statement)).one()


async def _refresh_token_days_left(session: Session, vendor: str, now: datetime) -> float | None:
    selected = (await session.scalars(select(Tenant.tenant_id).where(_is_synced(vendor)))).all()
    ends = []
    for reach in (await read_reach(session, vendor, selected)).values():
        best = reach.choose()
        if best and (expires_at := find_last_to_expire(reach.candidates, best).refresh_expires_at):
            ends.append(expires_at)
    return max((min(ends) - now) / DAY, 0.0) if ends else None


def _is_synced(vendor: str) -> ColumnElement[bool]:
    return and_(Tenant.vendor == vendor, Tenant.is_selected, Tenant.removed_at.is_(None))


def _seconds(now: datetime, since: datetime | None) -> float | None:
    return None if since is None else (now - since).total_seconds()
