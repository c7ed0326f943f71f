"""The neutral tables, shared by every vendor: what others may read, and write by naming only the contract's columns."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    Date,
    ForeignKey,
    Index,
    Numeric,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.db import NEW_ID, Instant, Table

Money = Numeric()

# Keys have the vendor's id first and the organisation last. The other way about, an index on any of them also answers
# "every row of the organisation", and on tables without statistics PostgreSQL takes that for as good as the one row.
DOCUMENT_STATUSES = "status IN ('draft', 'open', 'paid', 'void', 'deleted')"


class Customer(Table):
    """A customer of the MSP, whatever vendors know it. `name_key` is the name as matching compares it."""

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
    """A vendor's contact and the customer it stands for.

    `matched_by`: `name` (on its own), `manual` (a decision by hand, which outlives every sync) or `new` (it got a
    customer of its own). `state`: `matched`, `suggested`, `unmatched` or `ignored`.
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
    matched_by: Mapped[str] = mapped_column(Text, server_default="new")
    state: Mapped[str] = mapped_column(Text, server_default="unmatched")
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
        CheckConstraint("state IN ('suggested', 'unmatched', 'matched', 'ignored')", name="state"),
        Index(None, "customer_id"),
        Index(None, "name_key"),
        Index(None, "state", "name", "id"),
    )


class Invoice(Table):
    """A receivable of any vendor. `contact_external_id` finds the link that owns `customer_id`."""

    __tablename__ = "billing_invoices"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
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
    vendor_updated_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_read_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        UniqueConstraint("external_id", "source_tenant_id", "source"),
        CheckConstraint(DOCUMENT_STATUSES, name="status"),
        Index("ix_billing_invoices_customer_id_issued_on", "customer_id", text("issued_on DESC"), "id"),
        Index("ix_billing_invoices_issued_on", text("issued_on DESC"), "id"),
        Index("ix_billing_invoices_open_due_on", "due_on", postgresql_where=text("status = 'open'")),
        Index(None, "contact_external_id", "source_tenant_id", "source"),
    )


class Payment(Table):
    """One payment-invoice touch. `invoice_id` is null until the invoice is here."""

    __tablename__ = "billing_payments"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    invoice_external_id: Mapped[str | None] = mapped_column(Text)
    invoice_id: Mapped[UUID | None] = mapped_column(ForeignKey("billing_invoices.id", ondelete="SET NULL"))
    customer_id: Mapped[UUID | None] = mapped_column(ForeignKey("customers.id"))
    contact_external_id: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[Decimal] = mapped_column(Money)
    currency: Mapped[str] = mapped_column(Text)
    exchange_rate: Mapped[Decimal | None] = mapped_column(Money)
    paid_on: Mapped[date | None] = mapped_column(Date)
    reference: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
    vendor_updated_at: Mapped[datetime | None] = mapped_column(Instant)
    vendor_read_at: Mapped[datetime | None] = mapped_column(Instant)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        UniqueConstraint(
            "external_id", "invoice_external_id", "source_tenant_id", "source", postgresql_nulls_not_distinct=True
        ),
        CheckConstraint("status IN ('active', 'deleted')", name="status"),
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
    """A credit to a customer; `remaining` is what is not applied yet."""

    __tablename__ = "billing_credit_memos"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    external_id: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
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
        CheckConstraint(DOCUMENT_STATUSES, name="status"),
        Index("ix_billing_credit_memos_customer_id_issued_on", "customer_id", text("issued_on DESC"), "id"),
        Index("ix_billing_credit_memos_issued_on", text("issued_on DESC"), "id"),
        Index(None, "contact_external_id", "source_tenant_id", "source"),
    )


class CreditAllocation(Table):
    """A part of a credit applied to an invoice. `kind`: `credit_memo`, `overpayment` or `prepayment`."""

    __tablename__ = "billing_credit_allocations"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    source_tenant_id: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text, server_default="credit_memo")
    credit_external_id: Mapped[str] = mapped_column(Text)
    credit_memo_id: Mapped[UUID | None] = mapped_column(ForeignKey("billing_credit_memos.id", ondelete="CASCADE"))
    invoice_external_id: Mapped[str] = mapped_column(Text)
    invoice_id: Mapped[UUID | None] = mapped_column(ForeignKey("billing_invoices.id", ondelete="SET NULL"))
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
    """What the documents themselves tell of an organisation: its base currency, inferred and kept."""

    __tablename__ = "billing_organisations"

    source: Mapped[str] = mapped_column(Text, primary_key=True)
    source_tenant_id: Mapped[str] = mapped_column(Text, primary_key=True)
    base_currency: Mapped[str | None] = mapped_column(Text)


class Service(Table):
    """A contracted service of the PSA, billed monthly."""

    __tablename__ = "billing_services"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text, server_default="psa")
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
    """Something a person should look at; one row per trigger and subject, whatever happens to it."""

    __tablename__ = "billing_alerts"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    trigger: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
    subject_type: Mapped[str] = mapped_column(Text)
    subject_id: Mapped[UUID]
    title: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="open")
    muted_until: Mapped[datetime | None] = mapped_column(Instant)
    occurrences: Mapped[int] = mapped_column(server_default="1")
    first_seen_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())
    resolved_at: Mapped[datetime | None] = mapped_column(Instant)
    changed_by: Mapped[str | None] = mapped_column(Text)

    __table_args__ = (
        UniqueConstraint("trigger", "subject_id"),
        CheckConstraint("status IN ('open', 'acknowledged', 'muted', 'resolved')", name="status"),
        Index(None, "customer_id"),
        Index("ix_billing_alerts_first_seen_at", text("first_seen_at DESC"), "id"),
    )


class TimelineEvent(Table):
    """One thing that happened to a customer. `dedupe_key` makes a re-read of the same fact a no-op."""

    __tablename__ = "timeline_events"

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=NEW_ID)
    source: Mapped[str] = mapped_column(Text)
    customer_id: Mapped[UUID] = mapped_column(ForeignKey("customers.id"))
    at: Mapped[datetime] = mapped_column(Instant)
    kind: Mapped[str] = mapped_column(Text)
    title: Mapped[str] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    amount: Mapped[Decimal | None] = mapped_column(Money)
    currency: Mapped[str | None] = mapped_column(Text)
    link: Mapped[str | None] = mapped_column(Text)
    subject_id: Mapped[UUID | None]
    dedupe_key: Mapped[str] = mapped_column(Text, server_default=text("gen_random_uuid()::text"), unique=True)
    created_at: Mapped[datetime] = mapped_column(Instant, server_default=func.now())

    __table_args__ = (
        Index("ix_timeline_events_customer_id_at", "customer_id", text("at DESC"), "id"),
        Index(None, "subject_id"),
    )
