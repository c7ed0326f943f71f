"""Migrations: they equal the models, go up, down and up, and two that start at once do it once."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic import command

from app.db import Database, alembic_config, migrate


def in_thread(work):
    """Run it in a thread of its own, where the migrations' event loop cannot meet the one of the tests."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work).result()


def test_the_models_equal_the_migrations(dsn):
    in_thread(lambda: command.check(alembic_config(dsn)))


async def table_names(dsn):
    db = Database(dsn)
    async with db.engine.connect() as connection:
        found = await connection.exec_driver_sql(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
            " UNION SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        names = {row[0] for row in found}
    await db.close()
    return names


async def test_up_down_up(empty_dsn):
    in_thread(lambda: migrate(empty_dsn))
    everything = await table_names(empty_dsn)
    assert {"billing_invoices", "xero_webhook_events", "take_call", "wall_clock"} <= everything
    in_thread(lambda: migrate(empty_dsn, "base"))
    assert await table_names(empty_dsn) == {"alembic_version", "alembic_version_pkc"}
    in_thread(lambda: migrate(empty_dsn))
    assert await table_names(empty_dsn) == everything


def migrate_twice_at_once(dsn):
    words = [sys.executable, "-c", "import sys; from app.db import migrate; migrate(sys.argv[1])", dsn]
    both = [subprocess.Popen(words) for _ in range(2)]  # noqa: S603 - our own words
    return [one.wait(60) for one in both]


async def test_two_that_start_at_once_migrate_once(empty_dsn):
    assert migrate_twice_at_once(empty_dsn) == [0, 0]
    db = Database(empty_dsn)
    assert await db.is_ready()
    await db.close()


async def test_the_audit_trail_refuses_every_change(dsn):
    db = Database(dsn)
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql("INSERT INTO audit_entries (actor, action, target) VALUES ('a', 'b', 'c')")
    for change in ("UPDATE audit_entries SET actor = 'x'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"):
        with pytest.raises(Exception, match="append-only"):
            async with db.engine.begin() as connection:
                await connection.exec_driver_sql(change)
    await db.close()
