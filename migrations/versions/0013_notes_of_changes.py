"""Adds notes of what has changed since alerts and base currencies were derived, so that a refresh reads only that.

Both tables are new, and replicas of the older code neither read nor clear them: they derive everything anew. The first
refresh of the newer code does so too, and clears what was noted meanwhile.
"""

import sqlalchemy as sa
from alembic import op

from migrations.functions import create_function, drop_function

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = ("billing_invoices", "billing_credit_memos")
# The rows that a statement has, by the names that the function knows them by.
EVENTS = {
    "insert": "NEW TABLE AS new_rows",
    "update": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
    "delete": "OLD TABLE AS old_rows",
}


def upgrade() -> None:
    op.create_table(
        "billing_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=True),
        sa.Column("concerns_base_currency", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_changes")),
    )
    op.create_table(
        "billing_refreshes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_billing_refreshes")),
    )
    create_function("note_changes", 1)
    for table in TABLES:
        for event, rows in EVENTS.items():
            op.execute(
                f"CREATE TRIGGER note_changes_on_{event} AFTER {event} ON {table} REFERENCING {rows}"
                " FOR EACH STATEMENT EXECUTE FUNCTION note_changes()"
            )


def downgrade() -> None:
    for table in TABLES:
        for event in EVENTS:
            op.execute(f"DROP TRIGGER note_changes_on_{event} ON {table}")
    drop_function("note_changes")
    op.drop_table("billing_refreshes")
    op.drop_table("billing_changes")
