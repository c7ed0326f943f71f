"""The first tables, the clock every lease and budget goes by, and the statement that hands out calls."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


WALL_CLOCK = """
CREATE FUNCTION wall_clock() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT clock_timestamp()'
"""

REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit_entries is append-only';
END
$$
"""

APPEND_ONLY = """
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
"""

# One statement per call. It answers `go` (and has counted the call), `wait`, `blocked` (a 429 said until when) or
# `day` (the share of the day's calls this caller may use is spent), with the seconds to wait. Nothing is reserved
# for a caller that must wait long, so that a caller who dies or gives up wastes nothing. A minute is taken as
# 61 seconds: a call may travel faster than the one before it, and the vendor counts arrivals.
TAKE_CALL = """
CREATE FUNCTION take_call(
  p_vendor text, p_tenant text, p_minute int, p_app_minute int, p_day int, p_day_reserve int,
  OUT decision text, OUT seconds double precision, OUT slot timestamptz
) LANGUAGE plpgsql AS $$
DECLARE
  org sync_budgets;
  app sync_budgets;
  t timestamptz;
  ready timestamptz;
  held int;
BEGIN
  INSERT INTO sync_budgets (vendor, tenant_id) VALUES (p_vendor, p_tenant), (p_vendor, '') ON CONFLICT DO NOTHING;
  SELECT * INTO org FROM sync_budgets WHERE vendor = p_vendor AND tenant_id = p_tenant FOR UPDATE;
  SELECT * INTO app FROM sync_budgets WHERE vendor = p_vendor AND tenant_id = '' FOR UPDATE;
  t := wall_clock();

  ready := greatest(org.blocked_until, app.blocked_until);
  IF ready > t THEN
    decision := 'blocked';
    seconds := extract(epoch FROM ready - t);
    RETURN;
  END IF;

  IF org.day_started_at IS NULL OR t >= org.day_started_at + interval '24 hours' THEN
    org.day_started_at := t;
    org.day_calls := 0;
    org.day_remaining := NULL;
    org.day_probed_at := NULL;
  END IF;
  IF org.day_calls >= p_day OR org.day_remaining <= p_day_reserve THEN
    -- The vendor's day is a fixed window whose end is not told: once an hour a single call may look whether it is over.
    IF p_day_reserve = 0 OR coalesce(org.day_probed_at, t) > t - interval '1 hour' THEN
      UPDATE sync_budgets SET day_probed_at = coalesce(day_probed_at, t)
        WHERE vendor = p_vendor AND tenant_id = p_tenant AND day_probed_at IS NULL;
      decision := 'day';
      seconds := extract(epoch FROM org.day_started_at + interval '24 hours' - t);
      RETURN;
    END IF;
    org.day_probed_at := t;
  END IF;

  org.slots := coalesce((SELECT array_agg(s ORDER BY s) FROM unnest(org.slots) AS s
                         WHERE s > t - interval '61 seconds'), '{}');
  held := cardinality(org.slots);
  ready := greatest(t, app.free_at);
  IF held >= p_minute THEN
    ready := greatest(ready, org.slots[held - p_minute + 1] + interval '61 seconds');
  END IF;
  seconds := extract(epoch FROM ready - t);
  IF seconds > 0.25 THEN
    decision := 'wait';
    RETURN;
  END IF;
  UPDATE sync_budgets
    SET slots = org.slots || ready, day_started_at = org.day_started_at, day_calls = org.day_calls + 1,
        day_remaining = org.day_remaining, day_probed_at = org.day_probed_at
    WHERE vendor = p_vendor AND tenant_id = p_tenant;
  UPDATE sync_budgets SET free_at = ready + interval '61 seconds' / p_app_minute
    WHERE vendor = p_vendor AND tenant_id = '';
  decision := 'go';
  slot := ready;
END
$$
"""


