"""Usage: what calls cost per tenant and UTC day, and the vendor's own count of the calls left today."""

from datetime import UTC, datetime

from sqlalchemy import case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from app.connector import Traffic
from app.db import Session
from app.sync.tables import RateLimitBudget, Usage

# A count of calls left that grows by more than this tells that the vendor's day has started anew.
RESET_JUMP = 20


async def record_traffic(session: Session, vendor: str, tenant_id: str, traffic: Traffic) -> None:
    """Add what calls cost to the tenant's day, and take over the vendor's own count of the calls left."""
    if not traffic.calls:
        return
    today = func.date(func.timezone("UTC", func.wall_clock()))
    cost = {"calls": traffic.calls, "bytes_raw": traffic.bytes_raw, "bytes_wire": traffic.bytes_wire}
    statement = insert(Usage).values(vendor=vendor, tenant_id=tenant_id, day=today, **cost)
    added = {name: getattr(Usage, name) + statement.excluded[name] for name in cost}
    await session.execute(statement.on_conflict_do_update(index_elements=["vendor", "tenant_id", "day"], set_=added))
    if traffic.day_remaining is not None:
        await _store_vendor_count(session, vendor, tenant_id, traffic.day_remaining)


async def _store_vendor_count(session: Session, vendor: str, tenant_id: str, remaining: int) -> None:
    # The vendor's day is a fixed window whose start it does not tell: a count that jumps up says that a new one began.
    has_restarted = RateLimitBudget.day_remaining + RESET_JUMP < remaining
    values = {
        "day_remaining": remaining,
        "day_started_at": case((has_restarted, func.wall_clock()), else_=RateLimitBudget.day_started_at),
        "day_calls": case((has_restarted, 1), else_=RateLimitBudget.day_calls),
        "day_probed_at": case((has_restarted, None), else_=RateLimitBudget.day_probed_at),
    }
    changed = or_(RateLimitBudget.day_remaining.is_(None), RateLimitBudget.day_remaining != remaining)
    row_key = (RateLimitBudget.vendor == vendor, RateLimitBudget.tenant_id == tenant_id)
    await session.execute(update(RateLimitBudget).where(*row_key, changed).values(values))


async def usage_since(session: Session, vendor: str, days: int) -> list[Usage]:
    """Return the usage of the last days, today included, newest day first."""
    since = func.date(func.timezone("UTC", func.wall_clock())) - days + 1
    statement = select(Usage).where(Usage.vendor == vendor, Usage.day >= since)
    return list((await session.scalars(statement.order_by(Usage.day.desc(), Usage.tenant_id))).all())


async def bytes_of_month(session: Session, vendor: str, now: datetime) -> dict[str, int]:
    """Return the bytes of the current UTC month by tenant."""
    first = now.astimezone(UTC).date().replace(day=1)
    statement = select(Usage.tenant_id, func.sum(Usage.bytes_raw)).where(Usage.vendor == vendor, Usage.day >= first)
    return {row[0]: int(row[1]) for row in (await session.execute(statement.group_by(Usage.tenant_id))).all()}
