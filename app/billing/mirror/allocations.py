"""Credit allocations of invoices, and references of payments and allocations to invoices that arrive after them."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlalchemy import (
    CTE,
    ColumnElement,
    Delete,
    Insert,
    Text,
    Update,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.mirror.versions import ReadContext, lateral_lookup
from app.billing.records import AllocationRecord, CreditKind, CreditMemoRecord, InvoiceRecord
from app.billing.recordset import column_types, core_table, encode_rows, json_recordset
from app.billing.tables import CreditAllocation, CreditMemo, Invoice, Payment
from app.db import Session
from app.paging import AnySelect

ALLOCATION_COLUMNS = column_types(CreditAllocation, AllocationRecord.__struct_fields__)

# The values of an allocation's columns. Two allocations may be equal in all of them, so they are compared as multisets.
AllocationValues = tuple[object, ...]


async def replace_allocations(
    session: Session, context: ReadContext, credit_memos: Iterable[CreditMemoRecord]
) -> set[str]:
    """Make the stored allocations of these credit memos equal to the ones they list.

    A credit memo whose response did not list them (`allocations` None) keeps what is stored.

    Returns:
        The external ids of the credit memos whose stored allocations were different.
    """
    listed = {one.external_id: one.allocations for one in credit_memos if one.allocations is not None}
    statement = _allocations_of_credit_memos_statement()
    return await _replace(session, context, statement, "credit_external_id", listed)


async def replace_applied_credits(
    session: Session, context: ReadContext, invoices: Iterable[InvoiceRecord]
) -> set[str]:
    """Make the stored overpayments and prepayments of these invoices equal to the ones they list.

    An invoice whose response did not list them (`applied_credits` None) keeps what is stored.

    Returns:
        The external ids of the invoices whose stored credits were different.
    """
    listed = {one.external_id: one.applied_credits for one in invoices if one.applied_credits is not None}
    return await _replace(session, context, _applied_credits_statement(), "invoice_external_id", listed)


async def resolve_invoice_references(session: Session, invoice_ids: Sequence[UUID]) -> None:
    """Set `invoice_id` on payments and allocations that were stored before these invoices."""
    if invoice_ids:
        await session.execute(_resolve_statement(), {"ids": list(invoice_ids)})


async def move_payments(session: Session, invoice_ids: Sequence[UUID]) -> None:
    """Move the payments of these invoices to the contact and customer that their invoice has by now.

    An allocation names neither: it follows by its invoice.
    """
    await session.execute(_move_payments_statement(), {"ids": list(invoice_ids)})


async def _replace(
    session: Session,
    context: ReadContext,
    stored_statement: AnySelect,
    owner_column: str,
    listed: Mapping[str, Sequence[AllocationRecord]],
) -> set[str]:
    """Replace the allocations of the owners whose stored ones differ from the listed ones; return those owners."""
    if not listed:
        return set()
    rows = (await session.execute(stored_statement, {**context.parameters(), "owners": list(listed)})).mappings().all()
    stored: dict[str, list[AllocationValues]] = defaultdict(list)
    for row in rows:
        stored[row[owner_column]].append(tuple(row[name] for name in ALLOCATION_COLUMNS))
    # Most documents have no allocation, neither stored nor listed.
    compared = stored.keys() | {owner for owner, records in listed.items() if records}
    differing = {owner for owner in compared if Counter(map(_values, listed[owner])) != Counter(stored[owner])}
    if differing:
        outdated = [row["id"] for row in rows if row[owner_column] in differing]
        records = [record for owner in sorted(differing) for record in listed[owner]]
        await session.execute(_delete_statement(), {"ids": outdated})
        await session.execute(_insert_statement(), {**context.parameters(), "allocations": encode_rows(records)})
    return differing


def _values(record: AllocationRecord) -> AllocationValues:
    return tuple(getattr(record, name) for name in ALLOCATION_COLUMNS)


@cache
def _allocations_of_credit_memos_statement() -> AnySelect:
    return _stored_statement("credit_external_id", (CreditKind.CREDIT_MEMO,))


@cache
def _applied_credits_statement() -> AnySelect:
    return _stored_statement("invoice_external_id", (CreditKind.OVERPAYMENT, CreditKind.PREPAYMENT))


def _stored_statement(owner_column: str, kinds: tuple[CreditKind, ...]) -> AnySelect:
    allocation = core_table(CreditAllocation).c
    return select(allocation.id, *(allocation[name] for name in ALLOCATION_COLUMNS)).where(
        allocation.source == bindparam("of_source"),
        allocation.source_tenant_id == bindparam("of_tenant"),
        allocation.kind.in_(kinds),
        allocation[owner_column] == func.any(bindparam("owners", type_=ARRAY(Text()))),
    )


@cache
def _delete_statement() -> Delete:
    allocation = core_table(CreditAllocation)
    return delete(allocation).where(allocation.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))))


@cache
def _insert_statement() -> Insert:
    records = json_recordset("allocations", ALLOCATION_COLUMNS)
    credit_memo = lateral_lookup(CreditMemo, {"external_id": records.c.credit_external_id})
    invoice = lateral_lookup(Invoice, {"external_id": records.c.invoice_external_id})
    is_of_credit_memo = records.c.kind == CreditKind.CREDIT_MEMO
    values = {
        "source": bindparam("of_source"),
        "source_tenant_id": bindparam("of_tenant"),
        **{name: records.c[name] for name in ALLOCATION_COLUMNS},
        "credit_memo_id": case((is_of_credit_memo, credit_memo.c.id)),
        "invoice_id": invoice.c.id,
    }
    joined = records.outerjoin(credit_memo, true()).outerjoin(invoice, true())
    chosen = select(*values.values()).select_from(joined)
    return insert(core_table(CreditAllocation)).from_select(list(values), chosen)


@cache
def _resolve_statement() -> Update:
    payment, allocation, invoices = core_table(Payment), core_table(CreditAllocation), _arrived_invoices_cte()
    owner = _owner_of_payment(payment, invoices)
    payments = (
        update(payment)
        .where(_is_unresolved_reference(payment, invoices))
        .values(invoice_id=invoices.c.id, **owner, updated_at=func.now())
    )
    is_unresolved = _is_unresolved_reference(allocation, invoices)
    allocations = update(allocation).where(is_unresolved).values(invoice_id=invoices.c.id)
    return allocations.add_cte(payments.cte("resolved_payments"))


@cache
def _move_payments_statement() -> Update:
    """Return the statement that moves payments whose invoice has another contact or customer by now."""
    payment, invoices = core_table(Payment), _arrived_invoices_cte()
    owner = _owner_of_payment(payment, invoices)
    is_elsewhere = tuple_(*owner.values()).is_distinct_from(tuple_(*(payment.c[name] for name in owner)))
    is_of_invoice = (payment.c.invoice_id == invoices.c.id) & (payment.c.source == invoices.c.source)
    return update(payment).where(is_of_invoice, is_elsewhere).values({**owner, "updated_at": func.now()})


def _owner_of_payment(payment: sqlalchemy.Table, invoices: CTE) -> dict[str, ColumnElement[Any]]:
    """Return the values of a payment's columns that its invoice decides."""
    contact_external_id = func.coalesce(invoices.c.contact_external_id, payment.c.contact_external_id)
    return {"customer_id": invoices.c.customer_id, "contact_external_id": contact_external_id}


def _arrived_invoices_cte() -> CTE:
    """Return the invoices of the parameter `ids`.

    MATERIALIZED reads them by id before anything is joined to them: in a first sync the tables have no statistics yet,
    and PostgreSQL would scan all of the tenant's invoices for every payment that waits for one.
    """
    invoice = core_table(Invoice).c
    key = (invoice.id, invoice.source, invoice.source_tenant_id, invoice.external_id)
    columns = (*key, invoice.customer_id, invoice.contact_external_id)
    chosen = select(*columns).where(invoice.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))))
    return chosen.cte("arrived_invoices").prefix_with("MATERIALIZED")


def _is_unresolved_reference(table: sqlalchemy.Table, invoices: CTE) -> ColumnElement[bool]:
    return (
        (table.c.source == invoices.c.source)
        & (table.c.source_tenant_id == invoices.c.source_tenant_id)
        & (table.c.invoice_external_id == invoices.c.external_id)
        & table.c.invoice_id.is_(None)
    )
