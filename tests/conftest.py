"""Fixtures for every test: a PostgreSQL per session, a database per test, and the captured log."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, settings
from structlog.testing import capture_logs

from app.api.middleware import deadline
from app.db import Database, migrate
from app.db_connection import SESSION_SETTINGS
from app.embedded_postgres import EmbeddedPostgres
from tests.support.pgbouncer import run_pgbouncer, with_port
from tests.support.ports import free_port
from tests.support.postgres import TEMPLATE, WITHOUT_DURABILITY, Administrator, make_data_dir, with_database


def pytest_configure():
    """Let no example of Hypothesis fail for the time it takes, which beside other load says nothing of the code."""
    settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("suite")


@pytest.fixture(scope="session")
def postgres_server():
    """The DSN of a superuser, on the server that TEST_DATABASE_URL names or else on one started for this session."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    data_dir = make_data_dir()
    with EmbeddedPostgres(data_dir, WITHOUT_DURABILITY) as server:
        yield server.start()
    shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def administrator(postgres_server):
    with Administrator(postgres_server) as administrator:
        yield administrator


@pytest.fixture(scope="session")
def template(administrator, postgres_server):
    """The name of a database with every migration, of which each test gets a copy."""
    administrator.execute(f"CREATE DATABASE {TEMPLATE}")
    # In a thread, because the migrations run an event loop and this thread may run the tests'.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate, with_database(postgres_server, TEMPLATE)).result()
    administrator.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")
    yield TEMPLATE
    administrator.execute(f"DROP DATABASE {TEMPLATE}")


@pytest.fixture
def dsn(administrator, template):
    """The DSN of a migrated database for this test, `postgresql+asyncpg://…`; it is dropped afterwards."""
    database = administrator.create_database(template)
    yield database
    administrator.drop_database(database)


@pytest.fixture(scope="session")
def pgbouncer(postgres_server):
    """The port of a PgBouncer in transaction mode in front of the server; without PgBouncer the test is skipped."""
    port = free_port()
    with run_pgbouncer(postgres_server, port):
        yield port


@pytest.fixture
def pooled_dsn(dsn, pgbouncer):
    """The DSN of the test's database through PgBouncer."""
    return with_port(dsn, pgbouncer)


@pytest.fixture
async def db(dsn):
    """The test's database, opened as the service opens it."""
    database = Database(dsn)
    yield database
    await database.close()


@pytest.fixture
async def other_db(dsn):
    """The test's database, opened once more as another replica opens it."""
    database = Database(dsn)
    yield database
    await database.close()


@pytest.fixture
def empty_dsn(administrator):
    """The DSN of a database without a table."""
    database = administrator.create_database()
    yield database
    administrator.drop_database(database)


@pytest.fixture
def production_deadlines():
    """Let requests give up on a silent database as soon as they do in production."""


@pytest.fixture(autouse=True)
def _long_deadlines(request, monkeypatch):
    """Let them wait for a minute in all other tests: a machine that is busy with many may stand still for seconds."""
    if "production_deadlines" not in request.fixturenames:
        monkeypatch.setattr(deadline, "IMPATIENT_SECONDS", 60)
        monkeypatch.setattr(deadline, "API_SECONDS", 60)


@pytest.fixture
def patient_server(monkeypatch):
    """Let PostgreSQL wait for a lock without end, so that no time ends a request but the one that the test moves."""
    monkeypatch.setitem(SESSION_SETTINGS, "lock_timeout", "0")
    monkeypatch.setitem(SESSION_SETTINGS, "statement_timeout", "0")


@pytest.fixture
def logs():
    """The entries logged during the test, as dictionaries.

    A folder whose tests log tracebacks uses it for all of them: drawing those in colour takes longer than the tests.
    """
    with capture_logs() as entries:
        yield entries
