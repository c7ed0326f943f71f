"""Migrations equal the models, go up, down and up, disturb no replica, and run once when two start them at once."""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from app import db_connection
from app.db import Database, DatabaseUnavailable, alembic_config, migrate
from tests.support.paths import ROOT
from tests.support.postgres import for_asyncpg

SCHEMA_AT_0001 = Path(__file__).with_name("schema_at_0001.txt")
# Ends the wait of a migration that waits for a lock without end.
FAR_TOO_LONG_SECONDS = 60

# One line per column, constraint, index, trigger and function. Every version of PostgreSQL from 15 to 18 writes these
# alike; NOT NULL is left out of the constraints because only 18 lists it there.
SCHEMA = """
SELECT string_agg(line, E'\n' ORDER BY relname COLLATE "C", place, line COLLATE "C") FROM (
SELECT format('column %s.%s %s%s%s%s', relname, attname, format_type(atttypid, atttypmod),
              CASE WHEN attnotnull THEN ' not null' END, ' default ' || pg_get_expr(adbin, adrelid),
              CASE WHEN attidentity <> '' THEN ' identity ' || attidentity::text END) AS line, relname, attnum AS place
  FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
  LEFT JOIN pg_attrdef ON (adrelid, adnum) = (attrelid, attnum)
  WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('constraint %s.%s %s', relname, conname, pg_get_constraintdef(pg_constraint.oid)), relname, 10000
  FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid
  WHERE connamespace = 'public'::regnamespace AND contype <> 'n'
UNION ALL
SELECT format('index %s', indexdef), tablename, 20000 FROM pg_indexes WHERE schemaname = 'public'
UNION ALL
SELECT format('trigger %s', pg_get_triggerdef(pg_trigger.oid)), relname, 30000
  FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT format(E'view %s\n%s', relname, pg_get_viewdef(oid)), relname, 50000
  FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace
UNION ALL
SELECT format(E'function %s(%s) returns %s %s %s\n%s', proname, pg_get_function_arguments(pg_proc.oid),
              pg_get_function_result(pg_proc.oid), lanname, provolatile, prosrc), '~', 40000
  FROM pg_proc JOIN pg_language ON pg_language.oid = prolang WHERE pronamespace = 'public'::regnamespace
) AS lines WHERE relname NOT LIKE 'alembic%'
"""


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


async def schema_text(dsn):
    db = Database(dsn)
    async with db.engine.connect() as connection:
        text = await connection.exec_driver_sql(SCHEMA)
        schema = text.scalar_one()
    await db.close()
    return schema + "\n"


async def test_the_first_migration_makes_what_it_always_made(empty_dsn):
    in_thread(lambda: migrate(empty_dsn, "0001"))
    assert await schema_text(empty_dsn) == SCHEMA_AT_0001.read_text()


async def test_each_migration_can_be_taken_back_and_done_again(empty_dsn):
    config = alembic_config(empty_dsn)
    revisions = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    made = {}
    for revision in reversed(revisions):
        in_thread(lambda: command.upgrade(config, revision))  # noqa: B023 - called before the loop goes on
        made[revision] = await schema_text(empty_dsn)
    assert len(set(made.values())) == len(revisions)
    for revision in revisions[1:]:
        in_thread(lambda: command.downgrade(config, revision))  # noqa: B023 - called before the loop goes on
        assert await schema_text(empty_dsn) == made[revision]
    in_thread(lambda: migrate(empty_dsn))
    assert await schema_text(empty_dsn) == made[revisions[0]]


async def test_the_second_migration_changes_nothing_but_the_rate_limiters_function(empty_dsn):
    in_thread(lambda: migrate(empty_dsn, "0001"))
    before, _, functions_before = (await schema_text(empty_dsn)).partition("\nfunction ")
    in_thread(lambda: migrate(empty_dsn, "0002"))
    after, _, functions_after = (await schema_text(empty_dsn)).partition("\nfunction ")
    assert after == before
    kept = functions_after.replace("function take_call_v1(", "function take_call(")
    for function in functions_before.split("\nfunction "):
        assert function.rstrip() in kept


async def test_every_text_of_an_sql_function_belongs_to_a_migration():
    folder = ROOT / "migrations"
    used = "".join(path.read_text() for path in [*folder.glob("versions/*.py"), *folder.glob("first_tables/*.py")])
    for text in folder.glob("functions/*.sql"):
        name, _, version = text.stem.rpartition("_v")
        assert f'create_function("{name}", {version})' in used, f"no migration creates {text.name}"


