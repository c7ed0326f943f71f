"""The cursor against a model of Xero's lists, sorted by change and edited between pages: no row may be missed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.billing.records import Batch, Resource
from app.connector import Page, PageRequest, RejectedRow, RowKey, Traffic
from app.sync.pull.cursor import (
    DENSE_PAGES,
    MAX_SHORT_PULLS,
    CursorState,
    advance,
    begin,
    follow_request,
    restart_pages,
)

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
OVERLAP = timedelta(minutes=5)
MAX_CALLS = 2000


@dataclass
class ModelList:
    """A model of one of Xero's lists.

    Attributes:
        size: rows of a page.
        is_inclusive: whether If-Modified-Since returns the rows of that very second too.
        counts: whether a page says how many rows there are.
        now: the instant of the next change.
        rows: by id, the instant of the row's last change, which is also its version.
        rejected: ids of rows that cannot be read.
        nameless: those of them whose id cannot be read either.
        counts_the_page_alone: whether that count is of the page's rows instead of all.
        ends_with_an_empty_page: whether, without counts, no page but an empty one says that it is the last.
        withheld: by number of the call, how many of the page's first rows are not delivered.
        ignores_page: whether every page is the first.
        ignores_since: whether If-Modified-Since has no effect.
        reduce_size: called before each page; the number of rows that pages have from now on, or None.
        requested: the page numbers that were requested.
    """

    size: int
    is_inclusive: bool = True
    counts: bool = True
    now: datetime = START
    rows: dict[str, datetime] = field(default_factory=dict)
    rejected: frozenset[str] = frozenset()
    nameless: frozenset[str] = frozenset()
    counts_the_page_alone: bool = False
    ends_with_an_empty_page: bool = False
    withheld: dict[int, int] = field(default_factory=dict)
    ignores_page: bool = False
    ignores_since: bool = False
    reduce_size: Callable[[], int | None] = lambda: None
    requested: list[int] = field(default_factory=list)

    @property
    def calls(self):
        return len(self.requested)

    def add(self, count, apart):
        for _ in range(count):
            self.now += apart
            self.rows[f"row-{len(self.rows):05d}"] = self.now

    def edit(self, row_id):
        self.rows[row_id] = self.now

    def read_page(self, since, page):
        self.requested.append(page)
        assert self.calls < MAX_CALLS, "the pull does not end"
        found = self.rows_since(None if self.ignores_since else since)
        first = 0 if self.ignores_page else (page - 1) * self.size
        rows = found[first : first + self.size][self.withheld.get(self.calls, 0) :]
        return rows, Page(
            batch=Batch(),
            keys=[RowKey(row_id, stamp) for stamp, row_id in rows if row_id not in self.rejected],
            rejected=[
                RejectedRow(None if row_id in self.nameless else row_id, "odd", "{}")
                for _, row_id in rows
                if row_id in self.rejected
            ],
            row_count=len(rows),
            total_rows=len(rows if self.counts_the_page_alone else found) if self.counts else None,
            is_last=not rows or self.is_last(page, len(rows), len(found)),
            read_at=self.now,
            traffic=Traffic(),
        )

    def rows_since(self, since):
        bound = datetime.min.replace(tzinfo=UTC) if since is None else since
        if since is not None and not self.is_inclusive:
            bound = since + timedelta(seconds=1)
        return sorted((stamp, row_id) for row_id, stamp in self.rows.items() if stamp >= bound)

    def is_last(self, page, delivered, found):
        if self.counts:
            return page * self.size >= found
        return delivered < self.size and not self.ends_with_an_empty_page


def pull_once(vendor, state, mirror, between=lambda: None, overlap=OVERLAP):
    """Read all pages as the pull does; when `between` returns true, forget what a crash makes the pull forget."""
    state = begin(state)
    while state.is_active:
        asked = PageRequest(Resource.INVOICES, state.since, state.page, vendor.size)
        if size := vendor.reduce_size():
            vendor.size = size
            state = follow_request(state, asked, replace(asked, page=1, page_size=size))
        rows, page = vendor.read_page(state.since, state.page)
        for stamp, row_id in rows:
            mirror[row_id] = max(stamp, mirror.get(row_id, stamp))
        state = advance(state, page, overlap)
        if between():
            state = replace(state, seen=None)
    return state


def pull_unchanged(vendor):
    mirror: dict[str, datetime] = {}
    state = pull_once(vendor, CursorState(), mirror)
    assert mirror == vendor.rows
    assert (state.missing_rows, state.short_pulls) == (0, 0)
    return state


@st.composite
def scenarios(draw):
    """Draw what a list holds and what happens between its pages, all from one seed so that failures shrink well."""
    return {
        "size": draw(st.integers(1, 7)),
        "rows": draw(st.integers(0, 60)),
        "apart": draw(st.sampled_from([0, 1, 400, 900, 5000])),
        "is_inclusive": draw(st.booleans()),
        "counts": draw(st.booleans()),
        "ends_with_an_empty_page": draw(st.booleans()),
        "overlap": draw(st.sampled_from([2, 300])),
        "edits": draw(st.integers(0, 4)),
        "pace": draw(st.sampled_from([0, 3, 700, 4000, 400_000])),
        "crashes": draw(st.sampled_from([0, 0.3])),
        "slowness": draw(st.sampled_from([0, 0.2])),
        "seed": draw(st.integers(0, 2**20)),
    }


def make_list(scenario):
    vendor = ModelList(scenario["size"], scenario["is_inclusive"], scenario["counts"])
    vendor.ends_with_an_empty_page = scenario["ends_with_an_empty_page"]
    rng = random.Random(scenario["seed"])  # noqa: S311 - repeatable
    for _ in range(scenario["rows"]):
        vendor.add(1, timedelta(milliseconds=rng.randint(0, scenario["apart"])))
    return vendor, rng


def reduce_sometimes(vendor, rng, scenario):
    """Return a smaller size of pages now and then, as after an answer that was too slow."""
    return rng.randint(1, vendor.size - 1) if vendor.size > 1 and rng.random() < scenario["slowness"] else None


def edit_between_pages(vendor, rng, scenario):
    vendor.now += timedelta(milliseconds=rng.randint(0, scenario["pace"]))
    for _ in range(rng.randint(0, scenario["edits"])):
        if vendor.rows and rng.random() < 0.8:
            vendor.edit(rng.choice(sorted(vendor.rows)))
        elif len(vendor.rows) < 200:
            vendor.add(1, timedelta(milliseconds=rng.randint(0, 5)))
    return rng.random() < scenario["crashes"]


@settings(max_examples=200)
@given(scenarios())
@example(
    {
        "size": 4,
        "rows": 59,
        "apart": 0,
        "is_inclusive": False,
        "counts": False,
        "ends_with_an_empty_page": False,
        "overlap": 2,
        "edits": 2,
        "pace": 700,
        "crashes": 0,
        "slowness": 0,
        "seed": 2,
    }
)
def test_no_row_is_missed_whatever_is_edited_between_the_pages(scenario):
    vendor, rng = make_list(scenario)
    vendor.reduce_size = lambda: reduce_sometimes(vendor, rng, scenario)
    overlap = timedelta(seconds=scenario["overlap"])
    mirror: dict[str, datetime] = {}
    before: dict[str, datetime] = {}
    state = CursorState()
    for _ in range(3):
        at_start = dict(vendor.rows)
        pages_left = iter(range(40))
        state = pull_once(
            vendor,
            state,
            mirror,
            lambda left=pages_left: next(left, None) is not None and edit_between_pages(vendor, rng, scenario),
            overlap,
        )
        unedited = {row_id: stamp for row_id, stamp in at_start.items() if vendor.rows[row_id] == stamp}
        assert {row_id: mirror.get(row_id) for row_id in unedited} == unedited
        # What was edited during the pull before this one, and not since, has been read by now.
        assert all(mirror[row_id] == stamp for row_id, stamp in before.items() if vendor.rows[row_id] == stamp)
        before = dict(vendor.rows)
    pull_once(vendor, state, mirror, overlap=overlap)
    assert mirror == vendor.rows
    # A row edited twice while it is looked for may be called missing; the reconciliation reads all and finds it.
    assert pull_once(vendor, CursorState(), {}, overlap=timedelta(0)).missing_rows == 0


@settings(max_examples=150)
@given(st.integers(0, 60), st.integers(1, 7), st.sampled_from([0, 400, 5000]), st.booleans(), st.booleans())
def test_rows_that_stay_as_they_are_are_never_called_missing(rows, size, apart, is_inclusive, is_read_whole):
    vendor = ModelList(size, is_inclusive, is_read_whole)
    vendor.add(rows, timedelta(milliseconds=apart))
    state = pull_unchanged(vendor)
    vendor.add(5, timedelta(milliseconds=apart))
    assert pull_once(vendor, state, dict(vendor.rows)).missing_rows == 0


@settings(max_examples=150)
@given(st.integers(0, 130), st.integers(1, 7), st.integers(2000, 90_000), st.booleans())
def test_unchanged_rows_cost_a_call_per_page_and_at_most_one_more(rows, size, apart, is_inclusive):
    vendor = ModelList(size, is_inclusive)
    vendor.add(rows, timedelta(milliseconds=apart))
    pull_unchanged(vendor)
    assert vendor.calls <= max(1, -(-rows // size)) + 1


@pytest.mark.parametrize(("rows", "size", "calls"), [(2500, 1000, 3), (1000, 1000, 1), (3000, 1000, 3), (7, 1, 7)])
def test_a_second_with_more_rows_than_a_page_is_paged_without_a_call_too_many(rows, size, calls):
    vendor = ModelList(size)
    vendor.add(rows, timedelta())
    pull_unchanged(vendor)
    assert vendor.calls == calls


@pytest.mark.parametrize("rows", [19_000, 20_000, 20_001])
def test_a_long_history_costs_a_call_per_page_and_at_most_one_more(rows):
    vendor = ModelList(1000)
    vendor.add(rows, timedelta(seconds=40))
    pull_unchanged(vendor)
    assert vendor.calls <= -(-rows // 1000) + 1


def test_a_tick_over_unchanged_rows_is_one_call():
    vendor = ModelList(1000)
    vendor.add(2500, timedelta(seconds=7))
    state = pull_unchanged(vendor)
    for _ in range(3):
        vendor.requested, vendor.now = [], vendor.now + timedelta(minutes=15)
        state = pull_once(vendor, state, dict(vendor.rows))
        assert vendor.calls == 1


def test_more_rows_of_one_second_than_a_page_holds_are_not_read_again_at_every_tick():
    vendor = ModelList(1000)
    vendor.add(2500, timedelta())
    state = pull_unchanged(vendor)
    counts = []
    for _ in range(3):
        vendor.requested, vendor.now = [], vendor.now + timedelta(minutes=15)
        state = pull_once(vendor, state, {})
        counts.append(vendor.calls)
    assert counts == [3, 1, 1]


def test_pages_of_one_second_are_read_again_backwards_when_one_of_their_rows_has_moved():
    vendor = ModelList(10)
    vendor.add(45, timedelta())
    edits = iter(["row-00003"])
    mirror: dict[str, datetime] = {}

    def edit_once():
        vendor.now += timedelta(seconds=20)
        if row_id := next(edits, None):
            vendor.edit(row_id)

    pull_once(vendor, CursorState(), mirror, edit_once)
    assert mirror == vendor.rows


def test_a_count_lower_than_the_rows_seen_is_no_proof_of_completeness():
    vendor = ModelList(10)
    vendor.add(35, timedelta())
    vendor.counts_the_page_alone = True
    pull_once(vendor, CursorState(), {})
    assert vendor.requested[:7] == [1, 2, 3, 4, 3, 2, 1]


def test_a_stamp_from_the_future_hides_no_later_change():
    vendor = ModelList(10)
    vendor.add(5, timedelta(seconds=10))
    vendor.rows["row-00002"] = START + timedelta(days=3000)
    mirror: dict[str, datetime] = {}
    state = pull_once(vendor, CursorState(), mirror)
    vendor.now += timedelta(minutes=15)
    vendor.edit("row-00004")
    pull_once(vendor, state, mirror)
    assert mirror == vendor.rows


def test_rows_without_a_readable_stamp_do_not_stop_a_pull():
    vendor = ModelList(10)
    vendor.add(50, timedelta(seconds=10))
    vendor.rejected = frozenset(sorted(vendor.rows)[:25])
    pull_unchanged(vendor)


def test_rows_that_arrive_late_within_the_overlap_are_found():
    vendor = ModelList(10)
    vendor.add(50, timedelta(seconds=10))
    state = pull_unchanged(vendor)
    late = vendor.now - OVERLAP + timedelta(seconds=2)
    vendor.rows["late"] = late
    vendor.now += timedelta(minutes=15)
    mirror: dict[str, datetime] = {}
    pull_once(vendor, state, mirror)
    assert mirror["late"] == late


def test_page_numbers_stop_growing_once_the_rows_of_a_second_fit_on_a_page():
    vendor = ModelList(100)
    vendor.add(100 * (DENSE_PAGES + 2), timedelta())
    vendor.add(10_000, timedelta(seconds=30))
    pull_unchanged(vendor)
    assert vendor.requested[:3] == [1, 2, 3]
    assert max(vendor.requested) < DENSE_PAGES + 5
    assert vendor.calls <= len(vendor.rows) / 100 + DENSE_PAGES + 8


ASKED = PageRequest(Resource.INVOICES, START, page=7, page_size=500)


@pytest.mark.parametrize(
    ("answered", "page"),
    [
        (ASKED, 7),
        (replace(ASKED, page=1, page_size=250), 1),
        (replace(ASKED, page=1, is_filtered=False), 1),
    ],
)
def test_pages_restart_when_the_size_or_the_filter_changes_and_only_then(answered, page):
    """A page of the same number lies before rows that are still to be read, or behind some that were not."""
    state = CursorState(since=START, page=7, resume_since=START, next_since=START, is_active=True)
    assert follow_request(state, ASKED, answered).page == page


@pytest.mark.parametrize("page", [1, 7])
def test_restarted_pages_keep_their_since(page):
    state = CursorState(START, page, resume_since=START, next_since=START, is_active=True, seen=frozenset("a"))
    assert restart_pages(state) == CursorState(since=START, next_since=START, is_active=True)
    assert restart_pages(replace(state, page=7, resume_since=None, counted=9)) == restart_pages(state)


def test_a_new_cursor_and_a_new_pull_know_of_no_missing_rows():
    assert (CursorState().missing_rows, CursorState().short_pulls) == (0, 0)
    assert begin(CursorState(missing_rows=7, short_pulls=1)).missing_rows == 0


def test_a_pull_under_way_is_continued_as_it_stands():
    state = CursorState(since=START, page=7, next_since=START, is_active=True, missing_rows=2)
    assert begin(state) == state


def test_the_first_page_of_a_bound_keeps_what_is_known_when_it_is_asked_for_again():
    state = CursorState(since=START, next_since=START, is_active=True, seen=frozenset("a"), counted=12)
    assert restart_pages(state) == state


@pytest.mark.parametrize("apart", [0, 400, 20_000])
def test_without_counts_a_list_is_read_until_a_page_is_empty(apart):
    vendor = ModelList(100, counts=False, ends_with_an_empty_page=True)
    vendor.add(350, timedelta(milliseconds=apart))
    pull_unchanged(vendor)


@pytest.mark.parametrize("apart", [0, 400, 20_000])
@pytest.mark.parametrize("call", [1, 2, 4])
@pytest.mark.parametrize("withheld", [40, 100])
def test_rows_that_are_counted_but_not_delivered_are_missing_and_read_by_the_next_pull(apart, call, withheld):
    vendor = ModelList(100)
    vendor.add(400, timedelta(milliseconds=apart))
    vendor.withheld = {call: withheld}
    mirror: dict[str, datetime] = {}
    state = pull_once(vendor, CursorState(), mirror)
    assert state.missing_rows >= len(vendor.rows) - len(mirror)
    assert (state.next_since is None) == (state.short_pulls == 1) == (state.missing_rows > 0)

    state = pull_once(vendor, state, mirror)

    assert mirror == vendor.rows
    assert (state.missing_rows, state.short_pulls) == (0, 0)


def test_rows_missing_from_pages_read_in_both_directions_are_not_forgotten_with_the_next_bound():
    vendor = ModelList(100)
    vendor.add(400, timedelta())
    vendor.now += timedelta(hours=1)
    vendor.add(5, timedelta(seconds=1))
    vendor.withheld = {3: 40, 9: 40}
    state = pull_once(vendor, CursorState(), {})
    assert vendor.requested[:11] == [1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1]
    assert (state.missing_rows, state.next_since) == (40, None)


@pytest.mark.parametrize(("withheld", "missing"), [({3: 40}, 0), ({3: 40, 5: 40}, 40)])
def test_rows_that_come_on_the_way_back_are_not_missing(withheld, missing):
    vendor = ModelList(100)
    vendor.add(400, timedelta())
    vendor.withheld = withheld
    assert pull_once(vendor, CursorState(), {}).missing_rows == missing


def test_rows_that_are_missing_beside_unreadable_ones_are_counted_exactly():
    vendor = ModelList(10)
    vendor.add(25, timedelta())
    vendor.rejected = frozenset(sorted(vendor.rows)[::3])
    # The first two rows of the third page, both times it is read.
    vendor.withheld = {3: 2, 8: 2}
    state = pull_once(vendor, CursorState(), {})
    assert vendor.requested[:8] == [1, 2, 3, 2, 1, 1, 2, 3]
    assert state.missing_rows == 2


def test_rows_whose_id_cannot_be_read_are_not_missing():
    vendor = ModelList(10)
    vendor.add(45, timedelta())
    vendor.rejected = vendor.nameless = frozenset(sorted(vendor.rows)[::3])
    pull_unchanged(vendor)


def test_rows_that_never_come_are_asked_for_three_times_and_then_left_to_the_reconciliation():
    vendor = ModelList(100)
    vendor.add(150, timedelta(seconds=20))
    vendor.withheld = dict.fromkeys(range(1, 100), 30)
    state, starts = CursorState(), []
    for _ in range(5):
        starts.append(state.next_since)
        vendor.now += timedelta(minutes=15)
        state = pull_once(vendor, state, {})
        assert state.missing_rows >= 30
    assert starts[:3] == [None] * 3
    assert all(starts[3:])
    assert state.short_pulls == MAX_SHORT_PULLS


def test_rows_given_up_stay_missing_although_later_pulls_miss_nothing():
    vendor = ModelList(100)
    vendor.add(50, timedelta(seconds=20))
    given_up = CursorState(next_since=START, missing_rows=7, short_pulls=MAX_SHORT_PULLS)
    state = pull_once(vendor, given_up, {})
    assert (state.missing_rows, state.short_pulls) == (7, MAX_SHORT_PULLS)
    assert state.next_since > START


@pytest.mark.parametrize(("counts", "missing"), [(True, 150), (False, 1)])
def test_a_vendor_that_repeats_a_page_ends_the_pull_with_rows_missing(counts, missing):
    vendor = ModelList(100, counts=counts, ignores_page=True, ignores_since=True)
    vendor.add(250, timedelta())
    state = pull_once(vendor, CursorState(), {})
    assert vendor.requested[:3] == [1, 2, 1]
    assert vendor.calls < 12
    assert state.missing_rows == missing


def test_a_vendor_that_repeats_pages_of_unreadable_rows_ends_the_pull_too():
    vendor = ModelList(100, counts=False, ignores_page=True, ignores_since=True)
    vendor.add(250, timedelta())
    vendor.rejected = frozenset(vendor.rows)
    assert pull_once(vendor, CursorState(), {}).missing_rows == 1
    assert vendor.requested[:3] == [1, 2, 1]


def test_a_page_shorter_than_the_one_before_does_not_end_a_list_whose_rows_are_counted():
    """Between two pages `pageSize` loses its effect: what the vendor calls the last page leaves rows unread."""
    vendor = ModelList(100)
    vendor.add(350, timedelta())
    state, mirror = begin(CursorState()), set()
    while state.is_active:
        rows, page = vendor.read_page(state.since, state.page)
        mirror |= {row_id for _, row_id in rows}
        state = advance(state, replace(page, is_last=page.is_last or state.page == 2), OVERLAP)
    assert mirror == set(vendor.rows)
    assert state.missing_rows == 0


LEAST = datetime(1, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("stamp", [LEAST, datetime(1752, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, tzinfo=UTC)])
@pytest.mark.parametrize(("odd", "ordinary"), [(1, 0), (30, 0), (3, 7), (11, 10), (0, 5)])
def test_stamps_before_1970_neither_overflow_the_cursor_nor_are_asked_for(stamp, odd, ordinary):
    vendor = ModelList(10)
    vendor.add(ordinary, timedelta(seconds=30))
    vendor.rows |= {f"odd-{number}": stamp for number in range(odd)}
    state = pull_unchanged(vendor)
    assert state.next_since.year >= 1969
    assert state.high_water >= datetime(1970, 1, 1, tzinfo=UTC)
    vendor.now += timedelta(minutes=15)
    vendor.rows |= dict.fromkeys(list(vendor.rows)[:1], vendor.now)
    mirror: dict[str, datetime] = {}
    pull_once(vendor, state, mirror)
    assert vendor.now in mirror.values()


def test_the_last_date_of_the_calendar_does_not_overflow_the_cursor():
    vendor = ModelList(10)
    vendor.add(25, timedelta(seconds=30))
    vendor.rows |= {f"odd-{number}": datetime.max.replace(tzinfo=UTC) for number in range(25)}
    state = pull_unchanged(vendor)
    assert state.high_water == vendor.now
