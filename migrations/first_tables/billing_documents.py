"""Tables of `app.billing` that hold what a vendor bills: invoices, credit memos, allocations and payments."""

import sqlalchemy as sa
from alembic import op


def create_tables() -> None:
    _create_billing_invoices()
    _create_billing_credit_memos()
    _create_billing_credit_allocations()
    _create_billing_payments()


def drop_tables() -> None:
    op.drop_table("billing_payments")
    op.drop_table("billing_credit_allocations")
    op.drop_table("billing_credit_memos")
    op.drop_table("billing_invoices")


def _create_billing_invoices() -> None:
    op.create_table(
        "billing_invoices",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("contact_external_id", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("vendor_status", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exchange_rate", sa.Numeric(), nullable=True),
        sa.Column("subtotal", sa.Numeric(), nullable=True),
        sa.Column("tax", sa.Numeric(), nullable=True),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.Column("paid", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("credited", sa.Numeric(), server_default="0", nullable=False),
        sa.Column("balance", sa.Numeric(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("vendor_url", sa.Text(), nullable=True),
        sa.Column("vendor_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vendor_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'open', 'paid', 'void', 'deleted')", name=op.f("ck_billing_invoices_status")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_billing_invoices_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_invoices")),
        sa.UniqueConstraint(
            "external_id",
            "source_tenant_id",
            "source",
            name=op.f("uq_billing_invoices_external_id_source_tenant_id_source"),
        ),
    )
    op.create_index(
        "ix_billing_invoices_customer_id_issued_on",
        "billing_invoices",
        ["customer_id", sa.literal_column("issued_on DESC"), "id"],
        unique=False,
    )
    op.create_index(
        "ix_billing_invoices_issued_on", "billing_invoices", [sa.literal_column("issued_on DESC"), "id"], unique=False
    )
    op.create_index(
        "ix_billing_invoices_open_due_on",
        "billing_invoices",
        ["due_on"],
        unique=False,
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_index(
        op.f("ix_billing_invoices_contact_external_id_source_tenant_id_source"),
        "billing_invoices",
        ["contact_external_id", "source_tenant_id", "source"],
        unique=False,
    )


def _create_billing_credit_memos() -> None:
    op.create_table(
        "billing_credit_memos",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("contact_external_id", sa.Text(), nullable=True),
        sa.Column("number", sa.Text(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("vendor_status", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exchange_rate", sa.Numeric(), nullable=True),
        sa.Column("total", sa.Numeric(), nullable=False),
        sa.Column("remaining", sa.Numeric(), nullable=False),
        sa.Column("issued_on", sa.Date(), nullable=True),
        sa.Column("vendor_url", sa.Text(), nullable=True),
        sa.Column("vendor_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vendor_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('draft', 'open', 'paid', 'void', 'deleted')", name=op.f("ck_billing_credit_memos_status")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_billing_credit_memos_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_credit_memos")),
        sa.UniqueConstraint(
            "external_id",
            "source_tenant_id",
            "source",
            name=op.f("uq_billing_credit_memos_external_id_source_tenant_id_source"),
        ),
    )
    op.create_index(
        "ix_billing_credit_memos_customer_id_issued_on",
        "billing_credit_memos",
        ["customer_id", sa.literal_column("issued_on DESC"), "id"],
        unique=False,
    )
    op.create_index(
        "ix_billing_credit_memos_issued_on",
        "billing_credit_memos",
        [sa.literal_column("issued_on DESC"), "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_billing_credit_memos_contact_external_id_source_tenant_id_source"),
        "billing_credit_memos",
        ["contact_external_id", "source_tenant_id", "source"],
        unique=False,
    )


def _create_billing_credit_allocations() -> None:
    op.create_table(
        "billing_credit_allocations",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="credit_memo", nullable=False),
        sa.Column("credit_external_id", sa.Text(), nullable=False),
        sa.Column("credit_memo_id", sa.Uuid(), nullable=True),
        sa.Column("invoice_external_id", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("applied_on", sa.Date(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["credit_memo_id"],
            ["billing_credit_memos.id"],
            name=op.f("fk_billing_credit_allocations_credit_memo_id_billing_credit_memos"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["billing_invoices.id"],
            name=op.f("fk_billing_credit_allocations_invoice_id_billing_invoices"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_credit_allocations")),
    )
    op.create_index(
        op.f("ix_billing_credit_allocations_credit_memo_id"),
        "billing_credit_allocations",
        ["credit_memo_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_billing_credit_allocations_invoice_id"), "billing_credit_allocations", ["invoice_id"], unique=False
    )
    op.create_index(
        op.f("ix_billing_credit_allocations_invoice_external_id_source_tenant_id_source"),
        "billing_credit_allocations",
        ["invoice_external_id", "source_tenant_id", "source"],
        unique=False,
    )
    op.create_index(
        op.f("ix_billing_credit_allocations_credit_external_id_source_tenant_id_source"),
        "billing_credit_allocations",
        ["credit_external_id", "source_tenant_id", "source"],
        unique=False,
    )


def _create_billing_payments() -> None:
    op.create_table(
        "billing_payments",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("invoice_external_id", sa.Text(), nullable=True),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.Column("customer_id", sa.Uuid(), nullable=True),
        sa.Column("contact_external_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("exchange_rate", sa.Numeric(), nullable=True),
        sa.Column("paid_on", sa.Date(), nullable=True),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("vendor_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vendor_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status IN ('active', 'deleted')", name=op.f("ck_billing_payments_status")),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_billing_payments_customer_id_customers")
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"],
            ["billing_invoices.id"],
            name=op.f("fk_billing_payments_invoice_id_billing_invoices"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_payments")),
        sa.UniqueConstraint(
            "external_id",
            "invoice_external_id",
            "source_tenant_id",
            "source",
            name=op.f("uq_billing_payments_external_id_invoice_external_id_source_tenant_id_source"),
            postgresql_nulls_not_distinct=True,
        ),
    )
    op.create_index(
        "ix_billing_payments_customer_id_paid_on",
        "billing_payments",
        ["customer_id", sa.literal_column("paid_on DESC"), "id"],
        unique=False,
    )
    op.create_index(op.f("ix_billing_payments_invoice_id"), "billing_payments", ["invoice_id"], unique=False)
    op.create_index(
        "ix_billing_payments_paid_on", "billing_payments", [sa.literal_column("paid_on DESC"), "id"], unique=False
    )
    op.create_index(
        op.f("ix_billing_payments_contact_external_id_source_tenant_id_source"),
        "billing_payments",
        ["contact_external_id", "source_tenant_id", "source"],
        unique=False,
    )
    op.create_index(
        "ix_billing_payments_waiting",
        "billing_payments",
        ["invoice_external_id", "source_tenant_id", "source"],
        unique=False,
        postgresql_where=sa.text("invoice_id IS NULL"),
    )
