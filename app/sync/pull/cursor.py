"""The cursor: walks rows in order of change so that no edit under way can hide one. Pure arithmetic, no I/O.

Counting pages over a sort key that moves loses rows: a row edited while page 1 is read goes to the end and shifts
another onto a page already read. So the walk stays on page 1 and moves the bound instead, to the second before the
last row's, since Xero does not say whether the bound is inclusive and compares whole seconds.
Whatever was not read then has a stamp at or after the bound, whoever edits what.

Moving the bound reads its own seconds again. Where that would cost more than one call in a whole walk, or where most of
a page falls into its last two seconds, so that the bound can hardly move, the walk goes on page by page to its end. If
each row of the answer was then seen, by the vendor's own count, nothing is missing. If not, the pages are read once
more backwards: a row can only move towards earlier pages, so reading against its direction must meet it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.connector import Page

SECOND = timedelta(seconds=1)
# Beyond this many pages a crowd is left once rows are sparse again, if more lies ahead than has to be read back.
DENSE_PAGES = 20
SPARSE_RATIO = 10


@dataclass(frozen=True, slots=True)
class CursorState:
    """Where a walk stands; the first one starts with everything None.

    Attributes:
        since: the bound of the next request, whole seconds; None asks for everything.
        page: the page of the next request.
        then_since: set while pages are read backwards: the bound to go on with after page 1.
        high_water: the newest stamp seen in any walk.
        walk_read_at: the vendor's clock at this walk's first answer.
        next_since: where the next walk starts, known once this one is complete; until then where this one started.
        is_walking: whether a walk is under way.
        seen: ids read since page 1 of the present bound; None when that is not known, as after a restart.
    """

    since: datetime | None = None
    page: int = 1
    resume_since: datetime | None = None
    high_water: datetime | None = None
    walk_read_at: datetime | None = None
    next_since: datetime | None = None
    is_walking: bool = False
    seen: frozenset[str] | None = None


def begin(walk: CursorState) -> CursorState:
    """Return the walk to go on with: the one under way, or a new one from where the last ended."""
    if walk.is_walking:
        return walk
    return CursorState(since=walk.next_since, high_water=walk.high_water, next_since=walk.next_since, is_walking=True)


def restart_pages(walk: CursorState) -> CursorState:
    """Return the walk back on the first page of its bound: the pages counted so far were those of another question."""
    return replace(walk, page=1, resume_since=None, seen=None)


def advance(walk: CursorState, page: Page, overlap: timedelta) -> CursorState:
    """Return where the walk stands once a page is stored.

    Args:
        walk: where it stood when the page was asked for.
        page: the answer.
        overlap: how far before the newest stamp the next walk starts, because late stamps exist; at least a second.
    """
    # A stamp from the vendor's own future is nonsense, and believed it would hide every change until then.
    stamps = [min(key.changed_at, page.read_at) for key in page.keys]
    known = [*stamps, walk.high_water] if walk.high_water else stamps
    walk = replace(walk, high_water=max(known, default=None), walk_read_at=walk.walk_read_at or page.read_at)
    if walk.resume_since is not None:
        return _step_back(walk, overlap)
    walk = replace(walk, seen=_seen(walk, page))
    if page.is_last:
        return _end(walk, page, stamps, overlap)
    bound = _next_since(stamps, walk.since)
    if bound is None or not _is_worth_moving(walk, page, sum(stamp >= bound for stamp in stamps)):
        return replace(walk, page=walk.page + 1)
    if walk.page > 1:
        return replace(walk, page=walk.page - 1, resume_since=bound)
    return replace(walk, since=bound, seen=None)


def _seen(walk: CursorState, page: Page) -> frozenset[str] | None:
    ids = frozenset(key.external_id for key in page.keys) | {
        row.external_id for row in page.rejected if row.external_id
    }
    if walk.page == 1:
        return ids
    return None if walk.seen is None else walk.seen | ids


def _next_since(stamps: list[datetime], since: datetime | None) -> datetime | None:
    """Return the bound a page lets us move to, or None when it would not move forward."""
    if not stamps:
        return None
    bound = max(stamps).replace(microsecond=0) - SECOND
    return bound if since is None or bound > since else None


def _is_worth_moving(walk: CursorState, page: Page, read_again: int) -> bool:
    """Say whether the bound should move, which reads so many rows again.

    It should where that fits into the room the last page leaves anyway; the first page of a walk may cost one call,
    which is room enough for the rest of all but the longest. In a crowd, moving costs reading its pages backwards.
    """
    size = page.row_count
    if read_again * 2 > size:
        return False
    if page.total_rows is None:
        return walk.page == 1
    pages_ahead = _pages(page.total_rows - size * walk.page, size)
    if walk.page > 1:
        return DENSE_PAGES <= walk.page < pages_ahead and read_again * SPARSE_RATIO <= size
    is_first = walk.since == walk.next_since
    return _pages(page.total_rows - size + read_again, size) <= pages_ahead + is_first


def _pages(rows: int, size: int) -> int:
    return -(-rows // size)


def _end(walk: CursorState, page: Page, stamps: list[datetime], overlap: timedelta) -> CursorState:
    """Finish on the last page, or turn back when a row may have slipped past between the pages.

    More rows seen than the vendor counts is no proof either: then it does not count what we take it to count.
    """
    is_whole = walk.seen is not None and len(walk.seen) == page.total_rows
    if walk.page == 1 or is_whole:
        return _complete(walk, overlap)
    # Without any stamp the instant of this answer serves: what is edited from now on comes after it.
    turn = _next_since(stamps or [page.read_at], walk.since) or walk.since
    return replace(walk, page=walk.page - 1, resume_since=turn)


def _step_back(walk: CursorState, overlap: timedelta) -> CursorState:
    if walk.page > 1:
        return replace(walk, page=walk.page - 1)
    if walk.resume_since is None or (walk.since is not None and walk.resume_since <= walk.since):
        return _complete(walk, overlap)
    return replace(walk, since=walk.resume_since, resume_since=None, seen=None)


def _complete(walk: CursorState, overlap: timedelta) -> CursorState:
    """End the walk and say where the next one starts.

    Normally that is `overlap` before the newest stamp, which needs no trust in anyone's clock. When more than a page
    lies within that overlap, re-reading it at every tick would cost more than it protects, and where pages were counted
    an edit under way may have been seen in its old version. Both are well with the vendor's clock at the beginning of
    this walk.
    """
    high = walk.high_water
    if high is None or walk.walk_read_at is None:
        return replace(walk, since=None, page=1, resume_since=None, next_since=None, is_walking=False, seen=None)
    is_crowded = (
        walk.page > 1 or walk.resume_since is not None or (walk.since is not None and walk.since > high - overlap)
    )
    newest = walk.walk_read_at if is_crowded else high
    next_since = newest.replace(microsecond=0) - overlap
    return replace(walk, since=None, page=1, resume_since=None, next_since=next_since, is_walking=False, seen=None)
