"""Reading the neutral tables for the API: lists by page, and single rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints
from sqlalchemy import BindParameter, ColumnElement, Date, bindparam, func, or_, select

from app.billing.records import DocumentStatus, PaymentStatus
from app.billing.tables import (
    Alert,
    AlertSeverity,
    AlertStatus,
    CreditAllocation,
    CreditMemo,
    Customer,
    CustomerLink,
    DocumentTable,
    Invoice,
    LinkState,
    Payment,
)
from app.db import Session, Table
from app.paging import (
    AnyRow,
    AnySelect,
    ByName,
    HighestFirst,
    KeysetOrder,
    NewestFirst,
    OldestFirst,
    PagePosition,
    between,
    contains,
)

Search = Annotated[str, StringConstraints(max_length=200)]

MATCH_ORDER = ByName(CustomerLink.name, CustomerLink.id)
INVOICE_ORDER = NewestFirst(Invoice.issued_on, Invoice.id)
PAYMENT_ORDER = NewestFirst(Payment.paid_on, Payment.id)
CREDIT_MEMO_ORDER = NewestFirst(CreditMemo.issued_on, CreditMemo.id)
# By `first_seen_at`, which never changes: `last_seen_at` moves with every evaluation, also between two pages.
ALERT_ORDER = NewestFirst(Alert.first_seen_at, Alert.id)


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Which documents to list; None everywhere means all."""

    customer_id: UUID | None = None
    source: str | None = None
    tenant_id: str | None = None
    currency: str | None = None
    search: Search | None = None


@dataclass(frozen=True, slots=True)
class CreditMemoFilter(DocumentFilter):
    """Which credit memos to list; dates are inclusive."""

    status: DocumentStatus | None = None
    issued_from: date | None = None
    issued_to: date | None = None


class InvoiceSort(StrEnum):
    """The order of the invoices; a minus is newest or highest first."""

    ISSUED_ON = "-issued_on"
    DUE_ON = "due_on"
    BALANCE = "-balance"


INVOICE_ORDERS: Mapping[InvoiceSort, KeysetOrder] = {
    InvoiceSort.ISSUED_ON: INVOICE_ORDER,
    InvoiceSort.DUE_ON: OldestFirst(Invoice.due_on, Invoice.id),
    InvoiceSort.BALANCE: HighestFirst(Invoice.balance, Invoice.id),
}


@dataclass(frozen=True, slots=True)
class InvoiceFilter(CreditMemoFilter):
    """Which invoices to list and in which order; dates are inclusive, and `overdue` false means those that are not."""

    overdue: bool | None = None
    due_from: date | None = None
    due_to: date | None = None
    min_balance: Annotated[Decimal, Field(ge=0, max_digits=20)] | None = None
    sort: InvoiceSort = InvoiceSort.ISSUED_ON

    @property
    def order(self) -> KeysetOrder:
        """The order that the list is paged in."""
        return INVOICE_ORDERS[self.sort]


@dataclass(frozen=True, slots=True)
class PaymentFilter(DocumentFilter):
    """Which payments to list; dates are inclusive."""

    invoice_id: UUID | None = None
    status: PaymentStatus | None = None
    paid_from: date | None = None
    paid_to: date | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Which alerts to list; None everywhere means all."""

    status: AlertStatus | None = None
    severity: AlertSeverity | None = None
    trigger: str | None = None
    customer_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class MatchFilter:
    """Which links to list: of one state, of one organisation, by a part of the contact's name or e-mail address."""

    state: LinkState | None = None
    search: Search | None = None
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class AlertCounts:
    """How many alerts are open, by severity, acknowledged, and muted."""

    open: Mapping[AlertSeverity, int]
    acknowledged: int
    muted: int


async def find_customer(session: Session, customer_id: UUID) -> AnyRow | None:
    return await _find(session, _columns_statement(Customer).where(Customer.id == customer_id))


