"""Usage: what calls cost per tenant and UTC day, and the vendor's own count of the calls left today."""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import func, select, text

from app.connector import Traffic
from app.db import Session
from app.sync.tables import Usage

# A count of calls left that grows by more than this tells that the vendor's day has started anew.
RESET_JUMP = 20


# The vendor's day is a fixed window whose start it does not tell: a count that jumps up says that a new one began.
RECORD_TRAFFIC = text("""
WITH usage AS (
  INSERT INTO api_usage AS known (vendor, tenant_id, day, calls, bytes_raw, bytes_wire)
  VALUES (:vendor, :tenant_id, date(timezone('UTC', wall_clock())), :calls, :bytes_raw, :bytes_wire)
  ON CONFLICT (vendor, tenant_id, day) DO UPDATE SET
    calls = known.calls + excluded.calls,
    bytes_raw = known.bytes_raw + excluded.bytes_raw,
    bytes_wire = known.bytes_wire + excluded.bytes_wire)
UPDATE sync_budgets SET
  day_remaining = :remaining,
  day_started_at = CASE WHEN day_remaining + :reset_jump < :remaining THEN wall_clock() ELSE day_started_at END,
  day_calls = CASE WHEN day_remaining + :reset_jump < :remaining THEN 1 ELSE day_calls END,
  day_probed_at = CASE WHEN day_remaining + :reset_jump < :remaining THEN NULL ELSE day_probed_at END
WHERE vendor = :vendor AND tenant_id = :tenant_id
  AND CAST(:remaining AS integer) IS NOT NULL AND day_remaining IS DISTINCT FROM :remaining
""")


async def record_traffic(session: Session, vendor: str, tenant_id: str, traffic: Traffic) -> None:
    """Add what calls cost to the tenant's day, and take over the vendor's own count of the calls left."""
    if not traffic.calls:
        return
    values = {
        "vendor": vendor,
        "tenant_id": tenant_id,
        "calls": traffic.calls,
        "bytes_raw": traffic.bytes_raw,
        "bytes_wire": traffic.bytes_wire,
        "remaining": traffic.day_remaining,
        "reset_jump": RESET_JUMP,
    }
    await session.execute(RECORD_TRAFFIC, values)


def add_traffic(calls: Iterable[Traffic]) -> Traffic:
    """Return what calls cost together; the calls left are those that the last one tells of."""
    total = Traffic()
    for each in calls:
        remaining = total.day_remaining if each.day_remaining is None else each.day_remaining
        total = Traffic(
            total.calls + each.calls, total.bytes_raw + each.bytes_raw, total.bytes_wire + each.bytes_wire, remaining
        )
    return total


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
