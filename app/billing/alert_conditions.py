"""The conditions of alerts, as SQL: one row for each alert that should be there today."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    Boolean,
    ColumnElement,
    Date,
    Integer,
    SQLColumnExpression,
    TableValuedAlias,
    Text,
    Uuid,
    and_,
    bindparam,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.selectable import LateralFromClause

from app.billing.records import DocumentStatus
from app.billing.recordset import core_table, json_recordset
from app.billing.tables import AlertSeverity, AlertSubject, AlertTrigger, CustomerLink, Invoice, Service
from app.paging import AnySelect

# What a customer was billed: the invoices that end a service's time without one.
BILLED_STATUSES = (DocumentStatus.OPEN, DocumentStatus.PAID)
# The columns of the alert that a condition determines.
CONDITION_COLUMNS = ("trigger", "severity", "customer_id", "subject_type", "subject_id", "title", "detail")
# Whether all alerts are derived, and otherwise for which invoices and customers they are. Statements are planned for
# their values (`plan_cache_mode`), so that the one costs nothing where the other decides.
IS_WHOLE = bindparam("is_whole", type_=Boolean())
CHANGED_INVOICE = func.any(bindparam("changed_invoices", type_=ARRAY(Uuid())))
CHANGED_CUSTOMER = func.any(bindparam("changed_customers", type_=ARRAY(Uuid())))


def conditions_cte() -> CTE:
    """Return the conditions that hold, one row per alert that should be there: `CONDITION_COLUMNS` and `is_unsynced`.

    `is_unsynced` says that the condition follows from rows of an organisation that is no longer synced.
    """
    return union_all(_overdue_invoices_statement(), _services_without_invoice_statement()).cte("conditions")


def _unsynced() -> TableValuedAlias:
    """Return the organisations that are no longer synced, each with the note of its figures' age."""
    return json_recordset("unsynced", {"source": Text(), "source_tenant_id": Text(), "age_note": Text()})


def _condition_columns(
    values: Mapping[str, SQLColumnExpression[Any]], age_note: ColumnElement[str | None]
) -> list[ColumnElement[Any]]:
    """Return the columns of a condition; the note of its figures' age, where there is one, ends its detail."""
    noted = {**values, "detail": values["detail"] + func.coalesce(literal("; ") + age_note, "")}
    return [*(noted[name].label(name) for name in CONDITION_COLUMNS), age_note.is_not(None).label("is_unsynced")]


def _overdue_invoices_statement() -> AnySelect:
    unsynced, today = _unsynced(), bindparam("today", type_=Date())
    days_overdue = today - Invoice.due_on
    is_critical = days_overdue >= bindparam("critical_days", type_=Integer())
    days_text = days_overdue.cast(Text) + case((days_overdue == 1, " day overdue, "), else_=" days overdue, ")
    values = {
        "trigger": literal(AlertTrigger.INVOICE_OVERDUE, Text()),
        "severity": case((is_critical, AlertSeverity.CRITICAL.value), else_=AlertSeverity.WARNING.value),
        "customer_id": Invoice.customer_id,
        "subject_type": literal(AlertSubject.INVOICE, Text()),
        "subject_id": Invoice.id,
        "title": func.coalesce(literal("Invoice ") + Invoice.number, "An invoice") + " is overdue",
        "detail": days_text + _money_text(Invoice.balance, Invoice.currency) + " outstanding",
    }
    is_overdue = and_(
        Invoice.is_overdue(today, bindparam("grace_days", type_=Integer())),
        or_(IS_WHOLE, Invoice.id == CHANGED_INVOICE),
    )
    is_of_organisation = and_(
        unsynced.c.source == Invoice.source, unsynced.c.source_tenant_id == Invoice.source_tenant_id
    )
    columns = _condition_columns(values, unsynced.c.age_note)
    return select(*columns).select_from(Invoice).outerjoin(unsynced, is_of_organisation).where(is_overdue)


def _services_without_invoice_statement() -> AnySelect:
    service, today, last_invoice = Service, bindparam("today", type_=Date()), _last_invoice()
    unsynced = _unsynced_organisation_of(last_invoice)
    unbilled_since = func.greatest(last_invoice.c.issued_on, service.starts_on)
    last_invoice_text = case(
        (last_invoice.c.issued_on.is_(None), literal("Never invoiced; active since ") + service.starts_on.cast(Text)),
        else_=literal("Last invoice issued on ") + last_invoice.c.issued_on.cast(Text),
    )
    amount_text = literal("; ") + _money_text(service.monthly_amount, service.currency) + " a month is contracted"
    values = {
        "trigger": literal(AlertTrigger.SERVICE_WITHOUT_INVOICE, Text()),
        "severity": literal(AlertSeverity.WARNING, Text()),
        "customer_id": service.customer_id,
        "subject_type": literal(AlertSubject.SERVICE, Text()),
        "subject_id": service.id,
        "title": literal("No invoice for ") + service.name,
        "detail": last_invoice_text + amount_text,
    }
    is_derived = or_(IS_WHOLE, service.customer_id == CHANGED_CUSTOMER)
    is_active = (service.starts_on <= today) & or_(service.ends_on.is_(None), service.ends_on >= today)
    return (
        select(*_condition_columns(values, unsynced.c.age_note))
        .select_from(service)
        .outerjoin(last_invoice, literal(value=True))
        .outerjoin(unsynced, literal(value=True))
        .where(is_derived, is_active, today - unbilled_since > bindparam("gap_days", type_=Integer()))
    )


def _last_invoice() -> LateralFromClause:
    """Return the newest invoice of the service's customer that bills something."""
    is_of_customer = (Invoice.customer_id == Service.customer_id) & Invoice.status.in_(BILLED_STATUSES)
    columns = (Invoice.issued_on, Invoice.source, Invoice.source_tenant_id)
    newest = select(*columns).where(is_of_customer, Invoice.issued_on.is_not(None)).order_by(Invoice.issued_on.desc())
    return newest.limit(1).correlate(Service).lateral("last_invoice")


def _unsynced_organisation_of(last_invoice: LateralFromClause) -> LateralFromClause:
    """Return the organisation, if it is no longer synced, that would have billed the service.

    That is the one of the customer's last invoice, or without one any that the customer is linked to.
    """
    unsynced, link = _unsynced(), core_table(CustomerLink)
    is_of_last_invoice = and_(
        unsynced.c.source == last_invoice.c.source, unsynced.c.source_tenant_id == last_invoice.c.source_tenant_id
    )
    has_link = exists().where(
        link.c.customer_id == Service.customer_id,
        link.c.source == unsynced.c.source,
        link.c.source_tenant_id == unsynced.c.source_tenant_id,
    )
    has_link = has_link.correlate(Service, unsynced)
    is_asked_for = or_(is_of_last_invoice, and_(last_invoice.c.issued_on.is_(None), has_link))
    found = select(unsynced.c.age_note).where(is_asked_for).order_by(unsynced.c.age_note).limit(1)
    return found.correlate(Service, last_invoice).lateral("unsynced_organisation")


def _money_text(amount: InstrumentedAttribute[Decimal], currency: InstrumentedAttribute[str]) -> ColumnElement[str]:
    """Return an amount as text with its currency: at least two decimals, and as many more as it has."""
    return func.round(amount, func.greatest(2, func.min_scale(amount))).cast(Text) + " " + currency
