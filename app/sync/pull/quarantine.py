"""Rows that could not be read: set aside whole, with the reason, and let go once a later read succeeds."""

from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from app.billing.records import Resource
from app.connector import Page
from app.db import Session
from app.sync.leases import HeldLease
from app.sync.tables import QuarantinedRow


async def quarantine_rejected(session: Session, held: HeldLease, resource: Resource, page: Page) -> None:
    """Keep the page's unreadable rows, and drop those kept before that could be read this time."""
    here = {"vendor": held.vendor, "tenant_id": held.tenant_id, "resource": resource.value}
    for row in page.rejected:
        seen = {"reason": row.reason, "payload": row.payload, "last_seen_at": func.wall_clock()}
        statement = insert(QuarantinedRow).values(**here, external_id=row.external_id or "", **seen)
        again = {**seen, "attempts": QuarantinedRow.attempts + 1}
        await session.execute(statement.on_conflict_do_update(index_elements=[*here, "external_id"], set_=again))
    if await count_quarantined(session, held.vendor, held.tenant_id):
        aside = {row.external_id for row in page.rejected}
        read = [key.external_id for key in page.keys if key.external_id not in aside]
        mine = [QuarantinedRow.__table__.c[name] == value for name, value in here.items()]
        await session.execute(delete(QuarantinedRow).where(*mine, QuarantinedRow.external_id.in_(read)))


async def drop_unseen(session: Session, held: HeldLease, resource: Resource, since: datetime) -> None:
    """Drop rows that a whole reading begun at that instant did not meet unreadable again.

    It is the only way out for those whose id could not be read: no later row can be told to be the same.
    """
    mine = (
        QuarantinedRow.vendor == held.vendor,
        QuarantinedRow.tenant_id == held.tenant_id,
        QuarantinedRow.resource == resource.value,
    )
    await session.execute(delete(QuarantinedRow).where(*mine, QuarantinedRow.last_seen_at < since))


async def count_quarantined(session: Session, vendor: str, tenant_id: str) -> int:
    """Return how many rows of an organisation are set aside."""
    here = (QuarantinedRow.vendor == vendor, QuarantinedRow.tenant_id == tenant_id)
    return await session.scalar(select(func.count()).select_from(QuarantinedRow).where(*here)) or 0
