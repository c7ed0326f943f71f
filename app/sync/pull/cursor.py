"""The cursor of a pull: reads rows in order of change so that no edit made meanwhile can hide one. Arithmetic, no I/O.

Counting pages over a sort key that moves loses rows: a row edited while page 1 is read goes to the end and shifts
another onto a page that was read already. So a pull stays on page 1 and moves the bound `since` instead, to the second
before the last row's, because Xero does not say whether the bound is inclusive and compares whole seconds. Whatever was
not read then has a time stamp at or after the bound, whoever edits what.

Moving the bound reads the rows of its own seconds again. Where that would cost more than one call in a whole pull, or
where most of a page falls into its last two seconds, so that the bound can hardly move, the pull counts pages to the
end. If every row was then seen, by the vendor's own count, nothing is missing. If not, the pages are read once more
backwards: a row can only move towards earlier pages, so reading in the opposite direction must meet it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.connector import Page

SECOND = timedelta(seconds=1)
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
        seen: ids read since page 1 of the present bound; None when that is not known, as after a restart.
    """

    since: datetime | None = None
    page: int = 1
    resume_since: datetime | None = None
    high_water: datetime | None = None
    started_at: datetime | None = None
    next_since: datetime | None = None
    is_active: bool = False
    seen: frozenset[str] | None = None


def begin(state: CursorState) -> CursorState:
    """Return the state to continue with: that of the pull under way, or a new pull from where the last ended."""
    if state.is_active:
        return state
    return CursorState(since=state.next_since, high_water=state.high_water, next_since=state.next_since, is_active=True)


def restart_pages(state: CursorState) -> CursorState:
    """Return the state back on page 1 of its bound, because the pages so far were counted by another size or filter."""
    return replace(state, page=1, resume_since=None, seen=None)


def advance(state: CursorState, page: Page, overlap: timedelta) -> CursorState:
    """Return the state after a page is stored.

    Args:
        state: the state when the page was asked for.
        page: the answer.
        overlap: how far before the newest time stamp the next pull starts, because late stamps exist; a second or more.
    """
    # A stamp later than the answer itself is wrong, and a cursor that believed it would skip every change until then.
    stamps = [min(key.changed_at, page.read_at) for key in page.keys]
    known = [*stamps, state.high_water] if state.high_water else stamps
    state = replace(state, high_water=max(known, default=None), started_at=state.started_at or page.read_at)
    if state.resume_since is not None:
        return _previous_page(state, overlap)
    state = replace(state, seen=_seen_ids(state, page))
    if page.is_last:
        return _finish_pages(state, page, stamps, overlap)
    bound = _next_since(stamps, state.since)
    if bound is None or not _should_move_bound(state, page, sum(stamp >= bound for stamp in stamps)):
        return replace(state, page=state.page + 1)
    if state.page > 1:
        return replace(state, page=state.page - 1, resume_since=bound)
    return replace(state, since=bound, seen=None)


def _seen_ids(state: CursorState, page: Page) -> frozenset[str] | None:
    ids = frozenset(key.external_id for key in page.keys) | {
        row.external_id for row in page.rejected if row.external_id
    }
    if state.page == 1:
        return ids
    return None if state.seen is None else state.seen | ids


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
    if state.resume_since is None or (state.since is not None and state.resume_since <= state.since):
        return _complete(state, overlap)
    return replace(state, since=state.resume_since, resume_since=None, seen=None)


def _complete(state: CursorState, overlap: timedelta) -> CursorState:
    """End the pull and set where the next one starts.

    Normally that is `overlap` before the newest time stamp, which depends on no clock. When more than a page lies
    within the overlap, reading it again at every tick would cost more than it protects, and where pages were counted a
    row edited meanwhile may have been read in its old version. In both cases the next pull starts `overlap` before the
    vendor's clock at the start of this one.
    """
    high = state.high_water
    if high is None or state.started_at is None:
        return replace(state, since=None, page=1, resume_since=None, next_since=None, is_active=False, seen=None)
    is_dense = (
        state.page > 1 or state.resume_since is not None or (state.since is not None and state.since > high - overlap)
    )
    newest = state.started_at if is_dense else high
    next_since = newest.replace(microsecond=0) - overlap
    return replace(state, since=None, page=1, resume_since=None, next_since=next_since, is_active=False, seen=None)
