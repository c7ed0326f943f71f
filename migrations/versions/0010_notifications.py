"""Adds the incidents that people are told of and the messages about them, and lets webhook events be dismissed.

Both tables are new, and replicas of the older code do not use them. The new constraint of the events' status reads the
table once, under the lock. Replicas of the older code do not know the new status; they can list
no page of events with a dismissed one.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FORMER_EVENT_STATUSES = "'pending', 'processed', 'ignored', 'failed', 'dead'"
EVENT_STATUSES = f"{FORMER_EVENT_STATUSES}, 'dismissed'"


def upgrade() -> None:
    _create_incidents()
    _create_notifications()
    _replace_event_status(EVENT_STATUSES)


def downgrade() -> None:
    op.execute("UPDATE xero_webhook_events SET status = 'dead' WHERE status = 'dismissed'")
    _replace_event_status(FORMER_EVENT_STATUSES)
    op.drop_table("notifications")
    op.drop_table("incidents")


def _replace_event_status(statuses: str) -> None:
    name = op.f("ck_xero_webhook_events_status")
    op.drop_constraint(name, "xero_webhook_events")
    op.create_check_constraint(name, "xero_webhook_events", f"status IN ({statuses})")


def _create_incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("vendor", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("subjects", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_incidents")),
    )
    op.create_index(
        "ix_incidents_open", "incidents", ["vendor"], unique=False, postgresql_where=sa.text("resolved_at IS NULL")
    )


def _create_notifications() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=False),
        sa.Column("change", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "status IN ('waiting', 'failing', 'sent', 'abandoned')", name=op.f("ck_notifications_status")
        ),
        sa.CheckConstraint("change IN ('opened', 'resolved')", name=op.f("ck_notifications_change")),
        sa.ForeignKeyConstraint(
            ["incident_id"],
            ["incidents.id"],
            name=op.f("fk_notifications_incident_id_incidents"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_notifications")),
        sa.UniqueConstraint(
            "incident_id", "change", "address", name=op.f("uq_notifications_incident_id_change_address")
        ),
    )
    op.create_index(
        "ix_notifications_unsent",
        "notifications",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('waiting', 'failing')"),
    )
