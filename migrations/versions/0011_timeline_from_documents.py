"""Makes `timeline_events` a view: the events of documents and payments are read from their rows, not stored.

What only an event told, when an invoice was voided and when a payment was deleted, becomes a column. The events of the
PSA and of other services move to `external_timeline_events`; the stored ones of documents and payments are dropped, and
the view shows the same events with ids of its own.

A replica of the older code stores events in the same transaction as its rows. From here on that transaction fails and
is rolled back; whichever replica runs the newer code reads the rows again from the same point. Going back writes the
stored events anew from the view.
"""

import sqlalchemy as sa
from alembic import op

from migrations.functions import create_function, drop_function
from migrations.views import create_view, drop_view

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

OLD, NEW = "timeline_events", "external_timeline_events"
COLUMNS = "id, source, customer_id, at, kind, title, detail, amount, currency, link, subject_id, dedupe_key, created_at"
DERIVED_KINDS = (
    "'invoice_issued', 'invoice_paid', 'invoice_voided', 'credit_memo_issued', 'payment_received', 'payment_deleted'"
)
# A document's or payment's own event names the row.
IS_DERIVED = f"subject_id IS NOT NULL AND kind IN ({DERIVED_KINDS})"
ENDS = (("billing_invoices", "voided_at", "invoice_voided"), ("billing_payments", "deleted_at", "payment_deleted"))


def upgrade() -> None:
    for table, column, kind in ENDS:
        op.add_column(table, sa.Column(column, sa.DateTime(timezone=True), nullable=True))
        op.execute(
            f"UPDATE {table} SET {column} = event.at FROM {OLD} AS event"  # noqa: S608 - the names above
            f" WHERE event.subject_id = {table}.id AND event.kind = '{kind}'"
        )
    _create_table(NEW)
    op.execute(f"INSERT INTO {NEW} ({COLUMNS}) SELECT {COLUMNS} FROM {OLD} WHERE NOT ({IS_DERIVED})")  # noqa: S608
    op.drop_table(OLD)
    _create_indexes(NEW)
    create_view(OLD, 1)
    create_function("insert_timeline_event", 1)
    op.execute(f"CREATE TRIGGER store INSTEAD OF INSERT ON {OLD} FOR EACH ROW EXECUTE FUNCTION insert_timeline_event()")


def downgrade() -> None:
    _create_table("timeline_events_stored")
    op.execute(f"INSERT INTO timeline_events_stored ({COLUMNS}) SELECT {COLUMNS} FROM {OLD}")  # noqa: S608
    drop_view(OLD)
    drop_function("insert_timeline_event")
    op.drop_table(NEW)
    op.rename_table("timeline_events_stored", OLD)
    for kind, columns in (("pk", ""), ("uq", "_dedupe_key"), ("fk", "_customer_id_customers")):
        op.execute(
            f"ALTER TABLE {OLD} RENAME CONSTRAINT {kind}_timeline_events_stored{columns} TO {kind}_{OLD}{columns}"
        )
    _create_indexes(OLD)
    for table, column, _ in ENDS:
        op.drop_column(table, column)


def _create_table(name: str) -> None:
    op.create_table(
        name,
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
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name=op.f(f"fk_{name}_customer_id_customers")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        sa.UniqueConstraint("dedupe_key", name=op.f(f"uq_{name}_dedupe_key")),
    )


def _create_indexes(table: str) -> None:
    """Create the indexes after the rows are there, which is faster than row by row."""
    columns = ["customer_id", sa.literal_column("at DESC"), "id"]
    op.create_index(op.f(f"ix_{table}_customer_id_at"), table, columns, unique=False)
    op.create_index(op.f(f"ix_{table}_subject_id"), table, ["subject_id"], unique=False)
