"""The timeline's billing events, derived from the documents and payments that they are about.

There is one event per document and kind, identified by its `dedupe_key`. Its values are derived from the row as it is
now, so one statement records the events of a row just written and of one that another service wrote. Triggers would
cover both as well, but every other service's writes would wait for them, and the texts would be in the schema.

A correction at the vendor (amount, number, issue date) corrects the event. No column tells when a document was voided
or a payment deleted, so such an event keeps the time at which it was first recorded.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    CompoundSelect,
    Insert,
    Integer,
    Select,
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

from app.billing.records import DocumentStatus, PaymentStatus
from app.billing.recordset import core_table
from app.billing.tables import CreditMemo, DocumentTable, Invoice, Payment, TimelineEvent, TimelineEventKind
from app.db import Session
from app.paging import AnySelect

EVENTS = core_table(TimelineEvent)
# Everything of an event but what the database fills in.
EVENT_COLUMNS = tuple(column.name for column in EVENTS.c if column.name not in {"id", "created_at"})
ISSUED_STATUSES = (DocumentStatus.OPEN, DocumentStatus.PAID, DocumentStatus.VOID)
PAYMENT_KINDS = (TimelineEventKind.PAYMENT_RECEIVED, TimelineEventKind.PAYMENT_DELETED)
# The kinds whose time is no column of the row.
UNDATED_KINDS = (TimelineEventKind.INVOICE_VOIDED, TimelineEventKind.PAYMENT_DELETED)
# The most events that one call records of other services' rows, for each table.
EVENTS_PER_CALL = 50_000


async def record_events(
    session: Session,
    *,
    invoice_ids: Sequence[UUID] = (),
    payment_ids: Sequence[UUID] = (),
    credit_memo_ids: Sequence[UUID] = (),
) -> int:
    """Write the events of these rows that are missing or different.

    Returns:
        How many events were written.
    """
    written = 0
    for model, ids in ((Invoice, invoice_ids), (Payment, payment_ids), (CreditMemo, credit_memo_ids)):
        if ids:
            written += await session.scalar(_record_statement(model, is_by_id=True), {"ids": list(ids)}) or 0
    return written


async def record_events_of_other_services(session: Session, limit: int = EVENTS_PER_CALL) -> int:
    """Write the missing and different events of rows that other services wrote: those without `vendor_read_at`.

    Args:
        session: the caller's transaction.
        limit: the most events per table, so that no statement runs long; the rest is left to the next call.

    Returns:
        How many events were written.
    """
    written = 0
    for model in (Invoice, Payment, CreditMemo):
        written += await session.scalar(_record_statement(model, is_by_id=False), {"limit": limit}) or 0
    return written


@cache
def _record_statement(model: DocumentTable, *, is_by_id: bool) -> Select[int]:
    """Return the statement that writes the events of some rows and returns how many; equal events are not touched.

    The rows are those of the parameter `ids`, or all of other services, up to the parameter `limit`.
    """
    changed = _changed_events_statement(_derived_events_statement(model, is_by_id=is_by_id))
    if not is_by_id:
        changed = changed.limit(bindparam("limit", type_=Integer()))
    statement = insert(EVENTS).from_select(list(EVENT_COLUMNS), changed)
    updates = {name: statement.excluded[name] for name in EVENT_COLUMNS if name != "dedupe_key"}
    return _count_statement(statement.on_conflict_do_update(index_elements=["dedupe_key"], set_=updates))


def _changed_events_statement(events: CompoundSelect[*tuple[Any, ...]]) -> AnySelect:
    """Return those of the events that are not stored, or stored with other values."""
    derived = events.subquery("derived")
    stored = select(EVENTS).where(EVENTS.c.dedupe_key == derived.c.dedupe_key).limit(1).lateral("stored")
    is_undated = derived.c.kind.in_(UNDATED_KINDS)
    at = case((is_undated, func.coalesce(stored.c.at, derived.c.at)), else_=derived.c.at)
    values = [at.label("at") if name == "at" else derived.c[name] for name in EVENT_COLUMNS]
    is_different = tuple_(*values).is_distinct_from(tuple_(*(stored.c[name] for name in EVENT_COLUMNS)))
    return (
        select(*values)
        .select_from(derived.outerjoin(stored, true()))
        .where(or_(stored.c.id.is_(None), is_different))
        .order_by(derived.c.dedupe_key)
    )


def _count_statement(statement: Insert) -> Select[int]:
    return select(func.count()).select_from(statement.returning(EVENTS.c.id).cte("written"))


def _derived_events_statement(model: DocumentTable, *, is_by_id: bool) -> CompoundSelect[*tuple[Any, ...]]:
    table = core_table(model)
    is_chosen = (
        table.c.id == func.any(bindparam("ids", type_=ARRAY(Uuid()))) if is_by_id else table.c.vendor_read_at.is_(None)
    )
    rows = select(table).where(is_chosen).cte("changed_rows").prefix_with("MATERIALIZED")
    if model is Invoice:
        return union_all(*_invoice_events_statements(rows))
    return union_all(*(_payment_events_statements(rows) if model is Payment else _credit_memo_events_statements(rows)))


def _invoice_events_statements(invoices: CTE) -> tuple[AnySelect, ...]:
    kind, row = TimelineEventKind, invoices.c
    name = func.coalesce(literal("Invoice ") + row.number, "Invoice")
    issued = _event_statement(invoices, kind.INVOICE_ISSUED, row.issued_on, name + " issued", row.vendor_url)
    paid = _event_statement(invoices, kind.INVOICE_PAID, row.paid_on, name + " paid", row.vendor_url)
    voided = _event_statement(invoices, kind.INVOICE_VOIDED, None, name + " voided", row.vendor_url)
    return (
        issued.where(row.status.in_(ISSUED_STATUSES)),
        paid.where(row.status == DocumentStatus.PAID),
        voided.where(row.status == DocumentStatus.VOID),
    )


def _credit_memo_events_statements(credit_memos: CTE) -> tuple[AnySelect, ...]:
    row = credit_memos.c
    title = func.coalesce(literal("Credit memo ") + row.number, "Credit memo") + " issued"
    issued = _event_statement(credit_memos, TimelineEventKind.CREDIT_MEMO_ISSUED, row.issued_on, title, row.vendor_url)
    return (issued.where(row.status.in_(ISSUED_STATUSES)),)


def _payment_events_statements(payments: CTE) -> tuple[AnySelect, ...]:
    kind, row, invoice = TimelineEventKind, payments.c, core_table(Invoice)
    of_invoice = func.coalesce(literal(" for ") + invoice.c.number, "")
    received_title, deleted_title = (literal(text) + of_invoice for text in ("Payment received", "Payment deleted"))
    url = invoice.c.vendor_url
    with_invoice = payments.outerjoin(invoice, invoice.c.id == row.invoice_id)
    received = _event_statement(payments, kind.PAYMENT_RECEIVED, row.paid_on, received_title, url)
    deleted = _event_statement(payments, kind.PAYMENT_DELETED, None, deleted_title, url)
    # A payment without a customer waits for its invoice; its events are recorded when that arrives.
    has_customer = row.customer_id.is_not(None)
    return (
        received.select_from(with_invoice).where(has_customer),
        deleted.select_from(with_invoice).where(has_customer, row.status == PaymentStatus.DELETED),
    )


def _event_statement(
    rows: CTE,
    kind: TimelineEventKind,
    date_column: ColumnElement[Any] | None,
    title: ColumnElement[Any],
    link: ColumnElement[Any],
) -> AnySelect:
    """Return the event of one kind for each row, as `EVENT_COLUMNS`.

    Args:
        rows: invoices, credit memos or payments.
        kind: of the event; it begins with the word for the row.
        date_column: the day of the event, or None where no column tells it.
        title: what a person reads.
        link: the row's address at the vendor.
    """
    row = rows.c
    seen_at = func.coalesce(row.vendor_updated_at, row.updated_at)
    midnight = None if date_column is None else func.timezone("UTC", date_column.cast(TIMESTAMP()))
    is_payment = kind in PAYMENT_KINDS
    # One payment can be split over several invoices, each of which is a row and an event of its own.
    split = [row.invoice_external_id] if is_payment else []
    subject, _, _ = kind.rpartition("_")
    dedupe_key = func.concat_ws(":", row.source, row.source_tenant_id, subject, row.external_id, *split, kind.value)
    values = {
        "source": row.source,
        "customer_id": row.customer_id,
        "at": seen_at if midnight is None else func.coalesce(midnight, seen_at),
        "kind": literal(kind, Text()),
        "title": title,
        "detail": row.reference,
        "amount": row.amount if is_payment else row.total,
        "currency": row.currency,
        "link": link,
        "subject_id": row.id,
        "dedupe_key": dedupe_key,
    }
    return select(*(values[name].label(name) for name in EVENT_COLUMNS)).select_from(rows)
