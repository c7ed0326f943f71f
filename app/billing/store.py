"""Writing a vendor's records into the neutral tables: idempotent, the newest version wins."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from app.billing.locks import lock_tenant
from app.billing.mirror.allocations import (
    move_payments,
    replace_allocations,
    replace_applied_credits,
    resolve_invoice_references,
)
from app.billing.mirror.base_currency import Document, infer_base_currency
from app.billing.mirror.contacts import write_contacts
from app.billing.mirror.documents import UpsertResult, write_credit_memos, write_invoices, write_payments
from app.billing.mirror.versions import ReadContext, newest_of_each
from app.billing.records import Batch, Counts, CreditMemoRecord, InvoiceRecord, Resource, UpsertOutcome
from app.db import Session

# The records that list allocations.
AllocatedRecord = TypeVar("AllocatedRecord", InvoiceRecord, CreditMemoRecord)


async def upsert(
    session: Session, source: str, tenant_id: str, batch: Batch, read_at: datetime
) -> dict[Resource, Counts]:
    """Write the records of one response, and what follows from them: customers, matches, and allocations.

    A record replaces the stored row when its `vendor_updated_at` is later, or equal and read no earlier, and when a
    value differs. A time stamp later than `read_at` is stored as `read_at`. An unchanged row is not written. Rows of
    other sources are never touched. A document that is deleted when first seen is skipped. The tenant is locked:
    another transaction that writes it waits.

    Args:
        session: the caller's transaction; it must not write a second tenant.
        source: the vendor.
        tenant_id: the tenant that the records come from.
        batch: the records; of two with the same id the newest is written.
        read_at: the vendor's clock at the response.

    Returns:
        The counts of each resource that the batch holds records of.
    """
    await lock_tenant(session, source, tenant_id)
    context, batch = ReadContext(source, tenant_id, read_at), newest_of_each(batch, read_at)
    contacts = await write_contacts(session, context, batch)
    invoices = await write_invoices(session, context, batch.invoices)
    memos = await write_credit_memos(session, context, batch.credit_memos)
    payments = await write_payments(session, context, batch.payments)
    await resolve_invoice_references(session, invoices.written_ids)
    # A new invoice has no payments but those just resolved.
    if invoices.counts.updated:
        await move_payments(session, invoices.written_ids)
    created, updated = (
        _documents_with_outcome(outcome, batch, invoices, memos)
        for outcome in (UpsertOutcome.CREATED, UpsertOutcome.UPDATED)
    )
    await infer_base_currency(session, context, created, updated)
    recredited = await replace_applied_credits(session, context, _not_skipped(batch.invoices, invoices))
    reallocated = await replace_allocations(session, context, _not_skipped(batch.credit_memos, memos))
    counts = {
        Resource.CONTACTS: contacts,
        Resource.INVOICES: _counts_with_allocations(invoices, recredited),
        Resource.CREDIT_MEMOS: _counts_with_allocations(memos, reallocated),
        Resource.PAYMENTS: payments.counts,
    }
    return {resource: counted for resource, counted in counts.items() if batch.records_of(resource)}


def _documents_with_outcome(
    outcome: UpsertOutcome, batch: Batch, invoices: UpsertResult, memos: UpsertResult
) -> list[Document]:
    invoice_ids, memo_ids = (set(result.external_ids.get(outcome, ())) for result in (invoices, memos))
    return [
        *(record for record in batch.invoices if record.external_id in invoice_ids),
        *(record for record in batch.credit_memos if record.external_id in memo_ids),
    ]


def _not_skipped(records: Iterable[AllocatedRecord], result: UpsertResult) -> list[AllocatedRecord]:
    skipped = set(result.external_ids.get(UpsertOutcome.SKIPPED, ()))
    return [record for record in records if record.external_id not in skipped]


def _counts_with_allocations(result: UpsertResult, reallocated: set[str]) -> Counts:
    """Count an unchanged document as updated when its allocations changed."""
    unchanged = result.external_ids.get(UpsertOutcome.UNCHANGED, ())
    moved = len(reallocated.intersection(unchanged))
    return result.counts + Counts(updated=moved, unchanged=-moved)
