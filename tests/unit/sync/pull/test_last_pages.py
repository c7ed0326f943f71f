"""Held pages: only those that end a pull and bring nothing new may wait, and they are stored in the order of a run."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.billing.records import Batch, Resource
from app.connector import Page, PageRequest, RejectedRow, RowKey, Traffic
from app.sync.client.tenant_client import Fetched
from app.sync.pull.cursor import CursorState
from app.sync.pull.last_pages import LastPages, brings_nothing_new
from app.sync.pull.pages import PageStep

NEWEST = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def step_of(  # noqa: PLR0913 - each makes a page worth storing at once
    resource=Resource.INVOICES, *, stamps=(NEWEST,), newest=NEWEST, is_last=True, rejected=(), is_limited=False
):
    keys = [RowKey(f"row {number}", stamp) for number, stamp in enumerate(stamps)]
    page = Page(Batch(), keys, list(rejected), len(keys), len(keys), is_last, NEWEST, Traffic())
    state = CursorState(high_water=newest, is_active=True)
    fetched = Fetched(page, PageRequest(resource, page_size=10), is_limited)
    return PageStep(state, replace(state, is_active=not is_last), fetched)


@pytest.mark.parametrize(
    ("step", "is_quiet"),
    [
        (step_of(stamps=()), True),
        (step_of(stamps=(), newest=None), True),
        (step_of(stamps=(NEWEST - SECOND, NEWEST)), True),
        (step_of(stamps=(NEWEST, NEWEST + SECOND)), False),
        (step_of(newest=None), False),
        (step_of(is_last=False), False),
        (step_of(rejected=[RejectedRow("row 9", "It cannot be read.", "{}")]), False),
        (step_of(is_limited=True), False),
    ],
)
def test_a_page_brings_nothing_new_where_no_row_is_newer_than_those_seen_and_nothing_else_is_to_be_kept(step, is_quiet):
    assert brings_nothing_new(step) == is_quiet
    assert LastPages().hold(step) == is_quiet


def test_held_pages_are_returned_once_in_the_order_of_a_run_and_none_is_held_afterwards():
    pages = LastPages()
    held = [step_of(resource) for resource in reversed(Resource)]
    for step in held:
        assert pages.hold(step)
    assert [step.fetched.request.resource for step in pages.close()] == list(Resource)
    assert not pages.hold(step_of())
    assert pages.close() == []
