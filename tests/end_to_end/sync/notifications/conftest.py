"""Fixtures for tests of what people are told."""

from datetime import UTC, datetime

import pytest

from tests.support.clocks import manual_clock
from tests.support.message_server import message_server


@pytest.fixture
async def people():
    """The server that takes the messages to people."""
    async with message_server() as taker:
        yield taker


@pytest.fixture
async def clock(dsn):
    """The time of the test's database, which the test moves."""
    async with manual_clock(dsn, datetime.now(UTC)) as clock:
        yield clock
