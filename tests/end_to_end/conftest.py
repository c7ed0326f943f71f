"""A world per test."""

import pytest

from tests.end_to_end.world import open_world


@pytest.fixture
async def world(dsn):
    async with open_world(dsn) as opened:
        yield opened
