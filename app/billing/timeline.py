"""The timeline's billing events, derived from the rows they tell of.

An event is what its row says: one for each document and kind, found again by its `dedupe_key`. Recording is therefore
the same work for a row just written and for one that somebody else put into the tables; triggers would do it for both
as well, but would also make every foreign writer wait for them and hide the words in the schema.

A correction at the vendor (amount, number, issue date) corrects the event. When something was voided or deleted is told
by no column, so those events keep the instant they were first seen at.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Insert,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP, insert
from sqlalchemy.orm import aliased

from app.billing.recordset import Clause, Query, Relation, plain
from app.billing.tables import CreditMemo, Invoice, Payment, TimelineEvent
from app.db import Session

COLUMNS = (
    "source", "customer_id", "at", "kind", "title", "detail", "amount", "currency", "link", "subject_id", "dedupe_key",
)  # fmt: skip
ISSUED = ("open", "paid", "void")
PORTION = 50_000
SEEN_CHANGES = ("invoice_voided", "payment_deleted")


async def record(
    session: Session,
    *,
    invoices: Sequence[UUID] = (),
    payments: Sequence[UUID] = (),
    credit_memos: Sequence[UUID] = (),
) -> int:
    """Write the events that these rows tell of and that are not there, or not like this.

    Returns:
        How many events were written.
    """
    written = 0
    for table, ids in ((Invoice, invoices), (Payment, payments), (CreditMemo, credit_memos)):
        if ids:
            written += await session.scalar(_record(table, is_ours=True), {"ids": list(ids)}) or 0
    return written


async def record_other_vendors(session: Session, most: int = PORTION) -> int:
    """Write the events of rows that others put into the tables, as `record` does for ours.

    A row of ours carries the instant it was read at; others name the public columns only.

    Args:
        session: the caller's transaction.
        most: events of each kind of document, so that no statement runs for long; the rest is left to the next call.

    Returns:
        How many events were written.
    """
    written = 0
    for table in (Invoice, Payment, CreditMemo):
        written += await session.scalar(_record(table, is_ours=False), {"most": most}) or 0
    return written


@cache
def _record(table: Relation, *, is_ours: bool) -> Query:
    """Build the statement; events that are there already, word for word, are not touched."""
    which = table.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))) if is_ours else table.vendor_read_at.is_(None)
    told = _tell_all(table, which).subquery("told")
    known = select(TimelineEvent).where(TimelineEvent.dedupe_key == told.c.dedupe_key).limit(1).lateral("known")
    at = case((told.c.kind.in_(SEEN_CHANGES), func.coalesce(known.c.at, told.c.at)), else_=told.c.at)
    values = [at.label("at") if name == "at" else told.c[name] for name in COLUMNS]
    is_news = tuple_(*values).is_distinct_from(tuple_(*(known.c[name] for name in COLUMNS)))
    news = (
        select(*values)
        .select_from(told.outerjoin(known, true()))
        .where(or_(known.c.id.is_(None), is_news))
        .order_by(told.c.dedupe_key)
    )
    if not is_ours:
        news = news.limit(bindparam("most", type_=Integer()))
    writing = insert(plain(TimelineEvent)).from_select(list(COLUMNS), news)
    changes = {name: writing.excluded[name] for name in COLUMNS if name != "dedupe_key"}
    return _count(writing.on_conflict_do_update(index_elements=["dedupe_key"], set_=changes))


def _count(writing: Insert) -> Query:
    return select(func.count()).select_from(writing.returning(TimelineEvent.id).cte("written"))


def _tell_all(table: Relation, which: ColumnElement[bool]) -> CompoundSelect[*tuple[Any, ...]]:
    row = aliased(table, select(table).where(which).cte("rows_told_of").prefix_with("MATERIALIZED"))
    if table is Invoice:
        return union_all(*_tell_invoices(row))
    return union_all(*(_tell_payments(row) if table is Payment else _tell_credit_memos(row)))


def _tell_invoices(row: Relation) -> tuple[Query, ...]:
    name = func.coalesce(literal("Invoice ") + row.number, "Invoice")
    issued = _tell(row, "invoice_issued", row.issued_on, name + " issued", row.vendor_url)
    paid = _tell(row, "invoice_paid", row.paid_on, name + " paid", row.vendor_url)
    voided = _tell(row, "invoice_voided", None, name + " voided", row.vendor_url)
    return (
        issued.where(row.status.in_(ISSUED)),
        paid.where(row.status == "paid"),
        voided.where(row.status == "void"),
    )


def _tell_credit_memos(row: Relation) -> tuple[Query, ...]:
    name = func.coalesce(literal("Credit memo ") + row.number, "Credit memo")
    issued = _tell(row, "credit_memo_issued", row.issued_on, name + " issued", row.vendor_url)
    return (issued.where(row.status.in_(ISSUED)),)


def _tell_payments(row: Relation) -> tuple[Query, ...]:
    invoice = Invoice
    of_what = func.coalesce(literal(" for ") + invoice.number, "")
    received = _tell(row, "payment_received", row.paid_on, literal("Payment received") + of_what, invoice.vendor_url)
    deleted = _tell(row, "payment_deleted", None, literal("Payment deleted") + of_what, invoice.vendor_url)
    # A payment without a customer waits for its invoice, and is told of when that comes.
    is_told = row.customer_id.is_not(None)
    return (
        received.outerjoin(invoice, invoice.id == row.invoice_id).where(is_told),
        deleted.outerjoin(invoice, invoice.id == row.invoice_id).where(is_told, row.status == "deleted"),
    )


def _tell(row: Relation, kind: str, on: Clause, title: Clause, link: Clause) -> Query:
    """Select an event of each row; `on` is the column that tells the day, or None where none does."""
    seen_at = func.coalesce(row.vendor_updated_at, row.updated_at)
    at = seen_at if on is None else func.coalesce(func.timezone("UTC", on.cast(TIMESTAMP())), seen_at)
    is_payment = kind.startswith("payment_")
    touched = [row.invoice_external_id] if is_payment else []
    subject, _, _ = kind.rpartition("_")
    values = {
        "source": row.source,
        "customer_id": row.customer_id,
        "at": at,
        "kind": literal(kind, Text()),
        "title": title,
        "detail": row.reference,
        "amount": row.amount if is_payment else row.total,
        "currency": row.currency,
        "link": link,
        "subject_id": row.id,
        "dedupe_key": func.concat_ws(":", row.source, row.source_tenant_id, subject, row.external_id, *touched, kind),
    }
    return select(*(values[name].label(name) for name in COLUMNS)).select_from(row)