def upgrade() -> None:
    op.execute(WALL_CLOCK)
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
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_table(
        "billing_organisations",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("source_tenant_id", sa.Text(), nullable=False),
        sa.Column("base_currency", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("source", "source_tenant_id", name=op.f("pk_billing_organisations")),
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("state_hash", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.Text(), nullable=False),
        sa.Column("verifier_sealed", sa.Text(), nullable=False),
        sa.Column("scope_set", sa.Text(), nullable=False),
        sa.Column("return_to", sa.Text(), server_default="", nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_consents_state_hash")),
    )
    op.create_index(op.f("ix_consents_expires_at"), "consents", ["expires_at"], unique=False)
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
    op.create_table(
        "grants",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("vendor_user_id", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="active", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("state_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("scope_set", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False),
        sa.Column("access_token_sealed", sa.Text(), nullable=True),
        sa.Column("access_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_token_sealed", sa.Text(), nullable=True),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("refresh_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("refusals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_refresh_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("refresh_claim", sa.Uuid(), nullable=True),
        sa.Column("refresh_claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoke_token_sealed", sa.Text(), nullable=True),
        sa.Column(
            "missing_scopes", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{}'::text[]"), nullable=False
        ),
        sa.Column("connected_by", sa.Text(), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grants")),
        sa.UniqueConstraint("vendor", "vendor_user_id", name=op.f("uq_grants_vendor_vendor_user_id")),
    )
    op.create_table(
        "idempotent_requests",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reply_sealed", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "actor", name=op.f("pk_idempotent_requests")),
    )
    op.create_index(op.f("ix_idempotent_requests_created_at"), "idempotent_requests", ["created_at"], unique=False)
    op.create_table(
        "progress_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_progress_events")),
    )
    op.create_index(op.f("ix_progress_events_at"), "progress_events", ["at"], unique=False)
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
    op.create_table(
        "sync_leases",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("fencing_token", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("vendor", "tenant_id", name=op.f("pk_sync_leases")),
    )
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
    op.create_table(
        "sync_schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sync_schedules")),
    )
    op.create_table(
        "vendor_apps",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("client_secret_sealed", sa.Text(), nullable=True),
        sa.Column("scope_set", sa.Text(), nullable=True),
        sa.Column("last_probe_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("vendor", name=op.f("pk_vendor_apps")),
    )
    op.create_table(
        "webhook_keys",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("key_sealed", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_keys")),
    )
    op.create_index(op.f("ix_webhook_keys_vendor"), "webhook_keys", ["vendor"], unique=False)
    op.create_table(
        "webhook_signature_failures",
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("failures", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("vendor", "hour", name=op.f("pk_webhook_signature_failures")),
    )
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
    op.create_table(
        "tenants",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("tenant_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("connection_id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Uuid(), nullable=False),
        sa.Column("consent_id", sa.Text(), nullable=True),
        sa.Column("is_selected", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("health", sa.Text(), server_default="first_sync", nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=True),
        sa.Column("reason_message", sa.Text(), nullable=True),
        sa.Column("reason_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("data_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_success_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name=op.f("fk_tenants_grant_id_grants")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
        sa.UniqueConstraint("vendor", "tenant_id", name=op.f("uq_tenants_vendor_tenant_id")),
    )
    op.create_index(op.f("ix_tenants_grant_id"), "tenants", ["grant_id"], unique=False)
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
    op.execute(REFUSE_CHANGE)
    op.execute(APPEND_ONLY)
    op.execute(TAKE_CALL)


def downgrade() -> None:
    op.execute("DROP FUNCTION take_call")
    op.drop_index(
        "ix_billing_payments_waiting", table_name="billing_payments", postgresql_where=sa.text("invoice_id IS NULL")
    )
    op.drop_index(
        op.f("ix_billing_payments_contact_external_id_source_tenant_id_source"), table_name="billing_payments"
    )
    op.drop_index("ix_billing_payments_paid_on", table_name="billing_payments")
    op.drop_index(op.f("ix_billing_payments_invoice_id"), table_name="billing_payments")
    op.drop_index("ix_billing_payments_customer_id_paid_on", table_name="billing_payments")
    op.drop_table("billing_payments")
    op.drop_index(
        op.f("ix_billing_credit_allocations_credit_external_id_source_tenant_id_source"),
        table_name="billing_credit_allocations",
    )
    op.drop_index(
        op.f("ix_billing_credit_allocations_invoice_external_id_source_tenant_id_source"),
        table_name="billing_credit_allocations",
    )
    op.drop_index(op.f("ix_billing_credit_allocations_invoice_id"), table_name="billing_credit_allocations")
    op.drop_index(op.f("ix_billing_credit_allocations_credit_memo_id"), table_name="billing_credit_allocations")
    op.drop_table("billing_credit_allocations")
    op.drop_index(op.f("ix_timeline_events_subject_id"), table_name="timeline_events")
    op.drop_index("ix_timeline_events_customer_id_at", table_name="timeline_events")
    op.drop_table("timeline_events")
    op.drop_index(op.f("ix_tenants_grant_id"), table_name="tenants")
    op.drop_table("tenants")
    op.drop_index(
        "ix_sync_run_resources_unfinished",
        table_name="sync_run_resources",
        postgresql_where=sa.text("status IN ('pending', 'running')"),
    )
    op.drop_table("sync_run_resources")
    op.drop_index(op.f("ix_reconciliations_run_id"), table_name="reconciliations")
    op.drop_index("ix_reconciliations_finished_at", table_name="reconciliations")
    op.drop_table("reconciliations")
    op.drop_index(op.f("ix_customer_links_state_name_id"), table_name="customer_links")
    op.drop_index(op.f("ix_customer_links_name_key"), table_name="customer_links")
    op.drop_index(op.f("ix_customer_links_customer_id"), table_name="customer_links")
    op.drop_table("customer_links")
    op.drop_index(op.f("ix_billing_services_customer_id"), table_name="billing_services")
    op.drop_table("billing_services")
    op.drop_index(
        op.f("ix_billing_invoices_contact_external_id_source_tenant_id_source"), table_name="billing_invoices"
    )
    op.drop_index(
        "ix_billing_invoices_open_due_on", table_name="billing_invoices", postgresql_where=sa.text("status = 'open'")
    )
    op.drop_index("ix_billing_invoices_issued_on", table_name="billing_invoices")
    op.drop_index("ix_billing_invoices_customer_id_issued_on", table_name="billing_invoices")
    op.drop_table("billing_invoices")
    op.drop_index(
        op.f("ix_billing_credit_memos_contact_external_id_source_tenant_id_source"), table_name="billing_credit_memos"
    )
    op.drop_index("ix_billing_credit_memos_issued_on", table_name="billing_credit_memos")
    op.drop_index("ix_billing_credit_memos_customer_id_issued_on", table_name="billing_credit_memos")
    op.drop_table("billing_credit_memos")
    op.drop_index("ix_billing_alerts_first_seen_at", table_name="billing_alerts")
    op.drop_index(op.f("ix_billing_alerts_customer_id"), table_name="billing_alerts")
    op.drop_table("billing_alerts")
    op.drop_index("ix_xero_webhook_events_received_at", table_name="xero_webhook_events")
    op.drop_index(
        "ix_xero_webhook_events_due",
        table_name="xero_webhook_events",
        postgresql_where=sa.text("status IN ('pending', 'failed')"),
    )
    op.drop_index(
        "ix_xero_webhook_events_dead",
        table_name="xero_webhook_events",
        postgresql_where=sa.text("status = 'dead'"),
    )
    op.drop_table("xero_webhook_events")
    op.drop_table("webhook_signature_failures")
    op.drop_index(op.f("ix_webhook_keys_vendor"), table_name="webhook_keys")
    op.drop_table("webhook_keys")
    op.drop_table("vendor_apps")
    op.drop_table("sync_schedules")
    op.drop_index("ix_sync_runs_started_at", table_name="sync_runs")
    op.drop_index("ix_sync_runs_running", table_name="sync_runs", postgresql_where=sa.text("status = 'running'"))
    op.drop_table("sync_runs")
    op.drop_table("sync_leases")
    op.drop_table("sync_cursors")
    op.drop_table("sync_budgets")
    op.drop_table("quarantined_rows")
    op.drop_index(op.f("ix_progress_events_at"), table_name="progress_events")
    op.drop_table("progress_events")
    op.drop_index(op.f("ix_idempotent_requests_created_at"), table_name="idempotent_requests")
    op.drop_table("idempotent_requests")
    op.drop_table("grants")
    op.drop_index(op.f("ix_customers_name_key"), table_name="customers")
    op.drop_index("ix_customers_lower_name", table_name="customers")
    op.drop_table("customers")
    op.drop_index(op.f("ix_consents_expires_at"), table_name="consents")
    op.drop_table("consents")
    op.drop_table("billing_organisations")
    op.drop_table("audit_entries")
    op.drop_table("api_usage")
    op.execute("DROP FUNCTION refuse_change")
    op.execute("DROP FUNCTION wall_clock")
