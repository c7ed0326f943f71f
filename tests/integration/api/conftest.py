"""Fixtures for tests against the real database."""

import pytest

from tests.support.api import ManualClock, api_client, make_app, make_services


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def api(db, clock):
    """The billing API, called as a viewer unless told otherwise."""
    async with api_client(make_app(make_services(db, clock)), clock, is_documented=True) as api:
        yield api


@pytest.fixture(autouse=True)
def logs(logs):
    """Captures the log of every test in this folder."""
    return logs
