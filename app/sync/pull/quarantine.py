"""The quarantine: rows that could not be read, kept whole with the reason until a later read of them succeeds."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec.structs import replace
from sqlalchemy import ColumnElement, delete, func, text
from sqlalchemy.dialects.postgresql import insert

from app.billing.mirror.documents import complete_currencies
from app.billing.records import PaymentStatus, Resource
from app.connector import Page, RejectedRow
from app.db import Session
from app.sync.leases import HeldLease
from app.sync.tables import QuarantinedRow

COUNT = text("SELECT count(*) FROM quarantined_rows WHERE vendor = :vendor AND tenant_id = :tenant_id")
CURRENCY_UNKNOWN = "The currency is missing, and the invoice that would tell it is not stored yet."


async def reject_incomplete(session: Session, lease: HeldLease, page: Page) -> Page:
    """Return the page with what its payments lack filled in from the mirror; those still incomplete are rejected.

    A payment without a currency has that of its invoice; while the invoice is not stored, it waits in quarantine. One
    that is deleted when first seen needs none, because it is left out anyway.
    """
    if all(payment.currency for payment in page.batch.payments):
        return page
    payments = await complete_currencies(session, lease.vendor, lease.tenant_id, page.batch.payments)
    waiting = [
        RejectedRow(payment.external_id, CURRENCY_UNKNOWN, msgspec.json.encode(payment).decode())
        for payment in payments
        if payment.currency is None and payment.status != PaymentStatus.DELETED
    ]
    complete = replace(page.batch, payments=[payment for payment in payments if payment.currency])
    return dataclasses.replace(page, batch=complete, rejected=[*page.rejected, *waiting])


async def quarantine_rejected(session: Session, lease: HeldLease, resource: Resource, page: Page) -> None:
    """Keep the page's unreadable rows, and drop those kept before that could be read this time."""
    await quarantine_pages(session, lease, {resource: page})


async def quarantine_pages(session: Session, lease: HeldLease, pages: Mapping[Resource, Page]) -> None:
    """Do the same for a page of each of several resources."""
    for resource, page in pages.items():
        await _keep_rejected(session, lease, resource, page)
    has_read = any(page.keys for page in pages.values())
    if not has_read or not await count_quarantined(session, lease.vendor, lease.tenant_id):
        return
    for resource, page in pages.items():
        rejected = {row.external_id for row in page.rejected}
        read = [key.external_id for key in page.keys if key.external_id not in rejected]
        mine = _is_of(lease, resource)
        await session.execute(delete(QuarantinedRow).where(*mine, QuarantinedRow.external_id.in_(read)))


async def _keep_rejected(session: Session, lease: HeldLease, resource: Resource, page: Page) -> None:
    scope = {"vendor": lease.vendor, "tenant_id": lease.tenant_id, "resource": resource.value}
    for row in page.rejected:
        seen = {"reason": row.reason, "payload": row.payload, "last_seen_at": func.wall_clock()}
        statement = insert(QuarantinedRow).values(**scope, external_id=row.external_id or "", **seen)
        again = {**seen, "attempts": QuarantinedRow.attempts + 1}
        await session.execute(statement.on_conflict_do_update(index_elements=[*scope, "external_id"], set_=again))


async def delete_unseen(session: Session, lease: HeldLease, resource: Resource, since: datetime) -> None:
    """Drop rows that a reconciliation which began at that instant did not find unreadable again.

    For rows whose id could not be read it is the only way out: no later row can be recognised as the same.
    """
    mine = _is_of(lease, resource)
    await session.execute(delete(QuarantinedRow).where(*mine, QuarantinedRow.last_seen_at < since))


async def count_quarantined(session: Session, vendor: str, tenant_id: str) -> int:
    """Return how many rows of a tenant are in quarantine."""
    return await session.scalar(COUNT, {"vendor": vendor, "tenant_id": tenant_id}) or 0


def _is_of(lease: HeldLease, resource: Resource) -> tuple[ColumnElement[bool], ...]:
    tenant = (QuarantinedRow.vendor == lease.vendor, QuarantinedRow.tenant_id == lease.tenant_id)
    return (*tenant, QuarantinedRow.resource == resource.value)
