"""Moving a link to another customer, with everything that belongs to it, in the caller's transaction.

What belongs to a link: the documents that name its contact, their timeline events and their alerts. Rows of a vendor
whose writer names no contact belong to the link when it is the only one of that organisation at its customer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from uuid import UUID

from sqlalchemy import (
    Delete,
    Text,
    Update,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import aliased

from app.billing.recordset import Clause, Query, Relation, encode, plain, rowset
from app.billing.tables import (
    Alert,
    CreditMemo,
    Customer,
    CustomerLink,
    Invoice,
    Payment,
    Service,
    TimelineEvent,
)
from app.db import Session

DOCUMENTS = (Invoice, Payment, CreditMemo)
HOLDERS = (CustomerLink, *DOCUMENTS, Service, Alert, TimelineEvent)


@dataclass(frozen=True, slots=True)
class LinkMove:
    """A link, the customer it goes to, and what is said of the match from then on."""

    link_id: UUID
    customer_id: UUID
    matched_by: str
    state: str


async def move_links(session: Session, moves: Sequence[LinkMove], *, is_merging: bool = False) -> None:
    """Move links and what belongs to them; customers that nothing refers to any more disappear.

    A customer of the PSA never disappears, and neither does one that still has rows.

    Args:
        session: a transaction that has the turn of every organisation concerned.
        moves: each link once.
        is_merging: also move what is left at a customer without links, such as rows that another vendor's writer put
            there directly. A person or the PSA may decide that; a sync never touches such rows.
    """
    if not moves:
        return
    parameters = {"moves": encode(moves)}
    ways = [(row.from_id, row.to_id) for row in await session.execute(_affected_customers(), parameters)]
    await session.execute(_move_documents(), parameters)
    await session.execute(_move_links(), parameters)
    if is_merging:
        await _merge_rest(session, ways)
    await drop_empty_customers(session, {left for left, _ in ways})


async def drop_empty_customers(session: Session, customer_ids: Iterable[UUID]) -> None:
    """Delete those of the customers that are not the PSA's and that nothing refers to.

    They are locked first: whoever is about to refer to one has either done so before we look, or finds it gone.
    """
    ids = list(customer_ids)
    if ids:
        await session.execute(_lock_customers(), {"ids": ids})
        await session.execute(_drop_customers(), {"ids": ids})


async def _merge_rest(session: Session, ways: Sequence[tuple[UUID, UUID]]) -> None:
    goals: dict[UUID, set[UUID]] = {}
    for left, goal in ways:
        goals.setdefault(left, set()).add(goal)
    rest = [{"from_id": left, "to_id": next(iter(found))} for left, found in goals.items() if len(found) == 1]
    if rest:
        for statement in _merges():
            await session.execute(statement, {"rest": encode(rest)})


def _moves() -> Relation:
    return rowset("moves", {"link_id": Uuid(), "customer_id": Uuid(), "matched_by": Text(), "state": Text()})


@cache
def _affected_customers() -> Query:
    moves, link = _moves(), CustomerLink
    joined = select(link.customer_id.label("from_id"), moves.c.customer_id.label("to_id")).distinct()
    return joined.join(moves, moves.c.link_id == link.id).where(link.customer_id != moves.c.customer_id)


@cache
def _move_links() -> Update:
    moves, link = _moves(), plain(CustomerLink)
    values = {name: moves.c[name] for name in ("customer_id", "matched_by", "state")}
    return update(link).where(link.c.id == moves.c.link_id).values(**values, updated_at=func.now())


@cache
def _move_documents() -> Update:
    """Move the documents, then by their ids the events and alerts, in one statement."""
    moved = _moved()
    by_contact = {table: _move_by_contact(table, moved) for table in DOCUMENTS}
    unnamed = [_move_unnamed(table, moved) for table in DOCUMENTS]
    of_invoice = _move_payments_of(by_contact[Invoice])
    rows = union_all(*(select(part.c.id, part.c.customer_id) for part in (*by_contact.values(), *unnamed, of_invoice)))
    gone = rows.cte("documents")
    alerts, events = (
        update(table).where(table.c.subject_id == gone.c.id).values(customer_id=gone.c.customer_id)
        for table in (plain(Alert), plain(TimelineEvent))
    )
    return events.add_cte(alerts.cte("alerts"))


def _moved() -> Relation:
    moves, link, other = _moves(), CustomerLink, aliased(CustomerLink)
    is_beside = exists().where(
        other.customer_id == link.customer_id,
        other.source == link.source,
        other.source_tenant_id == link.source_tenant_id,
        other.id != link.id,
    )
    chosen = select(
        link.source,
        link.source_tenant_id,
        link.external_id,
        link.customer_id.label("from_id"),
        moves.c.customer_id.label("to_id"),
        (link.vendor_read_at.is_(None) & ~is_beside).label("is_lone"),
    )
    joined = chosen.join(moves, moves.c.link_id == link.id)
    return joined.where(link.customer_id != moves.c.customer_id).cte("moved")


def _move_by_contact(table: Relation, moved: Relation) -> Clause:
    condition = _is_of_organisation(table, moved) & (table.contact_external_id == moved.c.external_id)
    return _reassign(table, condition, moved.c.to_id, f"{table.__tablename__}_by_contact")


def _move_unnamed(table: Relation, moved: Relation) -> Clause:
    condition = (
        moved.c.is_lone
        & _is_of_organisation(table, moved)
        & table.contact_external_id.is_(None)
        & (table.customer_id == moved.c.from_id)
    )
    return _reassign(table, condition, moved.c.to_id, f"{table.__tablename__}_unnamed")


def _move_payments_of(invoices: Relation) -> Clause:
    condition = (Payment.invoice_id == invoices.c.id) & Payment.contact_external_id.is_(None)
    return _reassign(Payment, condition, invoices.c.customer_id, "payments_of_invoices")


def _is_of_organisation(table: Relation, moved: Relation) -> Clause:
    return (table.source == moved.c.source) & (table.source_tenant_id == moved.c.source_tenant_id)


def _reassign(table: Relation, condition: Clause, customer_id: Clause, name: str) -> Clause:
    values = {"customer_id": customer_id, "updated_at": func.now()}
    return update(table).where(condition).values(values).returning(table.id, table.customer_id).cte(name)


@cache
def _merges() -> tuple[Update, ...]:
    rest = rowset("rest", {"from_id": Uuid(), "to_id": Uuid()})
    has_link = exists().where(CustomerLink.customer_id == rest.c.from_id)
    is_of_psa = exists().where(Customer.id == rest.c.from_id, Customer.psa_external_id.is_not(None))
    return tuple(
        update(table)
        .where(table.c.customer_id == rest.c.from_id, ~has_link, ~is_of_psa)
        .values(customer_id=rest.c.to_id)
        for table in map(plain, HOLDERS)
        if table.name != CustomerLink.__tablename__
    )


@cache
def _lock_customers() -> Query:
    customer = plain(Customer)
    return select(customer.c.id).where(_is_own_making(customer)).order_by(customer.c.id).with_for_update()


@cache
def _drop_customers() -> Delete:
    customer = plain(Customer)
    is_empty = (~exists().where(holder.c.customer_id == customer.c.id) for holder in map(plain, HOLDERS))
    return delete(customer).where(_is_own_making(customer), *is_empty)


def _is_own_making(customer: Relation) -> Clause:
    named = customer.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid())))
    return named & customer.c.psa_external_id.is_(None)
