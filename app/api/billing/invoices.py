"""The invoices of every vendor: the list, and one invoice with its payments and credits."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from app.api.billing.payments import Payment
from app.api.csv_table import MEDIA_TYPE, render_csv, wants_csv
from app.api.deps import Reader, ServicesDep, SnapshotDep, from_query
from app.api.errors import document_problems, not_found
from app.api.pagination import Page, PagingDep
from app.api.schemas import (
    Currency,
    Day,
    Id,
    Instant,
    Money,
    Rate,
    ResponseModel,
    Source,
    TenantId,
    WebLink,
    billing_day,
)
from app.billing import queries
from app.billing.records import CreditKind, DocumentStatus

MOST_CSV_ROWS = 10_000
AMOUNTS = frozenset({"exchange_rate", "subtotal", "tax", "total", "paid", "credited", "balance"})

router = APIRouter(prefix="/api/invoices", tags=["billing"])


class Invoice(ResponseModel):
    """A receivable; `total = balance + paid + credited`, all in `currency`."""

    id: Id
    source: Source
    tenant_id: TenantId
    external_id: str
    customer_id: Id
    number: str | None
    reference: str | None
    status: DocumentStatus
    overdue: bool
    currency: Currency
    exchange_rate: Rate | None
    subtotal: Money | None
    tax: Money | None
    total: Money
    paid: Money
    credited: Money
    balance: Money
    issued_on: Day | None
    due_on: Day | None
    paid_on: Day | None
    vendor_status: str | None
    vendor_url: WebLink
    vendor_updated_at: Instant | None


class Credit(ResponseModel):
    """A part of a credit memo, overpayment or prepayment applied to the invoice."""

    kind: CreditKind
    credit_memo_id: Id | None
    credit_external_id: str
    number: str | None
    amount: Money
    currency: Currency
    applied_on: Day | None


class InvoiceWithSettlement(Invoice):
    """An invoice with every payment, deleted ones too, and every credit."""

    payments: list[Payment]
    credits: list[Credit]


@router.get(
    "",
    response_model=Page[Invoice],
    responses={
        200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}},
        **document_problems("invalid_cursor"),
    },
)
async def list_invoices(
    _actor: Reader,
    request: Request,
    session: SnapshotDep,
    services: ServicesDep,
    paging: PagingDep,
    filters: Annotated[queries.InvoiceFilter, Depends(from_query(queries.InvoiceFilter))],
) -> Page[Invoice] | Response:
    """List invoices, newest first unless `sort` says otherwise.

    `search` looks into numbers, references and customers' names. With `Accept: text/csv` the first 10,000 of them come
    as CSV, whatever `limit` says; a text that a spreadsheet would take for a formula begins with an apostrophe there.
    """
    today = billing_day(services).today
    is_csv = wants_csv(request)
    limit = MOST_CSV_ROWS if is_csv else paging.limit + 1
    rows = await queries.list_invoices(session, filters, today, paging.after, limit)
    if is_csv:
        items = (Invoice.model_validate(row).model_dump(mode="json") for row in rows)
        return render_csv(tuple(Invoice.model_fields), items, AMOUNTS)
    return paging.page(rows, filters.order.position, Invoice.model_validate)


@router.get("/{invoice_id}", responses=document_problems("not_found"))
async def get_invoice(
    _actor: Reader, session: SnapshotDep, services: ServicesDep, invoice_id: UUID
) -> InvoiceWithSettlement:
    """Return one invoice with what was paid and credited on it."""
    row = await queries.find_invoice(session, invoice_id, billing_day(services).today)
    if row is None:
        raise not_found("invoice")
    settlement = {
        "payments": await queries.list_invoice_payments(session, invoice_id),
        "credits": await queries.list_invoice_credits(session, invoice_id),
    }
    return InvoiceWithSettlement.model_validate({**row._asdict(), **settlement}, from_attributes=True)
