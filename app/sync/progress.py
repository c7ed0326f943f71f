"""Progress events: the steps of running work as rows, which any replica can send and a reader can resume after."""

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import delete, func, select, text

from app.billing.recordset import encode_rows
from app.db import Session
from app.sync.tables import ProgressEvent

RETENTION = timedelta(hours=6)
# The key of the advisory lock that serialises publishers: the letters "progress" in ASCII.
PUBLISH_LOCK_KEY = 0x70726F6772657373
MAX_EVENTS = 500
# The lock is taken before the first row, and with it the first id, is made.
PUBLISH = text("""
WITH lock AS MATERIALIZED (SELECT pg_advisory_xact_lock(:key))
INSERT INTO progress_events (kind, data)
SELECT :kind, CAST(event.data AS jsonb) FROM lock, json_array_elements(CAST(:events AS json)) AS event (data)
""")


async def publish(session: Session, kind: str, *events: Mapping[str, object]) -> None:
    """Add events of one kind in the caller's transaction, so that they become visible together with what they report.

    Call it last in a transaction. Until the transaction ends other publishers wait for the lock, so that events become
    visible in the order of their ids and a reader that resumes after the newest id misses none.
    """
    await session.execute(PUBLISH, {"key": PUBLISH_LOCK_KEY, "kind": kind, "events": encode_rows(events)})


async def events_after(session: Session, last_id: int) -> list[ProgressEvent]:
    """Return the events after an id, oldest first, at most 500."""
    statement = select(ProgressEvent).where(ProgressEvent.id > last_id).order_by(ProgressEvent.id).limit(MAX_EVENTS)
    return list((await session.scalars(statement)).all())


async def newest_id(session: Session) -> int:
    """Return the id of the newest event, 0 when there is none."""
    return await session.scalar(select(func.max(ProgressEvent.id))) or 0


async def delete_expired(session: Session) -> None:
    """Delete events older than six hours."""
    await session.execute(delete(ProgressEvent).where(ProgressEvent.at < func.now() - RETENTION))
