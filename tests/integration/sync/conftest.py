"""Fixtures for tests of the sync against the real database."""

import pytest

from tests.support.clocks import manual_clock


@pytest.fixture
async def clock(dsn):
    """The time of the test's database, which the test moves."""
    async with manual_clock(dsn) as clock:
        yield clock
