"""Presence: what a complete read of a vendor's books says of rows here, beyond what the rows themselves say."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy
from sqlalchemy import ColumnElement, Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from app.billing.recordset import plain
from app.billing.tables import CreditMemo, Invoice, Payment
from app.db import Session, Table

DOCUMENTS: Mapping[str, type[Table]] = {"invoices": Invoice, "credit_memos": CreditMemo, "payments": Payment}
# What a document that is gone still shows: that it is, and that nothing is owed by it.
GONE: Mapping[str, Mapping[str, object]] = {
    "invoices": {"status": "deleted", "balance": 0},
    "credit_memos": {"status": "deleted", "remaining": 0},
    "payments": {"status": "deleted"},
}


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """One resource of one organisation: `invoices`, `credit_memos` or `payments`; others have no rows to judge."""

    source: str
    tenant_id: str
    resource: str

    @property
    def table(self) -> sqlalchemy.Table:
        return plain(DOCUMENTS[self.resource])

    def holds(self) -> tuple[ColumnElement[bool], ...]:
        return self.table.c.source == self.source, self.table.c.source_tenant_id == self.tenant_id


async def clear_implausible_stamps(
    session: Session, scope: ResourceScope, stamps: Mapping[str, datetime], read_at: datetime
) -> None:
    """Forget the stamp of rows that claim to be newer than the vendor's own, read later: no vendor wrote that.

    The next write then replaces them, whatever they say.

    Args:
        session: the caller's transaction.
        scope: whose rows.
        stamps: the vendor's stamps by external id.
        read_at: the vendor's instant of the answer they are from.
    """
    if scope.resource not in DOCUMENTS or not stamps:
        return
    table = scope.table
    named = table.c.external_id == func.any(bindparam("ids", type_=ARRAY(Text())))
    earlier = func.coalesce(table.c.vendor_read_at, read_at) <= read_at
    found = select(table.c.external_id, table.c.vendor_updated_at).where(*scope.holds(), named, earlier)
    rows = (await session.execute(found, {"ids": list(stamps)})).all()
    implausible = {
        row.external_id for row in rows if row.vendor_updated_at and row.vendor_updated_at > stamps[row.external_id]
    }
    if implausible:
        forget = (
            update(table).where(*scope.holds(), table.c.external_id.in_(implausible)).values(vendor_updated_at=None)
        )
        await session.execute(forget)


async def find_missing_upstream(
    session: Session, scope: ResourceScope, present: Collection[str], before: datetime
) -> list[str]:
    """Return the external ids of rows that were here before an instant, still count, and are not present there."""
    if scope.resource not in DOCUMENTS:
        return []
    table = scope.table
    here = (
        *scope.holds(),
        table.c.status != "deleted",
        table.c.created_at < before,
        table.c.external_id != func.all(bindparam("present", type_=ARRAY(Text()))),
    )
    statement = select(table.c.external_id).where(*here).distinct().order_by(table.c.external_id)
    return list((await session.scalars(statement, {"present": list(present)})).all())


async def mark_deleted(session: Session, scope: ResourceScope, gone: Collection[str]) -> int:
    """Mark documents the vendor does not know as deleted; they stay, and stop counting. Return how many."""
    if not gone:
        return 0
    table = scope.table
    here = (*scope.holds(), table.c.external_id.in_(gone))
    statement = update(table).where(*here).values(**GONE[scope.resource], updated_at=func.now()).returning(table.c.id)
    return len((await session.scalars(statement)).all())
