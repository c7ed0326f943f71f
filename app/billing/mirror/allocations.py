"""What settles an invoice: allocations as the vendor tells them, and the joining of rows that came apart."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from uuid import UUID

from sqlalchemy import Date, Delete, Text, Update, Uuid, bindparam, case, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.mirror.versions import ReadContext, lateral_lookup
from app.billing.records import AllocationRecord, CreditMemoRecord, InvoiceRecord
from app.billing.recordset import Clause, Query, Relation, Types, encode, plain, rowset
from app.billing.tables import CreditAllocation, CreditMemo, Invoice, Money, Payment
from app.db import Session

PART: Types = {
    "kind": Text(),
    "credit_external_id": Text(),
    "invoice_external_id": Text(),
    "external_id": Text(),
    "amount": Money,
    "applied_on": Date(),
}

# A part as its columns say it. What settles an owner is a bag of parts: two may be alike in everything.
Part = tuple[object, ...]


async def replace_allocations(session: Session, context: ReadContext, memos: Iterable[CreditMemoRecord]) -> set[str]:
    """Make the allocations of these memos the ones they list.

    Returns:
        The external ids of the memos whose allocations were not like that.
    """
    wanted = {memo.external_id: memo.allocations for memo in memos}
    return await _replace(session, context, _of_credit_memos(), "credit_external_id", wanted)


async def replace_applied_credits(
    session: Session, context: ReadContext, invoices: Iterable[InvoiceRecord]
) -> set[str]:
    """Make the overpayments and prepayments applied to these invoices the ones they list, where they list any at all.

    Returns:
        The external ids of the invoices whose applied credits were not like that.
    """
    wanted = {one.external_id: one.applied_credits for one in invoices if one.applied_credits is not None}
    return await _replace(session, context, _of_invoices(), "invoice_external_id", wanted)


async def join_waiting(session: Session, invoices: Sequence[UUID]) -> Sequence[UUID]:
    """Give these invoices the payments and allocations that were here before them.

    Returns:
        The payments that waited.
    """
    if not invoices:
        return ()
    payments = (await session.scalars(_join_payments(), {"ids": list(invoices)})).all()
    await session.execute(_join_allocations(), {"ids": list(invoices)})
    return payments


async def _replace(
    session: Session, context: ReadContext, known: Query, owner: str, wanted: Mapping[str, Sequence[AllocationRecord]]
) -> set[str]:
    if not wanted:
        return set()
    rows = (await session.execute(known, {**context.parameters(), "owners": list(wanted)})).all()
    before: dict[str, Counter[Part]] = {external_id: Counter() for external_id in wanted}
    for row in rows:
        before[getattr(row, owner)][tuple(row[1:])] += 1
    differing = {
        external_id
        for external_id, parts in wanted.items()
        if Counter(tuple(getattr(part, name) for name in PART) for part in parts) != before[external_id]
    }
    if differing:
        gone = [row.id for row in rows if getattr(row, owner) in differing]
        parts = [part for external_id in sorted(differing) for part in wanted[external_id]]
        await session.execute(_delete(), {"ids": gone})
        await session.execute(_insert(), {**context.parameters(), "parts": encode(parts)})
    return differing


@cache
def _of_credit_memos() -> Query:
    return _known("credit_external_id", ("credit_memo",))


@cache
def _of_invoices() -> Query:
    return _known("invoice_external_id", ("overpayment", "prepayment"))


def _known(owner: str, kinds: tuple[str, ...]) -> Query:
    part = CreditAllocation
    return select(part.id, *(getattr(part, name) for name in PART)).where(
        part.source == bindparam("of_source"),
        part.source_tenant_id == bindparam("of_tenant"),
        part.kind.in_(kinds),
        getattr(part, owner) == func.any(bindparam("owners", type_=ARRAY(Text()))),
    )


@cache
def _delete() -> Delete:
    part = plain(CreditAllocation)
    return delete(part).where(part.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))))


@cache
def _insert() -> Clause:
    parts = rowset("parts", PART)
    memo = lateral_lookup(CreditMemo, {"external_id": parts.c.credit_external_id})
    invoice = lateral_lookup(Invoice, {"external_id": parts.c.invoice_external_id})
    is_of_memo = parts.c.kind == "credit_memo"
    values = {
        "source": bindparam("of_source"),
        "source_tenant_id": bindparam("of_tenant"),
        **{name: parts.c[name] for name in PART},
        "credit_memo_id": case((is_of_memo, memo.c.id)),
        "invoice_id": invoice.c.id,
    }
    joined = parts.outerjoin(memo, true()).outerjoin(invoice, true())
    return insert(plain(CreditAllocation)).from_select(list(values), select(*values.values()).select_from(joined))


@cache
def _join_payments() -> Clause:
    payment, come = plain(Payment), _come()
    values = {
        "invoice_id": come.c.id,
        "customer_id": func.coalesce(payment.c.customer_id, come.c.customer_id),
        "updated_at": func.now(),
    }
    return update(payment).where(_waits_for(payment, come)).values(values).returning(payment.c.id)


@cache
def _join_allocations() -> Update:
    part, come = plain(CreditAllocation), _come()
    return update(part).where(_waits_for(part, come)).values(invoice_id=come.c.id)


def _come() -> Relation:
    """Return the invoices that have come.

    They are read by id before anything is joined to them: during a first sync the tables have no statistics yet, and
    left to itself PostgreSQL goes through all of the organisation's invoices for every payment that waits.
    """
    invoice = plain(Invoice)
    columns = (invoice.c.id, invoice.c.source, invoice.c.source_tenant_id, invoice.c.external_id, invoice.c.customer_id)
    chosen = select(*columns).where(invoice.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))))
    return chosen.cte("come").prefix_with("MATERIALIZED")


def _waits_for(table: Relation, come: Relation) -> Clause:
    return (
        (table.c.source == come.c.source)
        & (table.c.source_tenant_id == come.c.source_tenant_id)
        & (table.c.invoice_external_id == come.c.external_id)
        & table.c.invoice_id.is_(None)
    )
