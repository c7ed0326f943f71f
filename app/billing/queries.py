"""The lists and the single rows of the hub, read from the neutral tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import StringConstraints
from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_

from app.billing.records import DocumentStatus, PaymentStatus
from app.billing.tables import (
    Alert,
    CreditAllocation,
    CreditMemo,
    Customer,
    CustomerLink,
    Invoice,
    Payment,
    TimelineEvent,
)
from app.db import Session
from app.paging import AnyRow, AnySelect, KeysetOrder, Position, between, contains

Search = Annotated[str, StringConstraints(max_length=200)]
AlertStatus = Literal["open", "acknowledged", "muted", "resolved"]
LinkState = Literal["suggested", "unmatched", "matched", "ignored"]
Document = type[Invoice] | type[Payment] | type[CreditMemo]

INVOICES = KeysetOrder(Invoice.issued_on, Invoice.id, date.fromisoformat)
PAYMENTS = KeysetOrder(Payment.paid_on, Payment.id, date.fromisoformat)
CREDIT_MEMOS = KeysetOrder(CreditMemo.issued_on, CreditMemo.id, date.fromisoformat)
TIMELINE = KeysetOrder(TimelineEvent.at, TimelineEvent.id, datetime.fromisoformat)
# By when it was first seen: the other instant moves with every check, under the feet of whoever turns pages.
ALERTS = KeysetOrder(Alert.first_seen_at, Alert.id, datetime.fromisoformat)


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """What customers to list: by a part of a name, and whether any vendor's contact is linked."""

    search: Search | None = None
    linked: bool | None = None


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """What documents to list; None everywhere means all."""

    customer_id: UUID | None = None
    source: str | None = None
    tenant_id: str | None = None
    currency: str | None = None
    search: Search | None = None


@dataclass(frozen=True, slots=True)
class CreditMemoFilter(DocumentFilter):
    """What credit memos to list; dates are inclusive."""

    status: DocumentStatus | None = None
    issued_from: date | None = None
    issued_to: date | None = None


@dataclass(frozen=True, slots=True)
class InvoiceFilter(CreditMemoFilter):
    """What invoices to list; `overdue` false means every other one."""

    overdue: bool | None = None


@dataclass(frozen=True, slots=True)
class PaymentFilter(DocumentFilter):
    """What payments to list; dates are inclusive."""

    invoice_id: UUID | None = None
    status: PaymentStatus | None = None
    paid_from: date | None = None
    paid_to: date | None = None


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """What alerts to list; None everywhere means all."""

    status: AlertStatus | None = None
    trigger: str | None = None
    customer_id: UUID | None = None


def is_overdue(today: date) -> ColumnElement[bool]:
    """Return the condition: open, something left to pay, and due before today; null where no due date is known."""
    return and_(Invoice.status == "open", Invoice.balance > 0, Invoice.due_on < today)


def name_position(row: Any) -> Position:  # noqa: ANN401 - a row of a list by name
    return (row.sort_name, str(row.id))


async def list_customers(
    session: Session, wanted: CustomerFilter, after: Position | None, limit: int
) -> Sequence[AnyRow]:
    """Return customers by name, whatever its case."""
    links = select(CustomerLink.id).where(CustomerLink.customer_id == Customer.id)
    statement = _customers()
    if wanted.search:
        linked_name = links.where(contains(CustomerLink.name, wanted.search)).exists()
        statement = statement.where(or_(contains(Customer.name, wanted.search), linked_name))
    if wanted.linked is not None:
        statement = statement.where(links.exists() if wanted.linked else ~links.exists())
    return await _read(session, _by_name(statement, Customer, after).limit(limit))


async def find_customer(session: Session, customer_id: UUID) -> AnyRow | None:
    return (await session.execute(_customers().where(Customer.id == customer_id))).one_or_none()


async def list_matches(
    session: Session, state: LinkState | None, after: Position | None, limit: int
) -> Sequence[AnyRow]:
    """Return vendors' contacts by name, of one state or of all."""
    statement = _matches().where(CustomerLink.state == state) if state else _matches()
    return await _read(session, _by_name(statement, CustomerLink, after).limit(limit))


