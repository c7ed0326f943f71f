"""What settles an invoice: allocations as the vendor tells them, and the joining of rows that came apart."""

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from sqlalchemy import Date, Text, Update, Uuid, bindparam, delete, except_all, func, select, union, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from app.billing.mirror.origin import Origin, is_older
from app.billing.records import AllocationRecord, CreditMemoRecord, InvoiceRecord
from app.billing.rows import Clause, Query, Relation, Types, encode, rowset
from app.billing.tables import CreditAllocation, CreditMemo, Instant, Invoice, Money, Payment
from app.db import Session

OWNER: Types = {"external_id": Text(), "vendor_updated_at": Instant}
ALLOCATION: Types = {
    "kind": Text(),
    "credit_external_id": Text(),
    "invoice_external_id": Text(),
    "amount": Money,
    "applied_on": Date(),
    "external_id": Text(),
}


async def replace_allocations(session: Session, origin: Origin, memos: Sequence[CreditMemoRecord]) -> set[UUID]:
    """Make the allocations of these memos the ones they list, unless what is known of the memo is newer.

    Returns:
        The memos whose allocations were not like that.
    """
    parts = [part for memo in memos for part in memo.allocations]
    return await _replace(session, origin, _of_credit_memos(), memos, parts)


async def replace_applied_credits(session: Session, origin: Origin, invoices: Sequence[InvoiceRecord]) -> set[UUID]:
    """Make the overpayments and prepayments applied to these invoices the ones they list, where they list any at all.

    Returns:
        The invoices whose applied credits were not like that.
    """
    telling = [invoice for invoice in invoices if invoice.applied_credits is not None]
    parts = [part for invoice in telling for part in invoice.applied_credits or ()]
    return await _replace(session, origin, _of_invoices(), telling, parts)


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
    session: Session,
    origin: Origin,
    statement: Query,
    owners: Sequence[CreditMemoRecord | InvoiceRecord],
    parts: Sequence[AllocationRecord],
) -> set[UUID]:
    if not owners:
        return set()
    stamps = [{"external_id": owner.external_id, "vendor_updated_at": owner.vendor_updated_at} for owner in owners]
    parameters = {**origin.parameters(), "owners": encode(stamps), "parts": encode(parts)}
    return set(await session.scalars(statement, parameters))


@cache
def _of_credit_memos() -> Query:
    return _statement(CreditMemo, "credit_external_id", ("credit_memo",))


@cache
def _of_invoices() -> Query:
    return _statement(Invoice, "invoice_external_id", ("overpayment", "prepayment"))


def _statement(table: Relation, owner: str, kinds: tuple[str, ...]) -> Query:
    """Compare the parts of each owner as a bag, and write anew the parts of those that differ."""
    accepted = _accept(table)
    wanted = _wanted(accepted, owner, kinds)
    known = _known(accepted, owner, kinds)
    differing = _differing(accepted, wanted, known, owner)
    gone = (
        delete(CreditAllocation)
        .where(CreditAllocation.id == known.c.id, known.c[owner] == differing.c.external_id)
        .cte("gone")
    )
    return select(differing.c.owner_id).add_cte(gone, _insert(wanted, differing, owner))


def _accept(table: Relation) -> Relation:
    owners = rowset("owners", OWNER)
    return (
        select(owners.c.external_id, table.id.label("owner_id"))
        .join(table, table.external_id == owners.c.external_id)
        .where(
            table.source == bindparam("of_source"),
            table.source_tenant_id == bindparam("of_tenant"),
            ~is_older(owners.c, table),
        )
        .cte("accepted")
    )


def _wanted(accepted: Relation, owner: str, kinds: tuple[str, ...]) -> Relation:
    parts = rowset("parts", ALLOCATION)
    chosen = select(*(parts.c[name] for name in ALLOCATION)).join(accepted, accepted.c.external_id == parts.c[owner])
    return chosen.where(parts.c.kind.in_(kinds)).cte("wanted")


def _known(accepted: Relation, owner: str, kinds: tuple[str, ...]) -> Relation:
    part = CreditAllocation
    chosen = select(part.id, *(getattr(part, name) for name in ALLOCATION))
    return (
        chosen.join(accepted, accepted.c.external_id == getattr(part, owner))
        .where(
            part.source == bindparam("of_source"),
            part.source_tenant_id == bindparam("of_tenant"),
            part.kind.in_(kinds),
        )
        .cte("known")
    )


def _differing(accepted: Relation, wanted: Relation, known: Relation, owner: str) -> Relation:
    left = select(*(wanted.c[name] for name in ALLOCATION))
    right = select(*(known.c[name] for name in ALLOCATION))
    added, removed = except_all(left, right).subquery("added"), except_all(right, left).subquery("removed")
    owners = union(select(added.c[owner]), select(removed.c[owner])).subquery("owners_that_differ")
    return select(accepted).join(owners, owners.c[owner] == accepted.c.external_id).cte("differing")


def _insert(wanted: Relation, differing: Relation, owner: str) -> Clause:
    of_organisation: dict[str, Clause] = {"source": bindparam("of_source"), "source_tenant_id": bindparam("of_tenant")}
    memo_id, invoice_id = (
        select(table.id)
        .where(
            *(getattr(table, name) == value for name, value in of_organisation.items()),
            table.external_id == wanted.c[column],
        )
        .scalar_subquery()
        for table, column in ((CreditMemo, "credit_external_id"), (Invoice, "invoice_external_id"))
    )
    chosen = select(*of_organisation.values(), *(wanted.c[name] for name in ALLOCATION), memo_id, invoice_id).join(
        differing, differing.c.external_id == wanted.c[owner]
    )
    names = [*of_organisation, *ALLOCATION, "credit_memo_id", "invoice_id"]
    return insert(CreditAllocation).from_select(names, chosen).cte("inserted")


def _is_waiting_for_one(table: Relation) -> Clause:
    return (
        (Invoice.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))))
        & (table.source == Invoice.source)
        & (table.source_tenant_id == Invoice.source_tenant_id)
        & (table.invoice_external_id == Invoice.external_id)
        & table.invoice_id.is_(None)
    )


@cache
def _join_payments() -> Clause:
    customer_id = func.coalesce(Payment.customer_id, Invoice.customer_id)
    values = {"invoice_id": Invoice.id, "customer_id": customer_id, "updated_at": func.now()}
    return update(Payment).where(_is_waiting_for_one(Payment)).values(values).returning(Payment.id)


@cache
def _join_allocations() -> Update:
    return update(CreditAllocation).where(_is_waiting_for_one(CreditAllocation)).values(invoice_id=Invoice.id)
