"""Progress: the steps of running work as rows, so that any replica can tell them and a reader can resume."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.db import Session
from app.sync.tables import ProgressEvent

KEPT = timedelta(hours=6)
IN_ORDER = 0x70726F6772657373
MOST = 500


async def publish(session: Session, kind: str, data: Mapping[str, object]) -> None:
    """Add one step in the caller's transaction: it is told exactly when what it tells of stands.

    It should be the last thing a transaction does. Until it ends others wait to tell theirs, so that steps become
    visible in the order of their ids and a reader who goes on after the newest one misses none.
    """
    await session.execute(select(func.pg_advisory_xact_lock(IN_ORDER)))
    await session.execute(insert(ProgressEvent).values(kind=kind, data=dict(data)))


async def events_after(session: Session, last_id: int) -> list[ProgressEvent]:
    """Return the steps after one, oldest first, at most 500."""
    statement = select(ProgressEvent).where(ProgressEvent.id > last_id).order_by(ProgressEvent.id).limit(MOST)
    return list((await session.scalars(statement)).all())


async def newest_id(session: Session) -> int:
    return await session.scalar(select(func.max(ProgressEvent.id))) or 0


async def delete_expired(session: Session) -> None:
    await session.execute(delete(ProgressEvent).where(ProgressEvent.at < func.now() - KEPT))