async def find_match(session: Session, link_id: UUID) -> AnyRow | None:
    return (await session.execute(_matches().where(CustomerLink.id == link_id))).one_or_none()


async def links_of(session: Session, customer_ids: Sequence[UUID]) -> dict[UUID, list[AnyRow]]:
    """Return the vendors' contacts that stand for each of these customers."""
    statement = _columns(CustomerLink).where(CustomerLink.customer_id.in_(customer_ids))
    rows = await session.execute(statement.order_by(CustomerLink.source, CustomerLink.name, CustomerLink.id))
    return _by("customer_id", customer_ids, rows.all())


async def list_invoices(
    session: Session, wanted: InvoiceFilter, today: date, after: Position | None, limit: int
) -> Sequence[AnyRow]:
    """Return invoices, newest first, each with `overdue`."""
    statement = _invoices(today).where(*_matching(Invoice, wanted), *_named(Invoice, wanted.search))
    statement = statement.where(*between(Invoice.issued_on, wanted.issued_from, wanted.issued_to))
    if wanted.overdue is not None:
        statement = statement.where(is_overdue(today) if wanted.overdue else ~_is_surely_overdue(today))
    return await _read(session, INVOICES.page_after(statement, after, limit))


async def find_invoice(session: Session, invoice_id: UUID, today: date) -> AnyRow | None:
    return (await session.execute(_invoices(today).where(Invoice.id == invoice_id))).one_or_none()


async def recent_invoices(session: Session, customer_id: UUID, today: date, limit: int) -> Sequence[AnyRow]:
    """Return the customer's newest invoices, those the vendor deleted left out."""
    statement = _invoices(today).where(Invoice.customer_id == customer_id, Invoice.status != "deleted")
    return await _read(session, INVOICES.page_after(statement, None, limit))


async def list_payments(
    session: Session, wanted: PaymentFilter, after: Position | None, limit: int
) -> Sequence[AnyRow]:
    """Return payments, newest first."""
    statement = _columns(Payment).where(*_matching(Payment, wanted), *_named(Payment, wanted.search))
    if wanted.invoice_id:
        statement = statement.where(Payment.invoice_id == wanted.invoice_id)
    statement = statement.where(*between(Payment.paid_on, wanted.paid_from, wanted.paid_to))
    return await _read(session, PAYMENTS.page_after(statement, after, limit))


async def last_payment(session: Session, customer_id: UUID) -> AnyRow | None:
    """Return the customer's newest payment that still stands."""
    mine = (Payment.customer_id == customer_id, Payment.status == "active", Payment.paid_on.is_not(None))
    return (await session.execute(PAYMENTS.page_after(_columns(Payment).where(*mine), None, 1))).one_or_none()


async def payments_of(session: Session, invoice_id: UUID) -> Sequence[AnyRow]:
    """Return every payment of an invoice, deleted ones too, in the order they came."""
    statement = _columns(Payment).where(Payment.invoice_id == invoice_id)
    return await _read(session, statement.order_by(Payment.paid_on, Payment.id))


async def credits_of(session: Session, invoice_id: UUID) -> Sequence[AnyRow]:
    """Return every credit applied to an invoice, with the memo's number and the invoice's currency."""
    statement = (
        select(*CreditAllocation.__table__.c, CreditMemo.number, Invoice.currency)
        .join(Invoice, Invoice.id == CreditAllocation.invoice_id)
        .outerjoin(CreditMemo, CreditMemo.id == CreditAllocation.credit_memo_id)
        .where(CreditAllocation.invoice_id == invoice_id)
        .order_by(CreditAllocation.applied_on, CreditAllocation.id)
    )
    return await _read(session, statement)


async def list_credit_memos(
    session: Session, wanted: CreditMemoFilter, after: Position | None, limit: int
) -> Sequence[AnyRow]:
    """Return credit memos, newest first."""
    statement = _columns(CreditMemo).where(*_matching(CreditMemo, wanted), *_named(CreditMemo, wanted.search))
    statement = statement.where(*between(CreditMemo.issued_on, wanted.issued_from, wanted.issued_to))
    return await _read(session, CREDIT_MEMOS.page_after(statement, after, limit))


