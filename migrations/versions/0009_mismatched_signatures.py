"""Counts the refused deliveries whose signature is well formed but fits no key apart from the other refused ones.

Anybody can post to the webhook's address without a signature; only a signature that the vendor could have made says
that a key may be wrong. Both columns have defaults, so that replicas of the older code go on inserting rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLE = "webhook_signature_failures"


def upgrade() -> None:
    op.add_column(TABLE, sa.Column("mismatches", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column(TABLE, sa.Column("last_mismatch_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column(TABLE, "last_mismatch_at")
    op.drop_column(TABLE, "mismatches")
