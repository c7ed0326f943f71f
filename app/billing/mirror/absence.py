"""What a complete read of a vendor's list tells beyond its rows: stored rows that are implausible, or missing there."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy
from sqlalchemy import ColumnElement, Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from app.billing.records import DocumentStatus, PaymentStatus, Resource
from app.billing.recordset import core_table
from app.billing.tables import CreditMemo, CustomerLink, DocumentTable, Invoice, Payment
from app.db import Session

TABLES: Mapping[Resource, DocumentTable | type[CustomerLink]] = {
    Resource.CONTACTS: CustomerLink,
    Resource.INVOICES: Invoice,
    Resource.CREDIT_MEMOS: CreditMemo,
    Resource.PAYMENTS: Payment,
}
# A deleted document stays stored, with nothing left to pay or to apply.
DELETED_VALUES: Mapping[Resource, Mapping[str, object]] = {
    Resource.INVOICES: {"status": DocumentStatus.DELETED, "balance": 0},
    Resource.CREDIT_MEMOS: {"status": DocumentStatus.DELETED, "remaining": 0},
    Resource.PAYMENTS: {"status": PaymentStatus.DELETED, "deleted_at": func.wall_clock()},
}


@dataclass(frozen=True, slots=True)
class ResourceScope:
    """One resource of one tenant. Contacts have no status, so none is marked as deleted."""

    source: str
    tenant_id: str
    resource: Resource

    @property
    def has_status(self) -> bool:
        return self.resource in DELETED_VALUES

    @property
    def table(self) -> sqlalchemy.Table:
        return core_table(TABLES[self.resource])

    @property
    def conditions(self) -> tuple[ColumnElement[bool], ...]:
        return self.table.c.source == self.source, self.table.c.source_tenant_id == self.tenant_id


async def clear_implausible_stamps(
    session: Session, scope: ResourceScope, stamps: Mapping[str, datetime], read_at: datetime
) -> None:
    """Clear `vendor_updated_at` of rows that claim a later change than the vendor reports in a later read.

    The vendor never wrote such a value; without it the next upsert replaces the row.

    Args:
        session: the caller's transaction.
        scope: whose rows.
        stamps: the vendor's times of the last change, by external id, as `believe_stamp` leaves them.
        read_at: the vendor's clock at the response that they are from.
    """
    if not stamps:
        return
    table = scope.table
    has_stamp = table.c.external_id == func.any(bindparam("ids", type_=ARRAY(Text())))
    was_read_before = func.coalesce(table.c.vendor_read_at, read_at) <= read_at
    statement = select(table.c.external_id, table.c.vendor_updated_at).where(
        *scope.conditions, has_stamp, was_read_before
    )
    rows = (await session.execute(statement, {"ids": list(stamps)})).all()
    implausible = {
        row.external_id for row in rows if row.vendor_updated_at and row.vendor_updated_at > stamps[row.external_id]
    }
    if implausible:
        is_implausible = table.c.external_id.in_(implausible)
        await session.execute(update(table).where(*scope.conditions, is_implausible).values(vendor_updated_at=None))


async def find_missing_upstream(
    session: Session, scope: ResourceScope, present: Collection[str], before: datetime
) -> list[str]:
    """Return the external ids of rows that were stored before `before`, are not deleted, and are not `present`.

    Args:
        session: the caller's transaction.
        scope: whose rows.
        present: the external ids that the complete read delivered.
        before: when the read began; rows stored since may be newer than it.
    """
    if not scope.has_status:
        return []
    table = scope.table
    is_missing = (
        *scope.conditions,
        table.c.status != DocumentStatus.DELETED,
        table.c.created_at < before,
        table.c.external_id != func.all(bindparam("present", type_=ARRAY(Text()))),
    )
    statement = select(table.c.external_id).where(*is_missing).distinct().order_by(table.c.external_id)
    return list((await session.scalars(statement, {"present": list(present)})).all())


async def mark_deleted(session: Session, scope: ResourceScope, external_ids: Collection[str]) -> int:
    """Mark documents that the vendor does not have as deleted, with nothing left to pay.

    Returns:
        How many rows were changed.
    """
    if not external_ids:
        return 0
    table = scope.table
    values = {**DELETED_VALUES[scope.resource], "updated_at": func.now()}
    statement = update(table).where(*scope.conditions, table.c.external_id.in_(external_ids)).values(values)
    return len((await session.scalars(statement.returning(table.c.id))).all())
