"""Writing what a vendor says into the neutral tables: idempotent, newest wins, in the caller's transaction."""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar

from app.billing import timeline
from app.billing.locks import lock_tenant
from app.billing.mirror.allocations import join_waiting, replace_allocations, replace_applied_credits
from app.billing.mirror.base_currency import infer_base_currency
from app.billing.mirror.contacts import write_contacts
from app.billing.mirror.documents import Written, write_credit_memos, write_invoices, write_payments
from app.billing.mirror.versions import ReadContext, newest_of_each
from app.billing.records import Batch, Counts, CreditMemoRecord, InvoiceRecord
from app.db import Session

Settled = TypeVar("Settled", InvoiceRecord, CreditMemoRecord)


async def upsert(session: Session, source: str, tenant_id: str, batch: Batch, read_at: datetime) -> dict[str, Counts]:
    """Write the rows of one answer, with all that follows from them: customers, matches, joins, allocations, events.

    A row replaces the one that is there when the vendor's stamp is newer, or the same and read no earlier, and when it
    says something new. An equal row costs no write. Rows of other sources are never touched. Documents that are deleted
    when first seen are left out. One organisation is written by one transaction at a time; others wait their turn.

    Args:
        session: the caller's transaction; a second organisation must not be written in the same one.
        source: the vendor's word.
        tenant_id: the organisation the rows come from.
        batch: the rows; where an id comes twice, the newest stands.
        read_at: the vendor's own instant of the answer.

    Returns:
        What became of the rows, for each of `contacts`, `invoices`, `credit_memos`, `payments` that the batch holds.
    """
    await lock_tenant(session, source, tenant_id)
    context, batch = ReadContext(source, tenant_id, read_at), newest_of_each(batch)
    contacts = await write_contacts(session, context, batch)
    invoices = await write_invoices(session, context, batch.invoices)
    memos = await write_credit_memos(session, context, batch.credit_memos)
    payments = await write_payments(session, context, batch.payments)
    joined = await join_waiting(session, invoices.ids)
    await timeline.record(session, invoices=invoices.ids, credit_memos=memos.ids, payments=[*payments.ids, *joined])
    await infer_base_currency(session, context, (*batch.invoices, *batch.credit_memos))
    counts = {
        "contacts": contacts,
        "invoices": _count(invoices, await replace_applied_credits(session, context, _kept(batch.invoices, invoices))),
        "credit_memos": _count(memos, await replace_allocations(session, context, _kept(batch.credit_memos, memos))),
        "payments": payments.counts,
    }
    return {resource: counted for resource, counted in counts.items() if getattr(batch, resource)}


def _kept(documents: Iterable[Settled], written: Written) -> list[Settled]:
    """Leave out what was skipped: it is older than what is known, or not kept at all."""
    skipped = set(written.keys.get("skipped", ()))
    return [document for document in documents if document.external_id not in skipped]


def _count(written: Written, reallocated: set[str]) -> Counts:
    """Count a row as updated when its allocations alone are new."""
    only_parts = len(reallocated.intersection(written.keys.get("unchanged", ())))
    return written.counts + Counts(updated=only_parts, unchanged=-only_parts)