async def list_matches(
    session: Session, filters: MatchFilter, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the links after a position, by the contact's name."""
    statement = _columns_statement(CustomerLink)
    if filters.state:
        statement = statement.where(CustomerLink.state == filters.state)
    if filters.tenant_id:
        statement = statement.where(CustomerLink.source_tenant_id == filters.tenant_id)
    if filters.search:
        texts = (CustomerLink.name, CustomerLink.email)
        statement = statement.where(or_(*(contains(text, filters.search) for text in texts)))
    return await _read(session, MATCH_ORDER.page_after(statement, after, limit))


async def count_matches(session: Session) -> dict[LinkState, int]:
    """Return how many links are in each state."""
    counted = select(CustomerLink.state, func.count().label("links")).group_by(CustomerLink.state)
    found = {row.state: row.links for row in await session.execute(counted)}
    return {state: found.get(state, 0) for state in LinkState}


async def find_match(session: Session, link_id: UUID) -> AnyRow | None:
    return await _find(session, _columns_statement(CustomerLink).where(CustomerLink.id == link_id))


async def list_links(session: Session, customer_ids: Sequence[UUID]) -> dict[UUID, list[AnyRow]]:
    """Return the links of each of these customers."""
    statement = _columns_statement(CustomerLink).where(CustomerLink.customer_id.in_(customer_ids))
    rows = await _read(session, statement.order_by(CustomerLink.source, CustomerLink.name, CustomerLink.id))
    return _group_by("customer_id", customer_ids, rows)


async def list_invoices(
    session: Session, filters: InvoiceFilter, today: date, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the invoices after a position, each with `overdue`."""
    statement = _invoices_statement(today).where(
        *_document_conditions(Invoice, filters),
        *between(Invoice.issued_on, filters.issued_from, filters.issued_to),
        *between(Invoice.due_on, filters.due_from, filters.due_to),
    )
    if filters.min_balance is not None:
        statement = statement.where(Invoice.balance >= filters.min_balance)
    if filters.overdue is not None:
        statement = statement.where(Invoice.is_overdue(today) if filters.overdue else ~_is_overdue_or_false(today))
    return await _read(session, filters.order.page_after(statement, after, limit))


async def find_invoice(session: Session, invoice_id: UUID, today: date) -> AnyRow | None:
    return await _find(session, _invoices_statement(today).where(Invoice.id == invoice_id))


async def list_recent_invoices(session: Session, customer_id: UUID, today: date, limit: int) -> Sequence[AnyRow]:
    """Return the customer's newest invoices without those that the vendor deleted."""
    values = {"customer_id": customer_id, "today": today}
    return (await session.execute(_recent_invoices_statement(limit), values)).all()


async def list_payments(
    session: Session, filters: PaymentFilter, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the payments after a position, newest first."""
    statement = _columns_statement(Payment).where(
        *_document_conditions(Payment, filters), *between(Payment.paid_on, filters.paid_from, filters.paid_to)
    )
    if filters.invoice_id:
        statement = statement.where(Payment.invoice_id == filters.invoice_id)
    return await _read(session, PAYMENT_ORDER.page_after(statement, after, limit))


async def find_last_payment(session: Session, customer_id: UUID) -> AnyRow | None:
    """Return the customer's newest payment that is not deleted."""
    return (await session.execute(_last_payment_statement(), {"customer_id": customer_id})).one_or_none()


async def list_invoice_payments(session: Session, invoice_id: UUID) -> Sequence[AnyRow]:
    """Return every payment of an invoice, deleted ones too, oldest first."""
    statement = _columns_statement(Payment).where(Payment.invoice_id == invoice_id)
    return await _read(session, statement.order_by(Payment.paid_on, Payment.id))


async def list_invoice_credits(session: Session, invoice_id: UUID) -> Sequence[AnyRow]:
    """Return every credit applied to an invoice, with the credit memo's number and the invoice's currency."""
    statement = (
        select(*CreditAllocation.__table__.c, CreditMemo.number, Invoice.currency)
        .join(Invoice, Invoice.id == CreditAllocation.invoice_id)
        .outerjoin(CreditMemo, CreditMemo.id == CreditAllocation.credit_memo_id)
        .where(CreditAllocation.invoice_id == invoice_id)
        .order_by(CreditAllocation.applied_on, CreditAllocation.id)
    )
    return await _read(session, statement)


async def list_credit_memos(
    session: Session, filters: CreditMemoFilter, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the credit memos after a position, newest first."""
    statement = _columns_statement(CreditMemo).where(
        *_document_conditions(CreditMemo, filters),
        *between(CreditMemo.issued_on, filters.issued_from, filters.issued_to),
    )
    return await _read(session, CREDIT_MEMO_ORDER.page_after(statement, after, limit))


async def list_allocations(session: Session, credit_memo_ids: Sequence[UUID]) -> dict[UUID, list[AnyRow]]:
    """Return the allocations of each of these credit memos, oldest first."""
    statement = _columns_statement(CreditAllocation).where(CreditAllocation.credit_memo_id.in_(credit_memo_ids))
    rows = await _read(session, statement.order_by(CreditAllocation.applied_on, CreditAllocation.id))
    return _group_by("credit_memo_id", credit_memo_ids, rows)


async def list_alerts(
    session: Session, filters: AlertFilter, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the alerts after a position with their customers' names, newest first."""
    statement = _alerts_statement().where(*_equalities(Alert, filters, "status", "severity", "trigger", "customer_id"))
    return await _read(session, ALERT_ORDER.page_after(statement, after, limit))


async def count_alerts(session: Session) -> AlertCounts:
    """Return how many alerts there are that are not resolved."""
    unresolved = select(Alert.status, Alert.severity, func.count()).where(Alert.status != AlertStatus.RESOLVED)
    counts = {
        (status, severity): count
        for status, severity, count in await session.execute(unresolved.group_by(Alert.status, Alert.severity))
    }
    return AlertCounts(
        open={severity: counts.get((AlertStatus.OPEN, severity), 0) for severity in AlertSeverity},
        acknowledged=sum(counts.get((AlertStatus.ACKNOWLEDGED, severity), 0) for severity in AlertSeverity),
        muted=sum(counts.get((AlertStatus.MUTED, severity), 0) for severity in AlertSeverity),
    )


async def find_alert(session: Session, alert_id: UUID) -> AnyRow | None:
    return await _find(session, _alerts_statement().where(Alert.id == alert_id))


async def _read(session: Session, statement: AnySelect) -> Sequence[AnyRow]:
    return (await session.execute(statement)).all()


async def _find(session: Session, statement: AnySelect) -> AnyRow | None:
    return (await session.execute(statement)).one_or_none()


def _columns_statement(model: type[Table]) -> AnySelect:
    """Select a table's columns as plain rows rather than ORM objects, which nothing here changes."""
    return select(*model.__table__.c)


@cache
def _recent_invoices_statement(limit: int) -> AnySelect:
    is_shown = (Invoice.customer_id == bindparam("customer_id"), Invoice.status != DocumentStatus.DELETED)
    statement = _invoices_statement(bindparam("today", type_=Date())).where(*is_shown)
    return INVOICE_ORDER.page_after(statement, None, limit)


@cache
def _last_payment_statement() -> AnySelect:
    is_active = (Payment.status == PaymentStatus.ACTIVE, Payment.paid_on.is_not(None))
    statement = _columns_statement(Payment).where(Payment.customer_id == bindparam("customer_id"), *is_active)
    return PAYMENT_ORDER.page_after(statement, None, 1)


def _invoices_statement(today: date | BindParameter[date]) -> AnySelect:
    return select(*Invoice.__table__.c, _is_overdue_or_false(today).label("overdue"))


def _is_overdue_or_false(today: date | BindParameter[date]) -> ColumnElement[bool]:
    """Return `Invoice.is_overdue` with false instead of null for an invoice without a due date."""
    return func.coalesce(Invoice.is_overdue(today), False)


def _alerts_statement() -> AnySelect:
    return select(*Alert.__table__.c, Customer.name.label("customer_name")).join(
        Customer, Customer.id == Alert.customer_id
    )


def _document_conditions(
    model: DocumentTable, filters: InvoiceFilter | CreditMemoFilter | PaymentFilter
) -> list[ColumnElement[bool]]:
    """Return the conditions of the filters that all documents share."""
    conditions = _equalities(model, filters, "customer_id", "status", "source")
    if filters.tenant_id:
        conditions.append(model.source_tenant_id == filters.tenant_id)
    if filters.currency:
        conditions.append(model.currency == filters.currency.upper())
    if filters.search:
        conditions.append(_is_found_by(model, filters.search))
    return conditions


def _is_found_by(model: DocumentTable, words: str) -> ColumnElement[bool]:
    """Return the condition that a document's number, reference or customer's name contains the words."""
    texts = [getattr(model, name) for name in ("number", "reference") if hasattr(model, name)]
    customers = select(Customer.id).where(contains(Customer.name, words))
    return or_(*(contains(column, words) for column in texts), model.customer_id.in_(customers))


def _equalities(model: DocumentTable | type[Alert], filters: object, *names: str) -> list[ColumnElement[bool]]:
    """Return the conditions that columns equal the filters of the same name; a filter that is None is left out."""
    given = {name: getattr(filters, name) for name in names}
    return [getattr(model, name) == value for name, value in given.items() if value]


def _group_by(column: str, keys: Sequence[UUID], rows: Sequence[AnyRow]) -> dict[UUID, list[AnyRow]]:
    """Return the rows by the value of a column; a key without rows has an empty list."""
    groups: dict[UUID, list[AnyRow]] = {key: [] for key in keys}
    for row in rows:
        groups[getattr(row, column)].append(row)
    return groups
