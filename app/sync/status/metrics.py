"""The metrics of one vendor's sync over all replicas, which Prometheus collects for an operator's alarms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import and_, case, extract, func, or_, select

from app.connections.reach import is_unreached
from app.connections.states import TenantHealth
from app.connections.tables import Tenant
from app.db import Session
from app.sync.notifications.outbox import count_unsent
from app.sync.status.tenants import STALE_AFTER_INTERVALS
from app.sync.webhooks.inbox import inbox_state


@dataclass(frozen=True, slots=True)
class SyncMetrics:
    """The state of the selected tenants and of the inbox.

    Attributes:
        organisations: number of tenants by health.
        data_age: age in seconds of the stalest complete data; None while no tenant was ever complete.
        events_waiting: webhook events stored and not yet processed.
        events_failed: webhook events that failed, dead letters included.
        signature_failures: deliveries of the last 24 hours whose signature was wrong.
        notifications: number of unsent messages to people by status.
    """

    organisations: Mapping[str, int]
    data_age: float | None
    events_waiting: int
    events_failed: int
    signature_failures: int
    notifications: Mapping[str, int]


async def read_sync_metrics(
    session: Session, vendor: str, interval: timedelta, addresses: Sequence[str] = ()
) -> SyncMetrics:
    """Read the metrics from the tables.

    Args:
        session: a transaction.
        vendor: the vendor's word.
        interval: the time between two ticks.
        addresses: the fingerprints of the addresses at which people are told.
    """
    selected = (Tenant.vendor == vendor, Tenant.is_selected)
    is_stale = and_(
        Tenant.health.in_([TenantHealth.HEALTHY, TenantHealth.PARTIAL]),
        Tenant.data_as_of < func.wall_clock() - STALE_AFTER_INTERVALS * interval,
    )
    health = case(
        (Tenant.removed_at.is_not(None), TenantHealth.REMOVED),
        (or_(is_unreached(), is_stale), TenantHealth.FAILING),
        else_=Tenant.health,
    )
    shown = select(health.label("health")).where(*selected).subquery()
    counted = select(shown.c.health, func.count()).group_by(shown.c.health)
    organisations = {row[0]: row[1] for row in await session.execute(counted)}
    oldest = extract("epoch", func.wall_clock() - func.min(Tenant.data_as_of))
    age = await session.scalar(select(oldest).where(*selected, Tenant.removed_at.is_(None)))
    state = await inbox_state(session, vendor)
    return SyncMetrics(
        organisations=organisations,
        data_age=None if age is None else float(age),
        events_waiting=state.pending,
        events_failed=state.failed,
        signature_failures=state.signature_failures,
        notifications=await count_unsent(session, vendor, addresses),
    )
