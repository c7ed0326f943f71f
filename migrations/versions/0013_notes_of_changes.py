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

# The tables whose changes each function notes.
TABLES = {
    "note_changes": ("billing_invoices", "billing_credit_memos"),
    "note_customers": ("billing_services", "billing_invoices", "customer_links"),
}
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
        sa.Column("customer_id", sa.Uuid(), nullable=True),
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
    create_function("note_customers", 1)
    for function, tables in TABLES.items():
        for table in tables:
            for event, rows in EVENTS.items():
                op.execute(
                    f"CREATE TRIGGER {function}_on_{event} AFTER {event} ON {table} REFERENCING {rows}"
                    f" FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
                )


def downgrade() -> None:
    for function, tables in TABLES.items():
        for table in tables:
            for event in EVENTS:
                op.execute(f"DROP TRIGGER {function}_on_{event} ON {table}")
        drop_function(function)
    op.drop_table("billing_refreshes")
    op.drop_table("billing_changes")
