"""Adds to the cursors how many rows the vendor counts and did not deliver, and how many pulls in a row were short.

Replicas of the older code leave both columns at their defaults. A constant default is kept in the catalog, so that no
row is rewritten.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sync_cursors", sa.Column("missing_rows", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("sync_cursors", sa.Column("short_pulls", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("sync_cursors", "short_pulls")
    op.drop_column("sync_cursors", "missing_rows")
