"""Lists the audit trail by time, and lets its trigger work in every session.

The index serves `GET /audit-log`. `ENABLE ALWAYS` lets the trigger that makes the table append-only work also in a
session that a superuser has set to `session_replication_role = replica`. Replicas of the older code only append.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_audit_entries_at"), "audit_entries", ["at"], unique=False)
    op.execute("ALTER TABLE audit_entries ENABLE ALWAYS TRIGGER append_only")


def downgrade() -> None:
    op.execute("ALTER TABLE audit_entries ENABLE TRIGGER append_only")
    op.drop_index(op.f("ix_audit_entries_at"), table_name="audit_entries")