async def allocations_of(session: Session, credit_memo_ids: Sequence[UUID]) -> dict[UUID, list[AnyRow]]:
    """Return what each of these memos was applied to, in the order it was."""
    statement = _columns(CreditAllocation).where(CreditAllocation.credit_memo_id.in_(credit_memo_ids))
    rows = await session.execute(statement.order_by(CreditAllocation.applied_on, CreditAllocation.id))
    return _by("credit_memo_id", credit_memo_ids, rows.all())


async def list_timeline(
    session: Session, customer_id: UUID, kind: str | None, after: Position | None, limit: int
) -> Sequence[AnyRow]:
    """Return what happened to a customer, newest first."""
    statement = _columns(TimelineEvent).where(TimelineEvent.customer_id == customer_id)
    if kind:
        statement = statement.where(TimelineEvent.kind == kind)
    return await _read(session, TIMELINE.page_after(statement, after, limit))


async def list_alerts(session: Session, wanted: AlertFilter, after: Position | None, limit: int) -> Sequence[AnyRow]:
    """Return alerts with their customers' names, newest first."""
    statement = _alerts().where(*_equal(Alert, wanted, "status", "trigger", "customer_id"))
    return await _read(session, ALERTS.page_after(statement, after, limit))


async def find_alert(session: Session, alert_id: UUID) -> AnyRow | None:
    return (await session.execute(_alerts().where(Alert.id == alert_id))).one_or_none()


async def _read(session: Session, statement: AnySelect) -> Sequence[AnyRow]:
    return (await session.execute(statement)).all()


def _columns(table: Document | type[CustomerLink | CreditAllocation | TimelineEvent]) -> AnySelect:
    return select(*table.__table__.c)


def _customers() -> AnySelect:
    return select(*Customer.__table__.c, func.lower(Customer.name).label("sort_name"))


def _matches() -> AnySelect:
    return select(*CustomerLink.__table__.c, func.lower(CustomerLink.name).label("sort_name"))


def _by_name(statement: AnySelect, table: type[Customer | CustomerLink], after: Position | None) -> AnySelect:
    name, key = func.lower(table.name), table.id
    if after is not None:
        statement = statement.where(tuple_(name, key) > tuple_(after[0], UUID(after[1])))
    return statement.order_by(name, key)


def _invoices(today: date) -> AnySelect:
    return select(*Invoice.__table__.c, _is_surely_overdue(today).label("overdue"))


def _is_surely_overdue(today: date) -> ColumnElement[bool]:
    return func.coalesce(is_overdue(today), False)


def _alerts() -> AnySelect:
    return select(*Alert.__table__.c, Customer.name.label("customer_name")).join(Customer)


def _matching(table: Document, wanted: InvoiceFilter | CreditMemoFilter | PaymentFilter) -> list[ColumnElement[bool]]:
    conditions = _equal(table, wanted, "customer_id", "status", "source")
    if wanted.tenant_id:
        conditions.append(table.source_tenant_id == wanted.tenant_id)
    if wanted.currency:
        conditions.append(table.currency == wanted.currency.upper())
    return conditions


def _named(table: Document, words: str | None) -> list[ColumnElement[bool]]:
    if not words:
        return []
    own = [getattr(table, name) for name in ("number", "reference") if hasattr(table, name)]
    customers = select(Customer.id).where(contains(Customer.name, words))
    return [or_(*(contains(column, words) for column in own), table.customer_id.in_(customers))]


def _equal(table: Document | type[Alert], wanted: object, *names: str) -> list[ColumnElement[bool]]:
    given = {name: getattr(wanted, name) for name in names}
    return [getattr(table, name) == value for name, value in given.items() if value]


def _by(column: str, keys: Sequence[UUID], rows: Sequence[AnyRow]) -> dict[UUID, list[AnyRow]]:
    found: dict[UUID, list[AnyRow]] = {key: [] for key in keys}
    for row in rows:
        found[getattr(row, column)].append(row)
    return found
