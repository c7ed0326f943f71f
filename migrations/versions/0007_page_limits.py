"""Adds to the cursors the rows a page that came after answers that were too slow or too large, and when that was.

Replicas of the older code leave both columns empty and ask for pages of the configured size.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("sync_cursors", sa.Column("page_limit", sa.Integer(), nullable=True))
    op.add_column("sync_cursors", sa.Column("page_limit_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("sync_cursors", "page_limit_at")
    op.drop_column("sync_cursors", "page_limit")
