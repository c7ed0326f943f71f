"""Fixtures for every test: a PostgreSQL per session, and a database of its own per test."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.db import Database, migrate
from app.embedded_postgres import EmbeddedPostgres
from tests.support.postgres import TEMPLATE, Administrator, make_data_dir, with_database

# Tests may lose their data when the machine goes down, so nothing waits for the disk.
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


@pytest.fixture(scope="session")
def postgres_server():
    """The DSN of a superuser: on a server of this session's own, or on the one that TEST_DATABASE_URL names."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    data_dir = make_data_dir()
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        yield server.start()
    shutil.rmtree(data_dir)


@pytest.fixture(scope="session")
def administrator(postgres_server):
    with Administrator(postgres_server) as administrator:
        yield administrator


@pytest.fixture(scope="session")
def template(administrator, postgres_server):
    """The name of a database that went through every migration; tests get copies of it."""
    administrator.execute(f"CREATE DATABASE {TEMPLATE}")
    # In a thread of its own, where the migrations' event loop cannot meet the one of the tests.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(migrate, with_database(postgres_server, TEMPLATE)).result()
    administrator.execute(f"ALTER DATABASE {TEMPLATE} ALLOW_CONNECTIONS false")
    yield TEMPLATE
    administrator.execute(f"DROP DATABASE {TEMPLATE}")


@pytest.fixture
def dsn(administrator, template):
    """A migrated database of the test's own, `postgresql+asyncpg://…`; gone afterwards."""
    database = administrator.create_database(template)
    yield database
    administrator.drop_database(database)


@pytest.fixture
async def db(dsn):
    """The test's own database, opened as the service opens it."""
    database = Database(dsn)
    yield database
    await database.close()


@pytest.fixture
def empty_dsn(administrator):
    """A database without a single table."""
    database = administrator.create_database()
    yield database
    administrator.drop_database(database)
