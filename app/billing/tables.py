"""The vendor-neutral tables and their states. Other services may read them, and write by the contract's columns."""

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BindParameter,
    CheckConstraint,
    ColumnElement,
    Date,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    and_,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.billing.records import CreditKind, DocumentStatus, PaymentStatus
from app.db import NEW_ID, Instant, Table, is_one_of

# Unique keys begin with the vendor's id and end with the tenant and the source. In the opposite order their indexes
# would also serve "every row of the tenant", and on tables without statistics PostgreSQL estimates that plan to be as
# cheap as the lookup of one row.

# Documents, allocations and alerts are written by the thousand, so what they refer to is checked by triggers, once per
# statement, and not by foreign keys, row by row; migration 0012 lists those references.

Money = Numeric()

PSA_SOURCE = "psa"


class LinkState(StrEnum):
    """Where a link stands in the match review; `suggested` and `unmatched` links wait for a decision."""

    SUGGESTED = "suggested"
    UNMATCHED = "unmatched"
    MATCHED = "matched"
    IGNORED = "ignored"


class MatchedBy(StrEnum):
    """How a link got its customer.

    `name`: equal names, by automatic matching. `manual`: a person's decision, which no sync overrides. `new`: the
    customer was created for the contact. `merged`: it follows the contact that it was merged into at the vendor.
    """

    NAME = "name"
    MANUAL = "manual"
    NEW = "new"
    MERGED = "merged"


class AlertTrigger(StrEnum):
    """The condition that an alert reports."""

    INVOICE_OVERDUE = "invoice_overdue"
    SERVICE_WITHOUT_INVOICE = "service_without_invoice"


class AlertSeverity(StrEnum):
    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertSubject(StrEnum):
    """The kind of row that an alert is about."""

    INVOICE = "invoice"
    SERVICE = "service"


class AlertStatus(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    MUTED = "muted"
    RESOLVED = "resolved"


class TimelineEventKind(StrEnum):
    """Every kind of timeline event: those derived from documents and payments, and those of the PSA."""

    INVOICE_ISSUED = "invoice_issued"
    INVOICE_PAID = "invoice_paid"
    INVOICE_VOIDED = "invoice_voided"
    PAYMENT_RECEIVED = "payment_received"
    PAYMENT_DELETED = "payment_deleted"
    CREDIT_MEMO_ISSUED = "credit_memo_issued"
    TICKET = "ticket"
    DEVICE_ALERT = "device_alert"


class Customer(Table):
    """A customer of the MSP. `name_key` is the normalised name that matching compares."""

    __tablename__ = "customers"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(Text, server_default="")
    email: Mapped[str | None] = mapped_column(Text)
    psa_external_id: Mapped[str | None] = mapped_column(Text, unique=True)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (Index(None, "name_key"), Index("ix_customers_lower_name", text("lower(name)"), "id"))


class CustomerLink(Table):
    """The link from a vendor's contact to its customer.

    `matched_by` holds a `MatchedBy`, `state` a `LinkState`. `vendor_read_at` is null on links that another service
    wrote; matching and review leave those alone.
    """

    __tablename__ = "customer_links"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    name_key: Mapped[str] = mapped_column(Text, server_default="")
    email: Mapped[str | None] = mapped_column(Text)
    matched_by: Mapped[str] = mapped_column(Text, server_default=MatchedBy.NEW)
    state: Mapped[str] = mapped_column(Text, server_default=LinkState.UNMATCHED)
    is_archived: Mapped[bool] = mapped_column(server_default=text("false"))
    merged_into: Mapped[str | None] = mapped_column(Text)
    vendor_updated_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_read_at: Mapped[datetime | None] = mapped_column(Instant)
    decided_by: Mapped[str | None] = mapped_column(Text)
    decided_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        UniqueConstraint("external_id", "source_tenant_id", "source"),
        CheckConstraint(is_one_of("state", LinkState), name="state"),
        Index(None, "customer_id"),
        Index(None, "name_key"),
        Index(None, "state", "name", "id"),
    )


class Invoice(Table):
    """A receivable of any vendor. `contact_external_id` names the contact whose link determines `customer_id`.

    `voided_at` is when the invoice was first seen voided; null where another service wrote it, or when it is not void.
    """

    __tablename__ = "billing_invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID]
    contact_external_id: Mapped[str | None] = mapped_column(Text)
    number: Mapped[str | None] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    vendor_status: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    exchange_rate: Mapped[Decimal | None] = mapped_column(Money)
    subtotal: Mapped[Decimal | None] = mapped_column(Money)
    tax: Mapped[Decimal | None] = mapped_column(Money)
    total: Mapped[Decimal] = mapped_column(Money)
    paid: Mapped[Decimal] = mapped_column(Money, server_default="0")
    credited: Mapped[Decimal] = mapped_column(Money, server_default="0")
    balance: Mapped[Decimal] = mapped_column(Money)
    issued_on: Mapped[date | None] = mapped_column(Date)
    due_on: Mapped[date | None] = mapped_column(Date)
    paid_on: Mapped[date | None] = mapped_column(Date)
    vendor_url: Mapped[str | None] = mapped_column(Text)
    voided_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_updated_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_read_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        UniqueConstraint("external_id", "source_tenant_id", "source"),
        CheckConstraint(is_one_of("status", DocumentStatus), name="status"),
        Index("ix_billing_invoices_customer_id_issued_on", "customer_id", text("issued_on DESC"), "id"),
        Index("ix_billing_invoices_issued_on", text("issued_on DESC"), "id"),
        Index("ix_billing_invoices_open_due_on", "due_on", postgresql_where=text(f"status = '{DocumentStatus.OPEN}'")),
        Index(None, "contact_external_id", "source_tenant_id", "source"),
    )

    @classmethod
    def is_overdue(
        cls, today: date | BindParameter[date], grace_days: BindParameter[int] | None = None
    ) -> ColumnElement[bool]:
        """Return the definition of "overdue": open, with a balance, and due before today; null without a due date.

        Args:
            today: in `BILLING_TIMEZONE`.
            grace_days: days after the due date for which the invoice is not overdue yet; None for none.
        """
        is_past_due = cls.due_on < today if grace_days is None else today - cls.due_on > grace_days
        return and_(cls.status == DocumentStatus.OPEN, cls.balance > 0, is_past_due)


