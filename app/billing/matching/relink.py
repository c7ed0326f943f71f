"""Moving a link to another customer, together with everything that belongs to the link.

What belongs to a link: the documents of its contact, with their timeline events, and their alerts. Documents of another
service that name no contact belong to the link when it is the only one of its tenant at its customer.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

import sqlalchemy
from sqlalchemy import (
    CTE,
    ColumnElement,
    Delete,
    Select,
    TableValuedAlias,
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

from app.billing.recordset import core_table, encode_rows, json_recordset
from app.billing.tables import (
    Alert,
    CreditMemo,
    Customer,
    CustomerLink,
    Invoice,
    LinkState,
    MatchedBy,
    Payment,
    Service,
)
from app.billing.timeline import ExternalTimelineEvent
from app.db import Session
from app.paging import AnySelect

INVOICES, PAYMENTS, CREDIT_MEMOS = DOCUMENTS = tuple(map(core_table, (Invoice, Payment, CreditMemo)))
LINKS = core_table(CustomerLink)
CUSTOMERS = core_table(Customer)
# Everything of a customer but its links: the other tables that have a `customer_id`.
ROWS_OF_CUSTOMERS = (*DOCUMENTS, *map(core_table, (Service, Alert, ExternalTimelineEvent)))


@dataclass(frozen=True, slots=True)
class LinkMove:
    """A link, the customer it moves to, and its `matched_by` and `state` from then on."""

    link_id: UUID
    customer_id: UUID
    matched_by: MatchedBy
    state: LinkState


async def move_links(session: Session, moves: Sequence[LinkMove], *, is_merging: bool = False) -> None:
    """Move links and what belongs to them, and delete the customers that nothing refers to any more.

    A customer of the PSA is never deleted, and neither is one that still has rows.

    Args:
        session: a transaction that has locked every tenant concerned.
        moves: each link once.
        is_merging: also move what is left at a customer without links, such as rows that another service wrote for
            it directly. Set for decisions of a person or the PSA; a sync never moves such rows.
    """
    if not moves:
        return
    parameters = {"moves": encode_rows(moves)}
    affected = await session.execute(_affected_customers_statement(), parameters)
    pairs = [(row.from_id, row.to_id) for row in affected]
    await session.execute(_move_documents_statement(), parameters)
    await session.execute(_move_links_statement(), parameters)
    if is_merging:
        await _move_remaining_rows(session, pairs)
    await delete_empty_customers(session, {from_id for from_id, _ in pairs})


async def delete_empty_customers(session: Session, customer_ids: Iterable[UUID]) -> None:
    """Delete those of the customers that are not the PSA's and that no row refers to.

    They are locked first: a transaction that is about to refer to one has either written its row before the rows are
    looked for, or finds the customer deleted.
    """
    ids = list(customer_ids)
    if ids:
        await session.execute(_lock_customers_statement(), {"ids": ids})
        await session.execute(_delete_empty_customers_statement(), {"ids": ids})


async def _move_remaining_rows(session: Session, pairs: Sequence[tuple[UUID, UUID]]) -> None:
    """Move what is left at customers whose links all went to the same customer; `pairs` are (from, to)."""
    targets: dict[UUID, set[UUID]] = {}
    for from_id, to_id in pairs:
        targets.setdefault(from_id, set()).add(to_id)
    merges = [{"from_id": from_id, "to_id": next(iter(found))} for from_id, found in targets.items() if len(found) == 1]
    if merges:
        for statement in _move_remaining_rows_statements():
            await session.execute(statement, {"merges": encode_rows(merges)})


def _moves() -> TableValuedAlias:
    return json_recordset("moves", {"link_id": Uuid(), "customer_id": Uuid(), "matched_by": Text(), "state": Text()})


@cache
def _affected_customers_statement() -> AnySelect:
    """Return the pairs of customers (`from_id`, `to_id`) between which links move."""
    moves = _moves()
    return (
        select(LINKS.c.customer_id.label("from_id"), moves.c.customer_id.label("to_id"))
        .distinct()
        .select_from(LINKS.join(moves, moves.c.link_id == LINKS.c.id))
        .where(LINKS.c.customer_id != moves.c.customer_id)
    )


@cache
def _move_links_statement() -> Update:
    moves = _moves()
    values = {name: moves.c[name] for name in ("customer_id", "matched_by", "state")}
    return update(LINKS).where(LINKS.c.id == moves.c.link_id).values(**values, updated_at=func.now())


@cache
def _move_documents_statement() -> Update:
    """Return one statement that moves the documents, and by their ids their alerts and the events that name them."""
    moved_links = _moved_links_cte()
    by_contact = {table: _move_by_contact_cte(table, moved_links) for table in DOCUMENTS}
    without_contact = [_move_without_contact_cte(table, moved_links) for table in DOCUMENTS]
    of_invoices = _move_payments_cte(by_contact[INVOICES])
    moves = (*by_contact.values(), *without_contact, of_invoices)
    documents = union_all(*(select(moved.c.id, moved.c.customer_id) for moved in moves)).cte("documents")
    alerts, events = (
        update(table).where(table.c.subject_id == documents.c.id).values(customer_id=documents.c.customer_id)
        for table in (core_table(Alert), core_table(ExternalTimelineEvent))
    )
    return events.add_cte(alerts.cte("alerts"))


def _moved_links_cte() -> CTE:
    """Return the links that change their customer; `is_only_link` says that the customer has no other of the tenant."""
    moves, other = _moves(), LINKS.alias()
    has_other = exists().where(
        other.c.customer_id == LINKS.c.customer_id,
        other.c.source == LINKS.c.source,
        other.c.source_tenant_id == LINKS.c.source_tenant_id,
        other.c.id != LINKS.c.id,
    )
    return (
        select(
            LINKS.c.source,
            LINKS.c.source_tenant_id,
            LINKS.c.external_id,
            LINKS.c.customer_id.label("from_id"),
            moves.c.customer_id.label("to_id"),
            (LINKS.c.vendor_read_at.is_(None) & ~has_other).label("is_only_link"),
        )
        .select_from(LINKS.join(moves, moves.c.link_id == LINKS.c.id))
        .where(LINKS.c.customer_id != moves.c.customer_id)
        .cte("moved_links")
    )


def _move_by_contact_cte(table: sqlalchemy.Table, moved_links: CTE) -> CTE:
    """Move the documents that name a moved link's contact."""
    is_of_link = _is_same_tenant(table, moved_links) & (table.c.contact_external_id == moved_links.c.external_id)
    return _reassign_cte(table, is_of_link, moved_links.c.to_id, f"{table.name}_by_contact")


