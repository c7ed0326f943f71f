"""Writing invoices, credit memos and payments: one upsert statement for each, however many rows a page has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from uuid import UUID

from msgspec.structs import replace
from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    String,
    TableValuedAlias,
    Text,
    bindparam,
    case,
    cast,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON, insert

from app.billing.mirror.versions import ReadContext, is_older, lateral_lookup, stamp_to_compare
from app.billing.records import (
    Counts,
    CreditMemoRecord,
    DocumentStatus,
    InvoiceRecord,
    PaymentRecord,
    PaymentStatus,
    UpsertOutcome,
)
from app.billing.recordset import ColumnTypes, column_types, core_table, encode_rows, json_recordset
from app.billing.tables import CreditMemo, CustomerLink, DocumentTable, Invoice, Payment
from app.db import Instant, Session
from app.paging import AnySelect

DocumentRecord = InvoiceRecord | CreditMemoRecord | PaymentRecord

# The status whose first sight the vendor has no field for, and the column that keeps when it was.
ENDS: Mapping[DocumentTable, tuple[str, str]] = {
    Invoice: (DocumentStatus.VOID, "voided_at"),
    Payment: (PaymentStatus.DELETED, "deleted_at"),
}
DOCUMENT_KEY = ("external_id",)
PAYMENT_KEY = ("external_id", "invoice_external_id")


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """What an upsert did with the rows of a page.

    Attributes:
        external_ids: the vendor's ids by outcome.
        written_ids: our ids of the rows that were created or updated.
    """

    external_ids: Mapping[str, Sequence[str]] = field(default_factory=dict)
    written_ids: Sequence[UUID] = ()

    @property
    def counts(self) -> Counts:
        return Counts(**{outcome: len(ids) for outcome, ids in self.external_ids.items()})


async def write_invoices(session: Session, context: ReadContext, invoices: Sequence[InvoiceRecord]) -> UpsertResult:
    return await _upsert(session, context, _invoices_upsert_statement(), invoices)


async def write_credit_memos(
    session: Session, context: ReadContext, credit_memos: Sequence[CreditMemoRecord]
) -> UpsertResult:
    return await _upsert(session, context, _credit_memos_upsert_statement(), credit_memos)


async def write_payments(session: Session, context: ReadContext, payments: Sequence[PaymentRecord]) -> UpsertResult:
    return await _upsert(session, context, _payments_upsert_statement(), payments)


async def complete_currencies(
    session: Session, source: str, tenant_id: str, payments: Sequence[PaymentRecord]
) -> Sequence[PaymentRecord]:
    """Return the payments, those without a currency with the one that is stored for their invoice or for themselves.

    A payment for which neither is stored keeps None.

    Args:
        session: the caller's transaction.
        source: the vendor.
        tenant_id: whose payments.
        payments: as the vendor's response has them.
    """
    incomplete = [payment for payment in payments if payment.currency is None]
    if not incomplete:
        return payments
    known: dict[tuple[str, str], str] = {}
    for model, name in ((Payment, "external_id"), (Invoice, "invoice_external_id")):
        ids = [getattr(payment, name) for payment in incomplete]
        parameters = {"of_source": source, "of_tenant": tenant_id, "ids": ids}
        rows = await session.execute(_currencies_statement(model), parameters)
        known |= {(name, row.external_id): row.currency for row in rows}
    return [_with_currency(payment, known) for payment in payments]


def _with_currency(payment: PaymentRecord, known: Mapping[tuple[str, str], str]) -> PaymentRecord:
    """Return the payment with its own currency, its invoice's, or the one that is stored for it."""
    of_invoice = known.get(("invoice_external_id", payment.invoice_external_id))
    stored = known.get(("external_id", payment.external_id))
    return replace(payment, currency=payment.currency or of_invoice or stored)


@cache
def _currencies_statement(model: type[Invoice] | type[Payment]) -> AnySelect:
    return select(model.external_id, model.currency).where(
        model.source == bindparam("of_source"),
        model.source_tenant_id == bindparam("of_tenant"),
        model.external_id == func.any(bindparam("ids", type_=ARRAY(Text()))),
    )


async def _upsert(
    session: Session, context: ReadContext, statement: AnySelect, documents: Sequence[DocumentRecord]
) -> UpsertResult:
    if not documents:
        return UpsertResult()
    parameters = {**context.parameters(), "page": encode_rows(documents)}
    rows = (await session.execute(statement, parameters)).all()
    return UpsertResult({row.outcome: row.external_ids for row in rows}, (rows[0].ids if rows else None) or ())


@cache
def _invoices_upsert_statement() -> AnySelect:
    return _upsert_statement(Invoice, _vendor_columns(Invoice, InvoiceRecord, DOCUMENT_KEY), DOCUMENT_KEY)


@cache
def _credit_memos_upsert_statement() -> AnySelect:
    return _upsert_statement(CreditMemo, _vendor_columns(CreditMemo, CreditMemoRecord, DOCUMENT_KEY), DOCUMENT_KEY)


@cache
def _payments_upsert_statement() -> AnySelect:
    return _upsert_statement(Payment, _vendor_columns(Payment, PaymentRecord, PAYMENT_KEY), PAYMENT_KEY)


def _vendor_columns(model: DocumentTable, record: type[DocumentRecord], key: tuple[str, ...]) -> ColumnTypes:
    """Return the columns that are copied from the record: those it has a field for, without the key."""
    return column_types(model, set(record.__struct_fields__) - set(key))


