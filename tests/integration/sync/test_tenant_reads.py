"""The reads of the pre-flight check: bounded in number and time, and honest about what was left out."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from app.clock import SystemClock
from app.connections.tables import Tenant
from app.connector import OrganisationForbidden, Traffic
from app.db import DatabaseUnavailable
from app.sync.tenant_reads import CONCURRENT_READS, TenantReader

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
PAGE = SimpleNamespace(page=SimpleNamespace(traffic=Traffic()))


def tenant(name, read_hours_ago=1, reason=None):
    read_at = NOON - timedelta(hours=read_hours_ago)
    return Tenant(vendor="xero", tenant_id=name, name=name, reason_code=reason, last_success_at=read_at)


class Client:
    """A tenant's client that answers at once, not at all, or with an error."""

    def __init__(self, answer):
        self.answer = answer

    async def fetch(self, _request, _priority):
        if self.answer == "silence":
            await asyncio.Event().wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return PAGE


def reader(db, answers=None, **bounds):
    def make_client(tenant_id):
        return Client((answers or {}).get(tenant_id))

    return TenantReader(db, SystemClock(), make_client, **bounds)


def names(tenants):
    return [one.name for one in tenants]


async def test_those_with_a_problem_and_those_read_longest_ago_are_tried_first(db):
    rows = [tenant("fresh"), tenant("old", 9), tenant("broken", 2, "internal_error"), tenant("older", 10)]
    reads = await reader(db, max_tenants=3).read(rows)
    assert (names(reads.good), names(reads.untried), reads.problems) == (["old", "broken", "older"], ["fresh"], {})


async def test_one_that_does_not_answer_in_time_has_a_problem_and_those_that_waited_were_not_tried(db):
    silent = [tenant(f"silent {number}", 9) for number in range(CONCURRENT_READS)]
    rows = [tenant("good", 10), *silent, tenant("late")]
    answers = dict.fromkeys(names(silent), "silence")
    reads = await reader(db, answers, seconds=0.5).read(rows)
    assert (names(reads.good), names(reads.untried)) == (["good"], ["late"])
    assert reads.problems == dict.fromkeys(names(silent), "It did not answer within 0.5 seconds.")


async def test_an_error_is_that_organisation_s_alone_and_a_database_that_is_away_is_raised(db):
    rows = [tenant("good"), tenant("forbidden")]
    reads = await reader(db, {"forbidden": OrganisationForbidden("No.")}).read(rows)
    assert (names(reads.good), list(reads.problems)) == (["good"], ["forbidden"])
    with pytest.raises(DatabaseUnavailable):
        await reader(db, {"good": DatabaseUnavailable("Away.")}).read(rows)


async def test_without_organisations_nothing_is_read(db):
    assert (await reader(db).read([])).good == []
