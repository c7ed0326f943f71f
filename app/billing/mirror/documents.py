"""Invoices, credit memos and payments: one statement each, whatever the page holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from uuid import UUID

from sqlalchemy import Date, String, Text, bindparam, case, func, select, true, tuple_
from sqlalchemy.dialects.postgresql import JSON, insert

from app.billing.mirror.versions import ReadContext, is_older, lateral_lookup
from app.billing.records import Counts, CreditMemoRecord, InvoiceRecord, PaymentRecord
from app.billing.recordset import Query, Relation, Types, encode, rowset
from app.billing.tables import CreditMemo, CustomerLink, Invoice, Money, Payment
from app.db import Instant, Session

Document = InvoiceRecord | CreditMemoRecord | PaymentRecord

INVOICE: Types = {
    "number": Text(),
    "reference": Text(),
    "status": Text(),
    "vendor_status": Text(),
    "currency": Text(),
    "exchange_rate": Money,
    "subtotal": Money,
    "tax": Money,
    "total": Money,
    "paid": Money,
    "credited": Money,
    "balance": Money,
    "issued_on": Date(),
    "due_on": Date(),
    "paid_on": Date(),
    "vendor_url": Text(),
    "vendor_updated_at": Instant,
}
CREDIT_MEMO: Types = {
    "number": Text(),
    "reference": Text(),
    "status": Text(),
    "vendor_status": Text(),
    "currency": Text(),
    "exchange_rate": Money,
    "total": Money,
    "remaining": Money,
    "issued_on": Date(),
    "vendor_url": Text(),
    "vendor_updated_at": Instant,
}
PAYMENT: Types = {
    "amount": Money,
    "currency": Text(),
    "exchange_rate": Money,
    "paid_on": Date(),
    "reference": Text(),
    "status": Text(),
    "vendor_updated_at": Instant,
}


@dataclass(frozen=True, slots=True)
class Written:
    """What happened to a page's rows.

    Attributes:
        keys: the external ids by verdict: `created`, `updated`, `unchanged`, `skipped`.
        ids: of the rows that were created or updated.
    """

    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ids: Sequence[UUID] = ()

    @property
    def counts(self) -> Counts:
        return Counts(**{verdict: len(keys) for verdict, keys in self.keys.items()})


async def write_invoices(session: Session, context: ReadContext, invoices: Sequence[InvoiceRecord]) -> Written:
    return await _write(session, context, _write_invoices(), invoices)


async def write_credit_memos(session: Session, context: ReadContext, memos: Sequence[CreditMemoRecord]) -> Written:
    return await _write(session, context, _write_credit_memos(), memos)


async def write_payments(session: Session, context: ReadContext, payments: Sequence[PaymentRecord]) -> Written:
    return await _write(session, context, _write_payments(), payments)


async def _write(session: Session, context: ReadContext, statement: Query, documents: Sequence[Document]) -> Written:
    if not documents:
        return Written()
    rows = (await session.execute(statement, {**context.parameters(), "page": encode(documents)})).all()
    return Written({row.verdict: row.external_ids for row in rows}, (rows[0].ids if rows else None) or ())


@cache
def _write_invoices() -> Query:
    return _statement(Invoice, INVOICE, ("external_id",))


@cache
def _write_credit_memos() -> Query:
    return _statement(CreditMemo, CREDIT_MEMO, ("external_id",))


@cache
def _write_payments() -> Query:
    return _statement(Payment, PAYMENT, ("external_id", "invoice_external_id"))


def _statement(table: Relation, types: Types, key: tuple[str, ...]) -> Query:
    """Judge each row against the one that is there, then write those that are new or say something new.

    Rows that say nothing new are not even locked, so they cost no write.
    """
    judged = _judge(table, types, key)
    copied = ["contact_external_id", "customer_id", *types, *(["invoice_id"] if table is Payment else [])]
    names = ["source", "source_tenant_id", "vendor_read_at", *key, *copied]
    chosen = (
        select(
            bindparam("of_source"),
            bindparam("of_tenant"),
            bindparam("answered_at", type_=Instant),
            *(judged.c[name] for name in (*key, *copied)),
        )
        .where(judged.c.verdict.in_(("created", "updated")))
        .order_by(*(judged.c[name] for name in key))
    )
    writing = insert(table).from_select(names, chosen)
    values = {name: writing.excluded[name] for name in ("vendor_read_at", *copied)}
    written = (
        writing.on_conflict_do_update(
            index_elements=["source", "source_tenant_id", *key], set_={**values, "updated_at": func.now()}
        )
        .returning(table.id)
        .cte("written")
    )
    ids = select(func.array_agg(written.c.id)).scalar_subquery()
    external_ids = func.array_agg(judged.c.external_id)
    return select(judged.c.verdict, external_ids.label("external_ids"), ids.label("ids")).group_by(judged.c.verdict)


def _judge(table: Relation, types: Types, key: tuple[str, ...]) -> Relation:
    page = rowset("page", {**dict.fromkeys(key, Text()), **types, "contact": JSON()})
    contact_id = page.c.contact.op("->>", return_type=String())("external_id")
    link = lateral_lookup(CustomerLink, {"external_id": contact_id})
    known = lateral_lookup(table, {name: page.c[name] for name in key})
    joined = page.outerjoin(link, true()).outerjoin(known, true())
    derived = {
        "contact_external_id": func.coalesce(contact_id, known.c.contact_external_id),
        "customer_id": func.coalesce(link.c.customer_id, known.c.customer_id),
    }
    if table is Payment:
        invoice = lateral_lookup(Invoice, {"external_id": page.c.invoice_external_id})
        joined = joined.outerjoin(invoice, true())
        derived["invoice_id"] = func.coalesce(invoice.c.id, known.c.invoice_id)
        derived["customer_id"] = func.coalesce(link.c.customer_id, invoice.c.customer_id, known.c.customer_id)
    told = (*(page.c[name] for name in types), *derived.values())
    kept = (*(known.c[name] for name in types), *(known.c[name] for name in derived))
    verdict = case(
        (known.c.id.is_(None), case((page.c.status == "deleted", "skipped"), else_="created")),
        (is_older(page.c, known.c), "skipped"),
        (tuple_(*told).is_not_distinct_from(tuple_(*kept)), "unchanged"),
        else_="updated",
    )
    columns = (*(page.c[name] for name in (*key, *types)), *(value.label(name) for name, value in derived.items()))
    return select(*columns, verdict.label("verdict")).select_from(joined).cte("judged")
