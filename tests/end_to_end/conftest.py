"""Fixtures for tests of the whole service."""

import pytest

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