class Payment(Table):
    """A payment of one invoice. `invoice_id` is null until that invoice is stored.

    `deleted_at` is when the payment was first seen deleted; null where another service wrote it, or when it is not.
    """

    __tablename__ = "billing_payments"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    invoice_external_id: Mapped[str | None] = mapped_column(Text)
    invoice_id: Mapped[UUID | None]
    customer_id: Mapped[UUID | None]
    contact_external_id: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Money)
    currency: Mapped[str] = mapped_column(Text)
    exchange_rate: Mapped[Decimal | None] = mapped_column(Money)
    paid_on: Mapped[date | None] = mapped_column(Date)
    reference: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=PaymentStatus.ACTIVE)
    deleted_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_updated_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_read_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        UniqueConstraint(
            "external_id", "invoice_external_id", "source_tenant_id", "source", postgresql_nulls_not_distinct=True
        ),
        CheckConstraint(is_one_of("status", PaymentStatus), name="status"),
        Index("ix_billing_payments_customer_id_paid_on", "customer_id", text("paid_on DESC"), "id"),
        Index("ix_billing_payments_paid_on", text("paid_on DESC"), "id"),
        Index(None, "invoice_id"),
        Index(
            "ix_billing_payments_waiting",
            "invoice_external_id",
            "source_tenant_id",
            "source",
            postgresql_where=text("invoice_id IS NULL"),
        ),
        Index(None, "contact_external_id", "source_tenant_id", "source"),
    )


class CreditMemo(Table):
    """A credit to a customer; `remaining` is the amount not applied yet."""

    __tablename__ = "billing_credit_memos"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID]
    contact_external_id: Mapped[str | None] = mapped_column(Text)
    number: Mapped[str | None] = mapped_column(Text)
    reference: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text)
    vendor_status: Mapped[str | None] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    exchange_rate: Mapped[Decimal | None] = mapped_column(Money)
    total: Mapped[Decimal] = mapped_column(Money)
    remaining: Mapped[Decimal] = mapped_column(Money)
    issued_on: Mapped[date | None] = mapped_column(Date)
    vendor_url: Mapped[str | None] = mapped_column(Text)
    vendor_updated_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_read_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        UniqueConstraint("external_id", "source_tenant_id", "source"),
        CheckConstraint(is_one_of("status", DocumentStatus), name="status"),
        Index("ix_billing_credit_memos_customer_id_issued_on", "customer_id", text("issued_on DESC"), "id"),
        Index("ix_billing_credit_memos_issued_on", text("issued_on DESC"), "id"),
        Index(None, "contact_external_id", "source_tenant_id", "source"),
    )


class CreditAllocation(Table):
    """A part of a credit applied to an invoice. `kind` holds a `CreditKind`."""

    __tablename__ = "billing_credit_allocations"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text, server_default=CreditKind.CREDIT_MEMO)
    credit_external_id: Mapped[str] = mapped_column(Text)
    credit_memo_id: Mapped[UUID | None]
    invoice_external_id: Mapped[str] = mapped_column(Text)
    invoice_id: Mapped[UUID | None]
    external_id: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Money)
    applied_on: Mapped[date | None] = mapped_column(Date)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        Index(None, "credit_external_id", "source_tenant_id", "source"),
        Index(None, "invoice_external_id", "source_tenant_id", "source"),
        Index(None, "invoice_id"),
        Index(None, "credit_memo_id"),
    )


class BillingOrganisation(Table):
    """The base currency of an organisation, inferred from its documents."""

    __tablename__ = "billing_organisations"

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    source_tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    base_currency: Mapped[str | None] = mapped_column(Text)

    @classmethod
    def is_of_invoice(cls) -> ColumnElement[bool]:
        """Return the condition that joins an invoice to its organisation."""
        return and_(cls.source == Invoice.source, cls.source_tenant_id == Invoice.source_tenant_id)


class Service(Table):
    """A contracted service of the PSA, billed monthly."""

    __tablename__ = "billing_services"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text, server_default=PSA_SOURCE)
    external_id: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
    name: Mapped[str] = mapped_column(Text)
    monthly_amount: Mapped[Decimal] = mapped_column(Money)
    currency: Mapped[str] = mapped_column(Text)
    starts_on: Mapped[date] = mapped_column(Date)
    ends_on: Mapped[date | None] = mapped_column(Date)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (UniqueConstraint("source", "external_id"), Index(None, "customer_id"))


class Alert(Table):
    """A condition that a person should look at: one row per trigger and subject, reused when the condition recurs."""

    __tablename__ = "billing_alerts"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    trigger: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID]
    subject_type: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID]
    title: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=AlertStatus.OPEN)
    muted_until: Mapped[datetime | None] = mapped_column(Instant)
    occurrences: Mapped[int] = mapped_column(server_default="1")
    first_seen_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    resolved_at: Mapped[datetime | None] = mapped_column(Instant)
    changed_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("trigger", "subject_id"),
        CheckConstraint(is_one_of("status", AlertStatus), name="status"),
        Index(None, "customer_id"),
        Index("ix_billing_alerts_first_seen_at", text("first_seen_at DESC"), "id"),
    )


DocumentTable = type[Invoice] | type[Payment] | type[CreditMemo]
