"""Creates the first tables and the three functions they need.

`wall_clock` is the clock that leases, runs and the rate limiter use, `refuse_change` makes the audit log append-only,
and `take_call` decides for the rate limiter whether a call to the vendor may be made.
"""

from migrations.first_tables import audit, billing, billing_documents, connections, idempotency, sync
from migrations.functions import create_function, drop_function

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Column defaults call wall_clock, and take_call declares variables of the type of a table's row.
    create_function("wall_clock", 1)
    connections.create_tables()
    sync.create_tables()
    billing.create_tables()
    billing_documents.create_tables()
    idempotency.create_tables()
    audit.create_tables()
    create_function("take_call", 1)


def downgrade() -> None:
    drop_function("take_call")
    audit.drop_tables()
    idempotency.drop_tables()
    billing_documents.drop_tables()
    billing.drop_tables()
    sync.drop_tables()
    connections.drop_tables()
    drop_function("wall_clock")
