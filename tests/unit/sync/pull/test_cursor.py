"""The cursor against a small model of Xero's list: sorted by change, edited between the pages."""

import random
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.billing.records import Batch, Resource
from app.connector import Page, PageRequest, RejectedRow, RowKey, Traffic
from app.sync.client.tenant_client import Fetched
from app.sync.pull.cursor import DENSE_PAGES, CursorState, advance, begin, restart_pages
from app.sync.pull.incremental import _advance

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
OVERLAP = timedelta(minutes=5)
ENDLESS = 2000


@dataclass
class List:
    """Xero's list: rows by id with the instant of their last change, which is also their version."""

    size: int
    is_inclusive: bool = True
    counts: bool = True
    now: datetime = START
    rows: dict[str, datetime] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()
    counts_the_page_alone: bool = False
    asked: list[int] = field(default_factory=list)

    @property
    def calls(self):
        return len(self.asked)

    def add(self, count, apart):
        for _ in range(count):
            self.now += apart
            self.rows[f"row-{len(self.rows):05d}"] = self.now

    def edit(self, row_id):
        self.rows[row_id] = self.now

    def ask(self, since, page):
        self.asked.append(page)
        assert self.calls < ENDLESS, "the walk does not end"
        bound = datetime.min.replace(tzinfo=UTC) if since is None else since
        if since is not None and not self.is_inclusive:
            bound = since + timedelta(seconds=1)
        found = sorted((stamp, row_id) for row_id, stamp in self.rows.items() if stamp >= bound)
        rows = found[(page - 1) * self.size : page * self.size]
        return rows, Page(
            batch=Batch(),
            keys=[RowKey(row_id, stamp) for stamp, row_id in rows if row_id not in self.rejected],
            rejected=[RejectedRow(row_id, "odd", "{}") for _, row_id in rows if row_id in self.rejected],
            row_count=len(rows),
            total_rows=len(rows if self.counts_the_page_alone else found) if self.counts else None,
            is_last=page * self.size >= len(found) if self.counts else len(rows) < self.size,
            read_at=self.now,
            traffic=Traffic(),
        )


def walk_once(vendor, walk, mirror, between=lambda: None, overlap=OVERLAP):
    """Walk to the end as the pull does, forgetting what a restart forgets whenever `between` says so."""
    walk = begin(walk)
    while walk.is_walking:
        rows, page = vendor.ask(walk.since, walk.page)
        for stamp, row_id in rows:
            mirror[row_id] = max(stamp, mirror.get(row_id, stamp))
        walk = advance(walk, page, overlap)
        if between():
            walk = replace(walk, seen=None)
    return walk


def quiet_walk(vendor):
    mirror: dict[str, datetime] = {}
    walk = walk_once(vendor, CursorState(), mirror)
    assert mirror == vendor.rows
    return walk


@st.composite
def disturbances(draw):
    """How a list looks and what happens between its pages, all from one seed so that failures shrink well."""
    return {
        "size": draw(st.integers(1, 7)),
        "rows": draw(st.integers(0, 60)),
        "apart": draw(st.sampled_from([0, 1, 400, 900, 5000])),
        "is_inclusive": draw(st.booleans()),
        "counts": draw(st.booleans()),
        "overlap": draw(st.sampled_from([2, 300])),
        "edits": draw(st.integers(0, 4)),
        "pace": draw(st.sampled_from([0, 3, 700, 4000, 400_000])),
        "crashes": draw(st.sampled_from([0, 0.3])),
        "seed": draw(st.integers(0, 2**20)),
    }


def make_list(how):
    vendor = List(how["size"], how["is_inclusive"], how["counts"])
    chance = random.Random(how["seed"])  # noqa: S311 - repeatable
    for _ in range(how["rows"]):
        vendor.add(1, timedelta(milliseconds=chance.randint(0, how["apart"])))
    return vendor, chance


def disturb(vendor, chance, how):
    vendor.now += timedelta(milliseconds=chance.randint(0, how["pace"]))
    for _ in range(chance.randint(0, how["edits"])):
        if vendor.rows and chance.random() < 0.8:
            vendor.edit(chance.choice(sorted(vendor.rows)))
        elif len(vendor.rows) < 200:
            vendor.add(1, timedelta(milliseconds=chance.randint(0, 5)))
    return chance.random() < how["crashes"]


@settings(max_examples=400)
@given(disturbances())
@example(
    {
        "size": 4,
        "rows": 59,
        "apart": 0,
        "is_inclusive": False,
        "counts": False,
        "overlap": 2,
        "edits": 2,
        "pace": 700,
        "crashes": 0,
        "seed": 2,
    }
)
def test_no_row_is_missed_whatever_is_edited_between_the_pages(how):
    vendor, chance = make_list(how)
    overlap = timedelta(seconds=how["overlap"])
    mirror: dict[str, datetime] = {}
    before: dict[str, datetime] = {}
    walk = CursorState()
    for _ in range(3):
        at_start = dict(vendor.rows)
        pages_left = iter(range(40))
        walk = walk_once(
            vendor,
            walk,
            mirror,
            lambda left=pages_left: next(left, None) is not None and disturb(vendor, chance, how),
            overlap,
        )
        unedited = {row_id: stamp for row_id, stamp in at_start.items() if vendor.rows[row_id] == stamp}
        assert {row_id: mirror.get(row_id) for row_id in unedited} == unedited
        # What was edited during the walk before this one, and not since, is here by now.
        assert all(mirror[row_id] == stamp for row_id, stamp in before.items() if vendor.rows[row_id] == stamp)
        before = dict(vendor.rows)
    walk_once(vendor, walk, mirror, overlap=overlap)
    assert mirror == vendor.rows