def _upsert_statement(model: DocumentTable, vendor_columns: ColumnTypes, key: tuple[str, ...]) -> AnySelect:
    """Return the statement that compares the page with the stored rows and writes those that are new or changed.

    An unchanged row is neither written nor locked. The statement returns the external ids by outcome, and in each of
    its rows the ids of all rows written.
    """
    compared = _compare_cte(model, vendor_columns, key)
    invoice_reference = ["invoice_id"] if model is Payment else []
    copied = ["contact_external_id", "customer_id", *vendor_columns, *invoice_reference, *_end_columns(model)]
    written = _write_cte(model, compared, key, copied)
    ids = select(func.array_agg(written.c.id)).scalar_subquery()
    external_ids = func.array_agg(compared.c.external_id)
    return select(compared.c.outcome, external_ids.label("external_ids"), ids.label("ids")).group_by(compared.c.outcome)


def _write_cte(model: DocumentTable, compared: CTE, key: tuple[str, ...], copied: Sequence[str]) -> CTE:
    context_columns = {
        "source": bindparam("of_source"),
        "source_tenant_id": bindparam("of_tenant"),
        "vendor_read_at": bindparam("answered_at", type_=Instant),
    }
    chosen = (
        select(*context_columns.values(), *(compared.c[name] for name in (*key, *copied)))
        .where(compared.c.outcome.in_((UpsertOutcome.CREATED, UpsertOutcome.UPDATED)))
        .order_by(*(compared.c[name] for name in key))
    )
    table = core_table(model)
    statement = insert(table).from_select([*context_columns, *key, *copied], chosen)
    changes = {name: statement.excluded[name] for name in ("vendor_read_at", *copied)}
    upsert = statement.on_conflict_do_update(
        index_elements=["source", "source_tenant_id", *key], set_={**changes, "updated_at": func.now()}
    )
    return upsert.returning(table.c.id).cte("written")


def _compare_cte(model: DocumentTable, vendor_columns: ColumnTypes, key: tuple[str, ...]) -> CTE:
    """Return the page's rows, each with the customer and invoice it refers to and an `UpsertOutcome`."""
    page = json_recordset("page", {**dict.fromkeys(key, Text()), **vendor_columns, "contact": JSON()})
    stored = lateral_lookup(model, {name: page.c[name] for name in key})
    joined, references = _resolve_references(model, page, stored)
    references |= _end_values(model, page, stored)
    compared_values = {**dict(page.c.items()), "vendor_updated_at": stamp_to_compare(page, stored)}
    incoming_values = (*(compared_values[name] for name in vendor_columns), *references.values())
    stored_values = (*(stored.c[name] for name in vendor_columns), *(stored.c[name] for name in references))
    is_deleted_already = page.c.status == DocumentStatus.DELETED
    outcome = case(
        (
            stored.c.id.is_(None),
            case((is_deleted_already, UpsertOutcome.SKIPPED.value), else_=UpsertOutcome.CREATED.value),
        ),
        (is_older(page, stored), UpsertOutcome.SKIPPED.value),
        (tuple_(*incoming_values).is_not_distinct_from(tuple_(*stored_values)), UpsertOutcome.UNCHANGED.value),
        else_=UpsertOutcome.UPDATED.value,
    )
    columns = (
        *(page.c[name] for name in (*key, *vendor_columns)),
        *(value.label(name) for name, value in references.items()),
    )
    return select(*columns, outcome.label("outcome")).select_from(joined).cte("compared")


def _end_columns(model: DocumentTable) -> Sequence[str]:
    return [ENDS[model][1]] if model in ENDS else []


def _end_values(model: DocumentTable, page: TableValuedAlias, stored: FromClause) -> dict[str, ColumnElement[Any]]:
    """Return when the row was first seen voided or deleted, by column: what is stored of it, else its last change."""
    if model not in ENDS:
        return {}
    status, name = ENDS[model]
    read_at = cast(bindparam("answered_at"), Instant)
    first_seen = func.coalesce(stored.c[name], page.c.vendor_updated_at, read_at)
    return {name: case((page.c.status == status, first_seen))}


def _resolve_references(
    model: DocumentTable, page: TableValuedAlias, stored: FromClause
) -> tuple[FromClause, dict[str, ColumnElement[Any]]]:
    """Join the rows that a document refers to; return the join, and the values of the referring columns.

    What the page does not name, or what is not stored yet, keeps its stored value. A payment has the contact and the
    customer of its invoice: what the vendor says of them inside a payment may be older than the invoice.
    """
    contact_id = page.c.contact.op("->>", return_type=String())("external_id")
    link = lateral_lookup(CustomerLink, {"external_id": contact_id})
    joined = page.outerjoin(link, true()).outerjoin(stored, true())
    references: dict[str, ColumnElement[Any]] = {
        "contact_external_id": func.coalesce(contact_id, stored.c.contact_external_id),
        "customer_id": func.coalesce(link.c.customer_id, stored.c.customer_id),
    }
    if model is Payment:
        invoice = lateral_lookup(Invoice, {"external_id": page.c.invoice_external_id})
        joined = joined.outerjoin(invoice, true())
        references["invoice_id"] = func.coalesce(invoice.c.id, stored.c.invoice_id)
        for name in ("contact_external_id", "customer_id"):
            references[name] = func.coalesce(invoice.c[name], references[name])
    return joined, references
