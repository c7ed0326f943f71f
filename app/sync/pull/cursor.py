"""The cursor of a pull: reads rows in order of change so that no edit made meanwhile can hide one. Arithmetic, no I/O.

Counting pages over a sort key that moves loses rows: a row edited while page 1 is read goes to the end and shifts
another onto a page that was read already. So a pull stays on page 1 and moves the bound `since` instead, to the second
before the last row's, because Xero does not say whether the bound is inclusive and compares whole seconds. Whatever was
not read then has a time stamp at or after the bound, whoever edits what.

Moving the bound reads the rows of its own seconds again. Where that would cost more than one call in a whole pull, or
where most of a page falls into its last two seconds, so that the bound can hardly move, the pull counts pages to the
end. If every row was then seen, by the vendor's own count, nothing is missing. If not, the pages are read once more
backwards: a row can only move towards earlier pages, so reading in the opposite direction must meet it.

A vendor may deliver fewer rows than it counts: pages of another size than asked for, an empty page, the same page again
and again. Then the pull ends with `missing_rows` and starts from the same point again, a few times; after that the next
pull goes on and the rows are left to the reconciliation, so that a count that is wrong for good does not cost a whole
read at every tick.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.billing.records import believe_stamp
from app.connector import Page, PageRequest, RejectedRow, RowKey

SECOND = timedelta(seconds=1)
# How many pulls in a row start from the same point because rows were missing.
MAX_SHORT_PULLS = 3
# After this many pages of dense rows the bound may move again, if more pages lie ahead than must be read backwards
# and at most one row in SPARSE_RATIO is read again.
DENSE_PAGES = 20
SPARSE_RATIO = 10


@dataclass(frozen=True, slots=True)
class CursorState:
    """How far a pull has come; before the first one everything is None.

    Attributes:
        since: the bound of the next request, whole seconds; None asks for everything.
        page: the page of the next request.
        resume_since: set while pages are read backwards: the bound to continue with after page 1.
        high_water: the newest time stamp seen in any pull.
        started_at: the vendor's clock at this pull's first answer.
        next_since: where the next pull starts, known once this one is complete; until then where this one started.
        is_active: whether a pull is under way.
        missing_rows: how many rows the vendor counts and did not deliver, in this pull or known from an earlier one.
        short_pulls: how many pulls in a row ended with rows missing, `MAX_SHORT_PULLS` at most.
        seen: ids read since page 1 of the present bound, and on the way back; None when that is not known, as after a
            restart.
        counted: how many rows the vendor must have at or after the present bound; None when that is not known.
        last_rows: the rows of the page before, to see whether the vendor goes on.
    """

    since: datetime | None = None
    page: int = 1
    resume_since: datetime | None = None
    high_water: datetime | None = None
    started_at: datetime | None = None
    next_since: datetime | None = None
    is_active: bool = False
    missing_rows: int = 0
    short_pulls: int = 0
    seen: frozenset[str] | None = None
    counted: int | None = None
    last_rows: tuple[RowKey | RejectedRow, ...] = ()


def begin(state: CursorState) -> CursorState:
    """Return the state to continue with: that of the pull under way, or a new pull from where the last ended."""
    if state.is_active:
        return state
    is_given_up = state.short_pulls >= MAX_SHORT_PULLS
    return CursorState(
        since=state.next_since,
        high_water=state.high_water,
        next_since=state.next_since,
        is_active=True,
        missing_rows=state.missing_rows if is_given_up else 0,
        short_pulls=state.short_pulls,
    )


def restart_pages(state: CursorState) -> CursorState:
    """Return the state back on page 1 of its bound, because the pages so far were counted by another size or filter.

    On page 1 of the way forward no page has been counted yet. On page 1 of the way back the last rows are still to be
    read, and a smaller page would not hold all of them.
    """
    if state.page == 1 and state.resume_since is None:
        return state
    return replace(state, page=1, resume_since=None, seen=None, counted=None)


def follow_request(state: CursorState, asked: PageRequest, answered: PageRequest) -> CursorState:
    """Return the state that an answer belongs to, which is `state` unless the request had to be changed.

    Args:
        state: the state when the page was asked for.
        asked: the request made of it.
        answered: the request that was answered. One of another size or filter is for page 1: page numbers count other
            rows now.
    """
    is_same = (asked.page_size, asked.is_filtered) == (answered.page_size, answered.is_filtered)
    return state if is_same else restart_pages(state)


def advance(state: CursorState, page: Page, overlap: timedelta) -> CursorState:
    """Return the state after a page is stored.

    Args:
        state: the state when the page was asked for.
        page: the answer.
        overlap: how far before the newest time stamp the next pull starts, because late stamps exist; a second or more.
    """
    stamps = [believe_stamp(key.changed_at, page.read_at) for key in page.keys]
    rows: tuple[RowKey | RejectedRow, ...] = (*page.keys, *page.rejected)
    is_repeated = state.page > 1 and bool(rows) and rows == state.last_rows
    known = [*stamps, state.high_water] if state.high_water else stamps
    state = replace(state, high_water=max(known, default=None), started_at=state.started_at or page.read_at)
    state = replace(_count_page(state, page, is_repeated=is_repeated), last_rows=rows)
    if state.resume_since is not None:
        return _previous_page(state, overlap)
    # A vendor that delivers the same page for the next number would do so for every number.
    if is_repeated or (page.is_last and not _has_more_pages(state, page)):
        return _finish_pages(state, page, stamps, overlap)
    bound = _next_since(stamps, state.since)
    if bound is None or not _should_move_bound(state, page, sum(stamp >= bound for stamp in stamps)):
        return replace(state, page=state.page + 1)
    if state.page > 1:
        # What the vendor counts goes beyond this page, so that it says nothing of the pages read again.
        return replace(state, page=state.page - 1, resume_since=bound, counted=None)
    beyond = None if state.counted is None else max(0, state.counted - page.row_count)
    return replace(state, since=bound, seen=None, counted=beyond)


def _count_page(state: CursorState, page: Page, *, is_repeated: bool) -> CursorState:
    """Add a page's rows to those seen, and on the way forward its count to what the vendor must have."""
    ids = _ids_of(state, page)
    if state.resume_since is not None:
        # Rows that were added since the last page are counted now, and read by the next bound.
        return replace(state, seen=None if state.seen is None else state.seen | ids)
    if state.page == 1 and state.counted is not None:
        # After the bound moved, `counted` are the rows beyond the page before; those read again come on top.
        again = ids & {row.external_id for row in state.last_rows}
        state = replace(state, counted=state.counted + len(again))
    seen = ids if state.page == 1 else None if state.seen is None else state.seen | ids
    counts = [count for count in (state.counted, page.total_rows) if count is not None]
    if is_repeated and seen is not None and not page.is_last:
        # A full page says that the list goes on.
        counts.append(len(seen) + 1)
    return replace(state, seen=seen, counted=max(counts, default=None))