@settings(max_examples=150)
@given(st.integers(0, 130), st.integers(1, 7), st.integers(2000, 90_000), st.booleans())
def test_quiet_rows_cost_a_call_per_page_and_at_most_one_more(rows, size, apart, is_inclusive):
    vendor = List(size, is_inclusive)
    vendor.add(rows, timedelta(milliseconds=apart))
    quiet_walk(vendor)
    assert vendor.calls <= max(1, -(-rows // size)) + 1


@pytest.mark.parametrize(("rows", "size", "calls"), [(2500, 1000, 3), (1000, 1000, 1), (3000, 1000, 3), (7, 1, 7)])
def test_a_second_with_more_rows_than_a_page_is_paged_without_a_call_too_many(rows, size, calls):
    vendor = List(size)
    vendor.add(rows, timedelta())
    quiet_walk(vendor)
    assert vendor.calls == calls


@pytest.mark.parametrize("rows", [19_000, 20_000, 20_001])
def test_a_long_history_costs_a_call_per_page_and_at_most_one_more(rows):
    vendor = List(1000)
    vendor.add(rows, timedelta(seconds=40))
    quiet_walk(vendor)
    assert vendor.calls <= -(-rows // 1000) + 1


def test_a_tick_over_unchanged_rows_is_one_call():
    vendor = List(1000)
    vendor.add(2500, timedelta(seconds=7))
    walk = quiet_walk(vendor)
    for _ in range(3):
        vendor.asked, vendor.now = [], vendor.now + timedelta(minutes=15)
        walk = walk_once(vendor, walk, dict(vendor.rows))
        assert vendor.calls == 1


def test_a_crowd_within_the_overlap_is_not_read_again_at_every_tick():
    vendor = List(1000)
    vendor.add(2500, timedelta())
    walk = quiet_walk(vendor)
    counts = []
    for _ in range(3):
        vendor.asked, vendor.now = [], vendor.now + timedelta(minutes=15)
        walk = walk_once(vendor, walk, {})
        counts.append(vendor.calls)
    assert counts == [3, 1, 1]


def test_the_pages_of_a_crowd_are_read_again_backwards_when_one_of_its_rows_moved():
    vendor = List(10)
    vendor.add(45, timedelta())
    edits = iter(["row-00003"])
    mirror: dict[str, datetime] = {}

    def edit_once():
        vendor.now += timedelta(seconds=20)
        if row_id := next(edits, None):
            vendor.edit(row_id)

    walk_once(vendor, CursorState(), mirror, edit_once)
    assert mirror == vendor.rows


def test_more_rows_seen_than_the_vendor_counts_is_no_proof_of_completeness():
    vendor = List(10)
    vendor.add(35, timedelta())
    vendor.counts_the_page_alone = True
    walk_once(vendor, CursorState(), {})
    assert vendor.asked[:7] == [1, 2, 3, 4, 3, 2, 1]


def test_a_stamp_from_the_future_hides_no_later_change():
    vendor = List(10)
    vendor.add(5, timedelta(seconds=10))
    vendor.rows["row-00002"] = START + timedelta(days=3000)
    mirror: dict[str, datetime] = {}
    walk = walk_once(vendor, CursorState(), mirror)
    vendor.now += timedelta(minutes=15)
    vendor.edit("row-00004")
    walk_once(vendor, walk, mirror)
    assert mirror == vendor.rows


def test_rows_without_a_readable_stamp_do_not_stop_a_walk():
    vendor = List(10)
    vendor.add(50, timedelta(seconds=10))
    vendor.rejected = frozenset(sorted(vendor.rows)[:25])
    quiet_walk(vendor)


def test_rows_that_arrive_late_within_the_overlap_are_found():
    vendor = List(10)
    vendor.add(50, timedelta(seconds=10))
    walk = quiet_walk(vendor)
    late = vendor.now - OVERLAP + timedelta(seconds=2)
    vendor.rows["late"] = late
    vendor.now += timedelta(minutes=15)
    mirror: dict[str, datetime] = {}
    walk_once(vendor, walk, mirror)
    assert mirror["late"] == late


def test_a_long_crowd_is_left_once_the_rows_thin_out():
    vendor = List(100)
    vendor.add(100 * (DENSE_PAGES + 2), timedelta())
    vendor.add(10_000, timedelta(seconds=30))
    quiet_walk(vendor)
    assert vendor.asked[:3] == [1, 2, 3]
    assert max(vendor.asked) < DENSE_PAGES + 5
    assert vendor.calls <= len(vendor.rows) / 100 + DENSE_PAGES + 8


@pytest.mark.parametrize(("is_filtered", "page"), [(True, 6), (False, 1)])
def test_pages_counted_with_another_filter_are_begun_anew(is_filtered, page):
    """Without its filter a list is longer, and a page further back than where the row went that is looked for."""
    walk = CursorState(since=START, page=7, resume_since=START, next_since=START, is_walking=True)
    vendor = List(10)
    vendor.add(100, timedelta())
    _, answer = vendor.ask(START, 7)
    fetched = Fetched(answer, PageRequest(Resource.INVOICES, is_filtered=is_filtered))
    assert _advance(walk, fetched, OVERLAP, was_filtered=True).page == page


def test_pages_begun_anew_keep_the_bound():
    walk = CursorState(since=START, page=7, resume_since=START, next_since=START, is_walking=True, seen=frozenset("a"))
    assert restart_pages(walk) == CursorState(since=START, next_since=START, is_walking=True)
