"""Tables of `app.sync`: cursors, leases, the rate limiter's state, usage, runs, webhook events and reports."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


def create_tables() -> None:
    _create_sync_cursors()
    _create_sync_leases()
    _create_sync_budgets()
    _create_api_usage()
    _create_sync_schedules()
    _create_sync_runs()
    _create_sync_run_resources()
    _create_quarantined_rows()
    _create_xero_webhook_events()
    _create_webhook_signature_failures()
    _create_reconciliations()
    _create_progress_events()


def drop_tables() -> None:
    op.drop_table("progress_events")
    op.drop_table("reconciliations")
    op.drop_table("webhook_signature_failures")
    op.drop_table("xero_webhook_events")
    op.drop_table("quarantined_rows")
    op.drop_table("sync_run_resources")
    op.drop_table("sync_runs")
    op.drop_table("sync_schedules")
    op.drop_table("api_usage")
    op.drop_table("sync_budgets")
    op.drop_table("sync_leases")
    op.drop_table("sync_cursors")


def _create_sync_cursors() -> None:
    op.create_table(
        "sync_cursors",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("page", sa.Integer(), server_default="1", nullable=False),
        sa.Column("page_size", sa.Integer(), nullable=True),
        sa.Column("then_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("high_water", sa.DateTime(timezone=True), nullable=True),
        sa.Column("walk_read_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_walking", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_filtered", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rows_read", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("row_estimate", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("vendor", "tenant_id", "resource", name=op.f("pk_sync_cursors")),
    )


def _create_sync_leases() -> None:
    op.create_table(
        "sync_leases",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("fencing_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("vendor", "tenant_id", name=op.f("pk_sync_leases")),
    )


def _create_sync_budgets() -> None:
    op.create_table(
        "sync_budgets",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column(
            "slots",
            postgresql.ARRAY(sa.DateTime(timezone=True)),
            server_default=sa.text("'{}'::timestamptz[]"),
            nullable=False,
        ),
        sa.Column("free_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("blocked_by", sa.Text(), nullable=True),
        sa.Column("day_started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("day_calls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("day_remaining", sa.Integer(), nullable=True),
        sa.Column("day_probed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("vendor", "tenant_id", name=op.f("pk_sync_budgets")),
    )


def _create_api_usage() -> None:
    op.create_table(
        "api_usage",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("calls", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_raw", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes_wire", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("vendor", "tenant_id", "day", name=op.f("pk_api_usage")),
    )


def _create_sync_schedules() -> None:
    op.create_table(
        "sync_schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sync_schedules")),
    )


def _create_sync_runs() -> None:
    op.create_table(
        "sync_runs",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=True),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'partial', 'paused', 'failed')", name=op.f("ck_sync_runs_status")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sync_runs")),
    )
    op.create_index(
        "ix_sync_runs_running", "sync_runs", ["vendor"], unique=False, postgresql_where=sa.text("status = 'running'")
    )
    op.create_index("ix_sync_runs_started_at", "sync_runs", [sa.literal_column("started_at DESC"), "id"], unique=False)


def _create_sync_run_resources() -> None:
    op.create_table(
        "sync_run_resources",
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("fetched", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("calls", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'running', 'succeeded', 'partial', 'paused', 'failed')",
            name=op.f("ck_sync_run_resources_status"),
        ),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name=op.f("fk_sync_run_resources_run_id_sync_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("run_id", "tenant_id", "resource", name=op.f("pk_sync_run_resources")),
    )
    op.create_index(
        "ix_sync_run_resources_unfinished",
        "sync_run_resources",
        ["tenant_id"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'running')"),
    )


def _create_quarantined_rows() -> None:
    op.create_table(
        "quarantined_rows",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined_rows")),
        sa.UniqueConstraint(
            "vendor",
            "tenant_id",
            "resource",
            "external_id",
            name=op.f("uq_quarantined_rows_vendor_tenant_id_resource_external_id"),
        ),
    )


def _create_xero_webhook_events() -> None:
    op.create_table(
        "xero_webhook_events",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), server_default="xero", nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("event_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resource", sa.Text(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("deliveries", sa.Integer(), server_default="1", nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("is_replay", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint(
            "status IN ('pending', 'processed', 'ignored', 'failed', 'dead')",
            name=op.f("ck_xero_webhook_events_status"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_xero_webhook_events")),
        sa.UniqueConstraint(
            "vendor",
            "tenant_id",
            "resource_id",
            "category",
            "event_type",
            "event_at",
            name=op.f("uq_xero_webhook_events_vendor_tenant_id_resource_id_category_event_type_event_at"),
        ),
    )
    op.create_index(
        "ix_xero_webhook_events_dead",
        "xero_webhook_events",
        ["received_at"],
        unique=False,
        postgresql_where=sa.text("status = 'dead'"),
    )
    op.create_index(
        "ix_xero_webhook_events_due",
        "xero_webhook_events",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'failed')"),
    )
    op.create_index(
        "ix_xero_webhook_events_received_at",
        "xero_webhook_events",
        [sa.literal_column("received_at DESC"), "id"],
        unique=False,
    )


def _create_webhook_signature_failures() -> None:
    op.create_table(
        "webhook_signature_failures",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("vendor", "hour", name=op.f("pk_webhook_signature_failures")),
    )


def _create_reconciliations() -> None:
    op.create_table(
        "reconciliations",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("checked", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("missing", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("stale", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("orphaned", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("healed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["run_id"], ["sync_runs.id"], name=op.f("fk_reconciliations_run_id_sync_runs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliations")),
    )
    op.create_index(
        "ix_reconciliations_finished_at", "reconciliations", [sa.literal_column("finished_at DESC"), "id"], unique=False
    )
    op.create_index(op.f("ix_reconciliations_run_id"), "reconciliations", ["run_id"], unique=False)


def _create_progress_events() -> None:
    op.create_table(
        "progress_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_progress_events")),
    )
    op.create_index(op.f("ix_progress_events_at"), "progress_events", ["at"], unique=False)