def _ids_of(state: CursorState, page: Page) -> frozenset[str]:
    """Return the ids of a page's rows; a row without a readable one gets that of its place."""
    keyed = frozenset(key.external_id for key in page.keys)
    rejected = frozenset(row.external_id for row in page.rejected if row.external_id) - keyed
    nameless = range(page.row_count - len(page.keys) - len(rejected))
    return keyed | rejected | frozenset(f"row {number} of page {state.page}" for number in nameless)


def _has_more_pages(state: CursorState, page: Page) -> bool:
    """Say whether a page that should be the last is not, because a page's worth of the rows counted was not seen."""
    return page.row_count > 0 and _count_missing(state) >= page.row_count


def _count_missing(state: CursorState) -> int:
    """Return how many rows of the present bound the vendor counts beyond those seen; 0 where that is not known."""
    if state.seen is None or state.counted is None:
        return 0
    return max(0, state.counted - len(state.seen))


def _next_since(stamps: list[datetime], since: datetime | None) -> datetime | None:
    """Return the bound that a page's time stamps allow, or None when it would not move forward."""
    if not stamps:
        return None
    bound = max(stamps).replace(microsecond=0) - SECOND
    return bound if since is None or bound > since else None


def _should_move_bound(state: CursorState, page: Page, read_again: int) -> bool:
    """Say whether to move the bound, which reads `read_again` rows a second time.

    It is worth it where those rows fit into what the last page leaves empty; the first page of a pull may cost one call
    more, which suffices for the rest of all but the longest. Among dense rows it costs reading their pages backwards.
    """
    size = page.row_count
    if read_again * 2 > size:
        return False
    if page.total_rows is None:
        return state.page == 1
    pages_ahead = _page_count(page.total_rows - size * state.page, size)
    if state.page > 1:
        return DENSE_PAGES <= state.page < pages_ahead and read_again * SPARSE_RATIO <= size
    is_first = state.since == state.next_since
    return _page_count(page.total_rows - size + read_again, size) <= pages_ahead + is_first


def _page_count(rows: int, size: int) -> int:
    return -(-rows // size)


def _finish_pages(state: CursorState, page: Page, stamps: list[datetime], overlap: timedelta) -> CursorState:
    """Complete the pull on its last page, or read backwards when a row may have moved between pages.

    More rows seen than the vendor counts prove nothing either: then its count is of something else.
    """
    is_complete = state.seen is not None and len(state.seen) == page.total_rows
    if state.page == 1 or is_complete:
        return _complete(state, overlap)
    # Without any stamp the instant of this answer serves: what is edited from now on comes after it.
    resume_since = _next_since(stamps or [page.read_at], state.since) or state.since
    return replace(state, page=state.page - 1, resume_since=resume_since)


def _previous_page(state: CursorState, overlap: timedelta) -> CursorState:
    if state.page > 1:
        return replace(state, page=state.page - 1)
    state = replace(state, missing_rows=max(state.missing_rows, _count_missing(state)))
    if state.resume_since is None or (state.since is not None and state.resume_since <= state.since):
        return _complete(state, overlap)
    return replace(state, since=state.resume_since, resume_since=None, seen=None, counted=None)


def _complete(state: CursorState, overlap: timedelta) -> CursorState:
    """End the pull, and set where the next one starts: where this one did if rows are missing, a few times."""
    missing_rows = max(state.missing_rows, _count_missing(state))
    short_pulls = min(state.short_pulls + 1, MAX_SHORT_PULLS) if missing_rows else 0
    is_tried_again = 0 < short_pulls < MAX_SHORT_PULLS
    return CursorState(
        high_water=state.high_water,
        started_at=state.started_at,
        next_since=state.next_since if is_tried_again else _start_of_next(state, overlap),
        missing_rows=missing_rows,
        short_pulls=short_pulls,
    )


def _start_of_next(state: CursorState, overlap: timedelta) -> datetime | None:
    """Return the bound of the pull after this one.

    Normally that is `overlap` before the newest time stamp, which depends on no clock. When more than a page lies
    within the overlap, reading it again at every tick would cost more than it protects, and where pages were counted a
    row edited meanwhile may have been read in its old version. In both cases the next pull starts `overlap` before the
    vendor's clock at the start of this one.
    """
    high = state.high_water
    if high is None or state.started_at is None:
        return None
    is_dense = (
        state.page > 1 or state.resume_since is not None or (state.since is not None and state.since > high - overlap)
    )
    newest = state.started_at if is_dense else high
    return newest.replace(microsecond=0) - overlap
