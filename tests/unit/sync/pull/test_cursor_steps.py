"""Single steps of the cursor: where it goes after one page, and where the next pull starts."""

from datetime import UTC, datetime, timedelta

import pytest

from app.billing.records import Batch
from app.connector import Page, RowKey, Traffic
from app.sync.pull.cursor import CursorState, advance

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
OVERLAP = timedelta(minutes=5)
# The newest row of every page here; the bound that it allows is the second before.
NEWEST = START + HOUR + timedelta(milliseconds=250)
BOUND = START + HOUR - SECOND
READ_AT = NEWEST + timedelta(minutes=20, milliseconds=400)


def make_page(size=100, dense=1, total: int | None = 1000, *, is_last=False, spacing=timedelta(minutes=1)):
    """Return a page whose last `dense` rows have the newest stamp; those before lie `spacing` apart."""
    sparse = [NEWEST - spacing * (size - number) for number in range(dense, size)]
    keys = [RowKey(f"row-{number:03d}", stamp) for number, stamp in enumerate(sorted(sparse) + [NEWEST] * dense)]
    return Page(Batch(), keys, [], len(keys), total, is_last, READ_AT, Traffic())


def active(**more):
    return CursorState(**{"is_active": True, **more})


def place(state):
    return state.since, state.page, state.resume_since


def test_the_bound_moves_to_the_second_before_the_last_row():
    state = advance(active(), make_page(), OVERLAP)
    assert place(state) == (BOUND, 1, None)
    assert (state.high_water, state.started_at) == (NEWEST, READ_AT)


def test_a_pull_has_begun_with_its_first_answer():
    assert advance(active(started_at=START), make_page(), OVERLAP).started_at == START


@pytest.mark.parametrize(
    ("dense", "total", "is_first", "moves"),
    [
        # Half a page is read again at most.
        (50, 1000, True, True),
        (51, 1000, True, False),
        # The first page of a pull may cost one call more, any other none.
        (50, 1000, False, False),
        (50, 1010, False, True),
        (1, 1000, False, False),
        (1, 999, False, True),
        # Without a count the first page moves it.
        (1, None, False, True),
        (50, None, False, True),
        (51, None, False, False),
    ],
)
def test_the_bound_moves_from_page_1_where_that_costs_no_more_calls(dense, total, is_first, moves):
    since = START - HOUR
    state = active(since=since, next_since=since if is_first else since - HOUR)
    assert place(advance(state, make_page(dense=dense, total=total), OVERLAP)) == (
        (BOUND, 1, None) if moves else (since, 2, None)
    )


def test_rows_of_the_bounds_own_instant_are_read_again():
    bound = START + HOUR
    stamps = [bound - HOUR] * 49 + [bound] * 50 + [bound + SECOND]
    keys = [RowKey(f"row-{number:03d}", stamp) for number, stamp in enumerate(stamps)]
    page = Page(Batch(), keys, [], 100, 1000, is_last=False, read_at=READ_AT, traffic=Traffic())
    assert place(advance(active(), page, OVERLAP)) == (None, 2, None)


@pytest.mark.parametrize(
    ("page", "pages_ahead", "dense", "moves"),
    [
        (20, 21, 10, True),
        (19, 21, 10, False),
        (20, 20, 10, False),
        (20, 21, 11, False),
        (5, 90, 1, False),
        (2, 90, 1, False),
    ],
)
def test_page_numbers_are_left_after_twenty_pages_where_more_lie_ahead_and_few_are_read_again(
    page, pages_ahead, dense, moves
):
    read = make_page(dense=dense, total=100 * (page + pages_ahead))
    expected = (None, page - 1, BOUND) if moves else (None, page + 1, None)
    assert place(advance(active(page=page), read, OVERLAP)) == expected


def test_what_the_first_page_may_cost_more_the_second_may_not():
    assert place(advance(active(page=2), make_page(total=1010), OVERLAP)) == (None, 3, None)


def test_without_a_count_page_numbers_are_never_left():
    assert place(advance(active(page=30), make_page(total=None), OVERLAP)) == (None, 31, None)