async def wait_until_blocked(observer, connection):
    """Wait until the statement that runs on the connection waits for a lock of somebody else's."""
    blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
    while not await observer.fetchval(blocked, connection.get_server_pid()):  # noqa: ASYNC110 - only the server knows
        await asyncio.sleep(0.01)


async def test_a_migration_that_cannot_get_a_lock_ends_soon_and_changes_nothing(dsn, db, monkeypatch):
    monkeypatch.setattr(db_connection, "MIGRATION_LOCK_MILLISECONDS", 50)
    in_thread(lambda: command.downgrade(alembic_config(dsn), "0008"))
    before = await schema_text(dsn)
    reader, other = [await asyncpg.connect(for_asyncpg(dsn)) for _ in range(2)]
    async with reader.transaction():
        await reader.execute("SELECT FROM webhook_signature_failures")
        with pytest.raises(DatabaseUnavailable, match="changed nothing"):
            async with asyncio.timeout(FAR_TOO_LONG_SECONDS):
                await asyncio.to_thread(migrate, dsn)
        # The service goes on: nothing waits for the table any more, and it is as the service knows it.
        await other.execute("SET lock_timeout = '5s'")
        await other.execute("UPDATE webhook_signature_failures SET failures = failures")
    assert await schema_text(dsn) == before
    await asyncio.to_thread(migrate, dsn)
    assert await db.is_ready()
    for connection in (reader, other):
        await connection.close()


async def test_a_replica_is_given_permits_before_while_and_after_the_rate_limiters_function_is_replaced(empty_dsn):
    in_thread(lambda: migrate(empty_dsn, "0001"))
    replica, holder = [await asyncpg.connect(for_asyncpg(empty_dsn)) for _ in range(2)]
    take_call = await replica.prepare("SELECT decision FROM take_call('xero', 'a tenant', 30, 9000, 5000, 0)")
    assert await take_call.fetchval() == "go"
    async with holder.transaction():
        await holder.execute("SELECT FROM sync_budgets FOR UPDATE")
        in_progress = asyncio.create_task(take_call.fetchval())
        await wait_until_blocked(holder, replica)
        await asyncio.to_thread(migrate, empty_dsn, "0002")
    assert await in_progress == "go"
    assert await take_call.fetchval() == "go"
    await replica.close()
    await holder.close()


TWO_GRANTS_AND_A_TENANT = """
INSERT INTO grants (id, vendor, vendor_user_id, scope_set, connected_by) VALUES
  ('00000000-0000-4000-8000-000000000001', 'xero', 'first', 'broad', 'tester'),
  ('00000000-0000-4000-8000-000000000002', 'xero', 'second', 'broad', 'tester');
INSERT INTO tenants (vendor, tenant_id, name, connection_id, grant_id, updated_at, removed_at) VALUES
  ('xero', 'kept', 'Kept', 'c1', '00000000-0000-4000-8000-000000000001', '2026-11-01Z', NULL),
  ('xero', 'removed', 'Removed', 'c2', '00000000-0000-4000-8000-000000000001', '2026-11-01Z', '2026-11-02Z');
"""
# What the code of the release before writes when a second user consents.
CONSENT_OF_THE_SECOND = """
INSERT INTO tenants (vendor, tenant_id, name, connection_id, grant_id)
SELECT 'xero', one, one, 'c3', '00000000-0000-4000-8000-000000000002' FROM unnest(ARRAY['kept', 'new']) AS one
ON CONFLICT (vendor, tenant_id) DO UPDATE
  SET connection_id = excluded.connection_id, grant_id = excluded.grant_id, removed_at = NULL
"""
TENANT_GRANTS = """
SELECT tenant_id, vendor_user_id, connection_id, lost_at IS NOT NULL AS lost FROM tenant_grants
JOIN grants ON grants.id = grant_id ORDER BY tenant_id, vendor_user_id
"""


async def test_grants_of_tenants_are_filled_in_and_those_that_older_replicas_store_are_added(empty_dsn):
    in_thread(lambda: migrate(empty_dsn, "0002"))
    replica = await asyncpg.connect(for_asyncpg(empty_dsn))
    await replica.execute(TWO_GRANTS_AND_A_TENANT)
    in_thread(lambda: migrate(empty_dsn, "0003"))
    known = [("kept", "first", "c1", False), ("removed", "first", "c2", True)]
    assert [tuple(row) for row in await replica.fetch(TENANT_GRANTS)] == known
    assert await replica.fetchval("SELECT DISTINCT listed_at::text FROM tenant_grants") == "2026-11-01 00:00:00+00"

    await replica.execute(CONSENT_OF_THE_SECOND)
    added = [("kept", "second", "c3", False), ("new", "second", "c3", False)]
    assert [tuple(row) for row in await replica.fetch(TENANT_GRANTS)] == sorted([*known, *added])

    await replica.execute("UPDATE tenant_grants SET lost_at = now(), refused_at = now()")
    await replica.execute(CONSENT_OF_THE_SECOND)
    listed = "SELECT tenant_id FROM tenant_grants WHERE lost_at IS NULL AND refused_at IS NULL ORDER BY tenant_id"
    assert [row["tenant_id"] for row in await replica.fetch(listed)] == ["kept", "new"]
    await replica.close()


