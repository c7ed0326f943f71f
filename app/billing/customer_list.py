"""The list of customers, with what each owes: by name, or by who owes most or has owed longest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import StringConstraints
from sqlalchemy import Numeric, Subquery, Uuid, and_, case, column, func, or_, select

from app.billing.records import DocumentStatus
from app.billing.tables import Alert, AlertSeverity, AlertStatus, BillingOrganisation, Customer, CustomerLink, Invoice
from app.db import Session
from app.paging import AnyRow, AnySelect, ByName, HighestFirst, KeysetOrder, PagePosition, contains

NAME_ORDER = ByName(Customer.name, Customer.id)
RANK_ORDER = HighestFirst(column("rank", Numeric()), column("id", Uuid()))


class CustomerSort(StrEnum):
    """The order of the list; a minus is highest first."""

    NAME = "name"
    OUTSTANDING = "-outstanding"
    OVERDUE = "-overdue"
    OLDEST_OVERDUE = "-oldest_overdue"


# The column of the debts that each order goes by.
SORT_COLUMNS: Mapping[CustomerSort, str] = {
    CustomerSort.OUTSTANDING: "outstanding",
    CustomerSort.OVERDUE: "overdue",
    CustomerSort.OLDEST_OVERDUE: "oldest_overdue_days",
}


@dataclass(frozen=True, slots=True)
class CustomerFilter:
    """Which customers to list and in which order.

    Attributes:
        search: a part of a customer's name or of a contact's.
        linked: whether it has a contact.
        overdue: whether it has an overdue invoice.
    """

    search: Annotated[str, StringConstraints(max_length=200)] | None = None
    linked: bool | None = None
    overdue: bool | None = None
    sort: CustomerSort = CustomerSort.NAME

    @property
    def order(self) -> KeysetOrder:
        """The order that the list is paged in."""
        return NAME_ORDER if self.sort is CustomerSort.NAME else RANK_ORDER


@dataclass(frozen=True, slots=True)
class Standing:
    """How a customer stands: what is overdue longest, in days (None: nothing is), and its open alerts by severity."""

    oldest_overdue_days: int | None
    open_alerts: Mapping[AlertSeverity, int]


async def list_customers(
    session: Session, filters: CustomerFilter, today: date, after: PagePosition | None, limit: int
) -> Sequence[AnyRow]:
    """Return the customers after a position."""
    links = select(CustomerLink.id).where(CustomerLink.customer_id == Customer.id)
    statement = select(*Customer.__table__.c)
    if filters.search:
        has_linked_name = links.where(contains(CustomerLink.name, filters.search)).exists()
        statement = statement.where(or_(contains(Customer.name, filters.search), has_linked_name))
    if filters.linked is not None:
        statement = statement.where(links.exists() if filters.linked else ~links.exists())
    if filters.overdue is not None:
        has_overdue = select(Invoice.id).where(Invoice.customer_id == Customer.id, Invoice.is_overdue(today)).exists()
        statement = statement.where(has_overdue if filters.overdue else ~has_overdue)
    if filters.sort is not CustomerSort.NAME:
        statement = _ranked(statement, filters.sort, today)
    return (await session.execute(filters.order.page_after(statement, after, limit))).all()


async def read_standings(session: Session, customer_ids: Sequence[UUID], today: date) -> dict[UUID, Standing]:
    """Return how each of these customers stands."""
    oldest = (
        select(Invoice.customer_id, func.min(Invoice.due_on).label("oldest"))
        .where(Invoice.customer_id.in_(customer_ids), Invoice.is_overdue(today))
        .group_by(Invoice.customer_id)
    )
    due_on = {row.customer_id: row.oldest for row in await session.execute(oldest)}
    counted = (
        select(Alert.customer_id, Alert.severity, func.count())
        .where(Alert.customer_id.in_(customer_ids), Alert.status == AlertStatus.OPEN)
        .group_by(Alert.customer_id, Alert.severity)
    )
    counts: dict[UUID, dict[AlertSeverity, int]] = {one: dict.fromkeys(AlertSeverity, 0) for one in customer_ids}
    for customer_id, severity, count in await session.execute(counted):
        counts[customer_id][AlertSeverity(severity)] = count
    return {one: Standing((today - due_on[one]).days if one in due_on else None, counts[one]) for one in customer_ids}


def _ranked(statement: AnySelect, sort: CustomerSort, today: date) -> AnySelect:
    """Return the statement with a column `rank`, by which it is ordered."""
    debts = _debts(today)
    rank = func.coalesce(debts.c[SORT_COLUMNS[sort]], 0).label(RANK_ORDER.column.key)
    ranked = statement.add_columns(rank).outerjoin(debts, debts.c.customer_id == Customer.id).subquery()
    return select(*ranked.c)


def _debts(today: date) -> Subquery:
    """Return what each customer with open invoices owes, in numbers to order by.

    Amounts count in base currency where it and their rate are known; any other counts as the number it is.
    """
    has_rate = and_(BillingOrganisation.base_currency.is_not(None), Invoice.exchange_rate != 0)
    amount = case((has_rate, Invoice.balance / Invoice.exchange_rate), else_=Invoice.balance)
    is_overdue = Invoice.is_overdue(today)
    return (
        select(
            Invoice.customer_id,
            func.sum(amount).label("outstanding"),
            func.sum(amount).filter(is_overdue).label("overdue"),
            (today - func.min(Invoice.due_on).filter(is_overdue)).label("oldest_overdue_days"),
        )
        .outerjoin(BillingOrganisation, BillingOrganisation.is_of_invoice())
        .where(Invoice.status == DocumentStatus.OPEN)
        .group_by(Invoice.customer_id)
        .subquery()
    )