@pytest.mark.parametrize("since", [START + 2 * HOUR, BOUND])
def test_the_bound_never_moves_back_or_stays_where_the_vendor_ignores_it(since):
    state = advance(active(since=since, next_since=START), make_page(total=999), OVERLAP)
    assert place(state) == (since, 2, None)


@pytest.mark.parametrize(("total", "beyond"), [(1000, 900), (40, 0), (None, None)])
def test_the_rows_beyond_a_page_are_counted_for_the_next_bound(total, beyond):
    assert advance(active(), make_page(total=total), OVERLAP).counted == beyond


@pytest.mark.parametrize(("size", "total", "goes_on"), [(10, 20, True), (10, 19, False), (1, 2, True)])
def test_a_last_page_is_not_the_last_where_a_page_of_the_rows_counted_was_not_seen(size, total, goes_on):
    state = advance(active(), make_page(size, total=total, is_last=True, spacing=timedelta()), OVERLAP)
    assert (state.is_active, state.page) == ((True, 2) if goes_on else (False, 1))


@pytest.mark.parametrize("total", [100, None])
def test_a_list_of_one_page_is_complete(total):
    assert not advance(active(), make_page(total=total, is_last=True), OVERLAP).is_active


def test_the_last_of_several_pages_is_read_back_from_unless_every_row_was_seen():
    before = make_page()
    seen = frozenset(f"other-{number}" for number in range(200))
    state = active(page=3, seen=seen, counted=300)
    assert not advance(state, make_page(total=300, is_last=True), OVERLAP).is_active
    back = advance(state, make_page(total=299, is_last=True), OVERLAP)
    assert place(back) == (None, 2, BOUND)
    assert place(advance(back, before, OVERLAP)) == (None, 1, BOUND)


def test_after_the_way_back_the_pull_goes_on_from_the_bound_it_had_reached():
    state = active(since=START - HOUR, page=1, resume_since=BOUND, next_since=START - HOUR, missing_rows=0)
    assert place(advance(state, make_page(), OVERLAP)) == (BOUND, 1, None)


def test_the_same_page_again_ends_a_pull_that_does_not_know_what_was_seen_before():
    page = make_page(total=None)
    state = advance(active(page=3), page, OVERLAP)
    assert place(advance(state, page, OVERLAP)) == (None, 3, BOUND)


def test_the_same_page_again_lacks_no_row_where_it_is_the_last():
    state = advance(active(page=2, seen=frozenset({"a"})), make_page(total=None), OVERLAP)
    while state.is_active:
        state = advance(state, make_page(total=None, is_last=True), OVERLAP)
    assert state.missing_rows == 0


@pytest.mark.parametrize(("missing", "starts_again"), [(1, True), (0, False)])
def test_a_single_missing_row_has_the_next_pull_start_from_the_same_point(missing, starts_again):
    state = active(next_since=START, since=START)
    state = advance(state, make_page(total=100 + missing, is_last=True), OVERLAP)
    assert (state.missing_rows, state.short_pulls, state.next_since == START) == (missing, missing, starts_again)


WHOLE_NEWEST = NEWEST.replace(microsecond=0)


@pytest.mark.parametrize(
    ("state", "starts_at_answer"),
    [
        # One page, whose rows lie wider apart than the overlap: the newest stamp decides, which needs no clock.
        (active(), False),
        (active(since=START - HOUR, next_since=START - HOUR), False),
        (active(since=NEWEST - OVERLAP, next_since=START), False),
        # Pages were counted, or more than a page lies within the overlap: the instant of the first answer decides.
        (active(page=2, seen=frozenset(), counted=100), True),
        (active(page=1, resume_since=START - HOUR, since=START - HOUR), True),
        (active(since=NEWEST - OVERLAP + SECOND, next_since=START), True),
        (active(since=NEWEST - SECOND, next_since=START), True),
    ],
)
def test_the_next_pull_starts_before_the_newest_stamp_or_before_the_first_answer(state, starts_at_answer):
    done = advance(state, make_page(total=100, is_last=True), OVERLAP)
    assert not done.is_active
    newest = READ_AT.replace(microsecond=0) if starts_at_answer else WHOLE_NEWEST
    assert done.next_since == newest - OVERLAP
