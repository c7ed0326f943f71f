"""Counts the calls that webhooks cause on their own, and the good answers that did not hold an event's row.

`sync_budgets.webhook_slots` names the slots that webhooks use, so that the rate limiter can keep half of a tenant's
minute for its pulls. `xero_webhook_events.answers_without_row` tells a row that the vendor does not have from a read
that failed. Both columns have defaults, which PostgreSQL adds without writing the tables' rows.

`take_call` gets two parameters with defaults: replicas of the older code pass the first six by position and are given
permits as before. Their function is kept as `take_call_v2` for the calls in progress, as migration 0002 explains.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from migrations.functions import create_function, drop_function, rename_function

revision = "0006"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    slots = postgresql.ARRAY(sa.DateTime(timezone=True))
    column = sa.Column("webhook_slots", slots, server_default=sa.text("'{}'::timestamptz[]"), nullable=False)
    op.add_column("sync_budgets", column)
    column = sa.Column("answers_without_row", sa.Integer(), server_default="0", nullable=False)
    op.add_column("xero_webhook_events", column)
    rename_function("take_call", "take_call_v2")
    create_function("take_call", 3)


def downgrade() -> None:
    drop_function("take_call")
    rename_function("take_call_v2", "take_call")
    op.drop_column("xero_webhook_events", "answers_without_row")
    op.drop_column("sync_budgets", "webhook_slots")
