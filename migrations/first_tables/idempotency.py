"""Table of `app.idempotency`: requests with an `Idempotency-Key` and their sealed replies."""

import sqlalchemy as sa
from alembic import op


def create_tables() -> None:
    _create_idempotent_requests()


def drop_tables() -> None:
    op.drop_table("idempotent_requests")


def _create_idempotent_requests() -> None:
    op.create_table(
        "idempotent_requests",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("request_hash", sa.Text(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("reply_sealed", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("wall_clock()"), nullable=False),
        sa.PrimaryKeyConstraint("key", "actor", name=op.f("pk_idempotent_requests")),
    )
    op.create_index(op.f("ix_idempotent_requests_created_at"), "idempotent_requests", ["created_at"], unique=False)
