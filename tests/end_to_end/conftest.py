"""A world per test."""

import pytest
from structlog.testing import capture_logs

from tests.support.service import open_world


@pytest.fixture
async def world(dsn):
    async with open_world(dsn) as opened:
        yield opened


@pytest.fixture(autouse=True)
def logs():
    """What is logged meanwhile; drawing tracebacks in colour would take longer than the tests."""
    with capture_logs() as entries:
        yield entries
