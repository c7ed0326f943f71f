"""Fixtures for tests of the whole service."""

import pytest

from app.db_connection import SESSION_SETTINGS
from tests.support.service import open_harness


@pytest.fixture
async def harness(dsn):
    """The service and the simulated Xero over the test's database."""
    async with open_harness(dsn) as opened:
        yield opened


@pytest.fixture(autouse=True)
def logs(logs):
    """Captures the log of every test in this folder."""
    return logs


@pytest.fixture
def patient_server(monkeypatch):
    """Let PostgreSQL wait for a lock without end, so that only the stopped time of the event loop ends a request."""
    monkeypatch.setitem(SESSION_SETTINGS, "lock_timeout", "0")
    monkeypatch.setitem(SESSION_SETTINGS, "statement_timeout", "0")