def _move_without_contact_cte(table: sqlalchemy.Table, moved_links: CTE) -> CTE:
    """Move the documents of another service that name no contact, where the link is the customer's only one."""
    is_of_link = (
        moved_links.c.is_only_link
        & _is_same_tenant(table, moved_links)
        & table.c.contact_external_id.is_(None)
        & (table.c.customer_id == moved_links.c.from_id)
    )
    return _reassign_cte(table, is_of_link, moved_links.c.to_id, f"{table.name}_without_contact")


def _move_payments_cte(invoices: CTE) -> CTE:
    """Move the payments that name no contact with the invoice they pay."""
    is_of_invoice = (PAYMENTS.c.invoice_id == invoices.c.id) & PAYMENTS.c.contact_external_id.is_(None)
    return _reassign_cte(PAYMENTS, is_of_invoice, invoices.c.customer_id, "payments_of_invoices")


def _is_same_tenant(table: sqlalchemy.Table, moved_links: CTE) -> ColumnElement[bool]:
    return (table.c.source == moved_links.c.source) & (table.c.source_tenant_id == moved_links.c.source_tenant_id)


def _reassign_cte(
    table: sqlalchemy.Table, condition: ColumnElement[bool], customer_id: ColumnElement[Any], name: str
) -> CTE:
    values = {"customer_id": customer_id, "updated_at": func.now()}
    return update(table).where(condition).values(values).returning(table.c.id, table.c.customer_id).cte(name)


@cache
def _move_remaining_rows_statements() -> tuple[Update, ...]:
    merges = json_recordset("merges", {"from_id": Uuid(), "to_id": Uuid()})
    has_link = exists().where(LINKS.c.customer_id == merges.c.from_id)
    is_of_psa = exists().where(CUSTOMERS.c.id == merges.c.from_id, CUSTOMERS.c.psa_external_id.is_not(None))
    return tuple(
        update(table)
        .where(table.c.customer_id == merges.c.from_id, ~has_link, ~is_of_psa)
        .values(customer_id=merges.c.to_id)
        for table in ROWS_OF_CUSTOMERS
    )


@cache
def _lock_customers_statement() -> Select[UUID]:
    return select(CUSTOMERS.c.id).where(_is_deletable()).order_by(CUSTOMERS.c.id).with_for_update()


@cache
def _delete_empty_customers_statement() -> Delete:
    is_empty = (~exists().where(table.c.customer_id == CUSTOMERS.c.id) for table in (LINKS, *ROWS_OF_CUSTOMERS))
    return delete(CUSTOMERS).where(_is_deletable(), *is_empty)


def _is_deletable() -> ColumnElement[bool]:
    """Return the condition that a customer is one of the parameter `ids`, and not the PSA's."""
    is_asked_for = CUSTOMERS.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid())))
    return is_asked_for & CUSTOMERS.c.psa_external_id.is_(None)
