"""Tables of `app.billing`: customers, links, organisations, services, alerts and the timeline."""

import sqlalchemy as sa
from alembic import op


def create_tables() -> None:
    _create_customers()
    _create_customer_links()
    _create_billing_organisations()
    _create_billing_services()
    _create_billing_alerts()
    _create_timeline_events()


def drop_tables() -> None:
    op.drop_table("timeline_events")
    op.drop_table("billing_alerts")
    op.drop_table("billing_services")
    op.drop_table("billing_organisations")
    op.drop_table("customer_links")
    op.drop_table("customers")


def _create_customers() -> None:
    op.create_table(
        "customers",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("psa_external_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customers")),
        sa.UniqueConstraint("psa_external_id", name=op.f("uq_customers_psa_external_id")),
    )
    op.create_index("ix_customers_lower_name", "customers", [sa.literal_column("lower(name)"), "id"], unique=False)
    op.create_index(op.f("ix_customers_name_key"), "customers", ["name_key"], unique=False)


def _create_customer_links() -> None:
    op.create_table(
        "customer_links",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("name_key", sa.Text(), server_default="", nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("matched_by", sa.Text(), server_default="new", nullable=False),
        sa.Column("state", sa.Text(), server_default="unmatched", nullable=False),
        sa.Column("is_archived", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("merged_into", sa.Text(), nullable=True),
        sa.Column("vendor_updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("vendor_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state IN ('suggested', 'unmatched', 'matched', 'ignored')", name=op.f("ck_customer_links_state")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_customer_links_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer_links")),
        sa.UniqueConstraint(
            "external_id",
            "source_tenant_id",
            "source",
            name=op.f("uq_customer_links_external_id_source_tenant_id_source"),
        ),
    )
    op.create_index(op.f("ix_customer_links_customer_id"), "customer_links", ["customer_id"], unique=False)
    op.create_index(op.f("ix_customer_links_name_key"), "customer_links", ["name_key"], unique=False)
    op.create_index(op.f("ix_customer_links_state_name_id"), "customer_links", ["state", "name", "id"], unique=False)


def _create_billing_organisations() -> None:
    op.create_table(
        "billing_organisations",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("base_currency", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "source_tenant_id", name=op.f("pk_billing_organisations")),
    )


def _create_billing_services() -> None:
    op.create_table(
        "billing_services",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source", sa.Text(), server_default="psa", nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("monthly_amount", sa.Numeric(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("starts_on", sa.Date(), nullable=False),
        sa.Column("ends_on", sa.Date(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_billing_services_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_services")),
        sa.UniqueConstraint("source", "external_id", name=op.f("uq_billing_services_source_external_id")),
    )
    op.create_index(op.f("ix_billing_services_customer_id"), "billing_services", ["customer_id"], unique=False)


def _create_billing_alerts() -> None:
    op.create_table(
        "billing_alerts",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("subject_type", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("muted_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("occurrences", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('open', 'acknowledged', 'muted', 'resolved')", name=op.f("ck_billing_alerts_status")
        ),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_billing_alerts_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_alerts")),
        sa.UniqueConstraint("trigger", "subject_id", name=op.f("uq_billing_alerts_trigger_subject_id")),
    )
    op.create_index(op.f("ix_billing_alerts_customer_id"), "billing_alerts", ["customer_id"], unique=False)
    op.create_index(
        "ix_billing_alerts_first_seen_at",
        "billing_alerts",
        [sa.literal_column("first_seen_at DESC"), "id"],
        unique=False,
    )


def _create_timeline_events() -> None:
    op.create_table(
        "timeline_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("amount", sa.Numeric(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("dedupe_key", sa.Text(), server_default=sa.text("gen_random_uuid()::text"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["customer_id"], ["customers.id"], name=op.f("fk_timeline_events_customer_id_customers")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline_events")),
        sa.UniqueConstraint("dedupe_key", name=op.f("uq_timeline_events_dedupe_key")),
    )
    op.create_index(
        "ix_timeline_events_customer_id_at",
        "timeline_events",
        ["customer_id", sa.literal_column("at DESC"), "id"],
        unique=False,
    )
    op.create_index(op.f("ix_timeline_events_subject_id"), "timeline_events", ["subject_id"], unique=False)