async def call_until(is_done, take_call):
    decisions = []
    while not is_done.is_set():
        decisions.append(await take_call.fetchval())
    return decisions


async def test_a_replica_of_the_release_before_is_given_permits_while_the_calls_of_webhooks_begin_to_be_counted(
    empty_dsn,
):
    in_thread(lambda: migrate(empty_dsn, "0002"))
    replica = await asyncpg.connect(for_asyncpg(empty_dsn))
    take_call = await replica.prepare("SELECT decision FROM take_call('xero', 'a tenant', 9000, 1000000, 50000, 0)")
    is_done = asyncio.Event()
    calling = asyncio.create_task(call_until(is_done, take_call))
    await asyncio.to_thread(migrate, empty_dsn, "0006")
    is_done.set()
    assert set(await calling) == {"go"}
    assert await take_call.fetchval() == "go"
    await replica.close()


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


async def test_taking_back_the_tenth_migration_gives_dismissed_events_back_as_given_up(empty_dsn):
    in_thread(lambda: migrate(empty_dsn, "0010"))
    db = Database(empty_dsn)
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql(
            "INSERT INTO xero_webhook_events (tenant_id, resource_id, category, event_type, event_at, payload, status)"
            " VALUES ('t', 'r', 'INVOICE', 'UPDATE', now(), '{}', 'dismissed')"
        )
    in_thread(lambda: migrate(empty_dsn, "-1"))
    async with db.engine.connect() as connection:
        found = await connection.exec_driver_sql("SELECT status FROM xero_webhook_events")
        assert found.scalar_one() == "dead"
    await db.close()


OLD_EVENTS = """
INSERT INTO customers (id, name) VALUES ('00000000-0000-0000-0000-000000000001', 'Acme');
INSERT INTO billing_invoices (id, source, source_tenant_id, external_id, customer_id, number, status, currency, total,
  paid, credited, balance, issued_on, vendor_updated_at)
SELECT '00000000-0000-0000-0000-000000000002', 'xero', 't1', 'i1', id, '7', 'void', 'NZD', 5, 0, 0, 0, '2026-10-01',
  '2026-10-09' FROM customers;
INSERT INTO timeline_events (source, customer_id, at, kind, title, amount, currency, subject_id, dedupe_key)
SELECT 'xero', customer_id, at::timestamptz, kind, title, total, currency, id, 'xero:t1:invoice:i1:' || kind
FROM billing_invoices, (VALUES ('2026-10-01 00:00Z', 'invoice_issued', 'Invoice 7 issued'),
  ('2026-10-05 08:00Z', 'invoice_voided', 'Invoice 7 voided')) AS event (at, kind, title);
INSERT INTO timeline_events (source, customer_id, at, kind, title, dedupe_key)
SELECT 'psa', id, '2026-10-03', 'ticket', 'Printer', 'psa:t-1' FROM customers;
"""


async def test_the_timeline_shows_the_same_events_once_it_is_read_from_the_documents(empty_dsn):
    config, found = alembic_config(empty_dsn), []

    async def read_events():
        connection = await asyncpg.connect(for_asyncpg(empty_dsn))
        columns = "source, customer_id, at, kind, title, subject_id, dedupe_key, amount, currency"
        found.append(await connection.fetch(f"SELECT {columns} FROM timeline_events ORDER BY dedupe_key"))  # noqa: S608
        await connection.close()

    in_thread(lambda: command.upgrade(config, "0009"))
    connection = await asyncpg.connect(for_asyncpg(empty_dsn))
    await connection.execute(OLD_EVENTS)
    await connection.close()
    await read_events()
    in_thread(lambda: command.upgrade(config, "0011"))
    await read_events()
    in_thread(lambda: command.downgrade(config, "-1"))
    await read_events()
    assert len(found[0]) == 3
    assert found[1] == found[0]
    assert found[2] == found[0]
