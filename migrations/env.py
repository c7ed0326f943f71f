"""Runs the migrations over asyncpg: one process at a time, and never waiting long for a lock."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

import app.audit
import app.billing.changes
import app.billing.tables
import app.billing.timeline
import app.connections.tables
import app.idempotency
import app.sync.notifications.tables
import app.sync.tables  # noqa: F401 - the import registers the tables
from app import db_connection
from app.db import Table


def run_migrations(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Table.metadata)
    with context.begin_transaction():
        # Two replicas may start at once: the second waits here and then finds no migration left to run.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('billing migrations'))"))
        connection.execute(text(f"SET LOCAL lock_timeout = {db_connection.MIGRATION_LOCK_MILLISECONDS}"))
        context.run_migrations()


async def connect_and_run() -> None:
    attributes = context.config.attributes
    engine = db_connection.make_migration_engine(attributes["dsn"], attributes["pooler"])
    async with engine.connect() as connection:
        await connection.run_sync(run_migrations)
        await connection.commit()
    await engine.dispose()


asyncio.run(connect_and_run())
