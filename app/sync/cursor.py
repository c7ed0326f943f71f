"""The cursor: walks rows in order of change so that no edit under way can hide one. Pure arithmetic, no I/O.

Counting pages over a sort key that moves loses rows: a row edited while page 1 is read goes to the end and shifts
another onto a page already read. So the walk stays on page 1 and moves the bound instead, to the second before the
last row's, since Xero does not say whether the bound is inclusive and compares whole seconds (facts.md section 4).
Whatever was not read then has a stamp at or after the bound, whoever edits what.

Where most of a page falls into its last two seconds the bound can hardly move. Such a crowd is read page by page to
its end. If every row of the answer was then seen once, nothing moved and nothing is missing. If not, the pages are read
once more backwards: a row can only move towards earlier pages, so reading against its direction must meet it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from app.connector import Page

SECOND = timedelta(seconds=1)
# Beyond this many pages a crowd is left as soon as the bound can move, so that reading it back stays cheap.
LONG_CROWD = 20


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk stands; the first one starts with everything None.

    Attributes:
        since: the bound of the next request, whole seconds; None asks for everything.
        page: the page of the next request.
        then_since: set while a crowded second is read backwards: the bound to go on with after page 1.
        high_water: the newest stamp seen in any walk.
        walk_read_at: the vendor's clock at this walk's first answer.
        next_since: where the next walk starts, known once this one is complete.
        is_walking: whether a walk is under way.
        seen: ids read since page 1 of the present bound; None when that is not known, as after a restart.
    """

    since: datetime | None = None
    page: int = 1
    then_since: datetime | None = None
    high_water: datetime | None = None
    walk_read_at: datetime | None = None
    next_since: datetime | None = None
    is_walking: bool = False
    seen: frozenset[str] | None = None


def begin(walk: Walk) -> Walk:
    """Return the walk to go on with: the one under way, or a new one from where the last ended."""
    if walk.is_walking:
        return walk
    return Walk(since=walk.next_since, high_water=walk.high_water, next_since=walk.next_since, is_walking=True)


def advance(walk: Walk, page: Page, overlap: timedelta) -> Walk:
    """Return where the walk stands once a page is stored.

    Args:
        walk: where it stood when the page was asked for.
        page: the answer.
        overlap: how far before the newest stamp the next walk starts, because late stamps exist.
    """
    stamps = [key.changed_at for key in page.keys]
    known = [*stamps, walk.high_water] if walk.high_water else stamps
    walk = replace(walk, high_water=max(known, default=None), walk_read_at=walk.walk_read_at or page.read_at)
    if walk.then_since is not None:
        return _step_back(walk, overlap)
    walk = replace(walk, seen=_seen(walk, page))
    if page.is_last:
        return _end(walk, page, overlap)
    bound = _bound(stamps, walk.since)
    if bound is None or not _is_worth_moving(stamps, bound, walk.page):
        return replace(walk, page=walk.page + 1)
    if walk.page > 1:
        return replace(walk, page=walk.page - 1, then_since=bound)
    return replace(walk, since=bound, seen=None)


def _seen(walk: Walk, page: Page) -> frozenset[str] | None:
    ids = frozenset(key.external_id for key in page.keys) | {
        row.external_id for row in page.rejected if row.external_id
    }
    if walk.page == 1:
        return ids
    return None if walk.seen is None else walk.seen | ids


def _bound(stamps: list[datetime], since: datetime | None) -> datetime | None:
    """Return the bound a page lets us move to, or None when it would not move forward."""
    if not stamps:
        return None
    bound = max(stamps).replace(microsecond=0) - SECOND
    return bound if since is None or bound > since else None


def _is_worth_moving(stamps: list[datetime], bound: datetime, page_number: int) -> bool:
    """Say whether moving re-reads less than half a page, and would not break off a crowd halfway through."""
    read_again = sum(stamp >= bound for stamp in stamps)
    return read_again * 2 <= len(stamps) and (page_number == 1 or page_number >= LONG_CROWD)


def _end(walk: Walk, page: Page, overlap: timedelta) -> Walk:
    """Finish on the last page, or turn back when a row may have slipped past between the pages."""
    is_whole = walk.seen is not None and page.total_rows is not None and len(walk.seen) >= page.total_rows
    if walk.page == 1 or is_whole:
        return _complete(walk, overlap)
    turn = _bound([key.changed_at for key in page.keys], walk.since) or walk.since or page.read_at
    return replace(walk, page=walk.page - 1, then_since=turn)


def _step_back(walk: Walk, overlap: timedelta) -> Walk:
    if walk.page > 1:
        return replace(walk, page=walk.page - 1)
    if walk.then_since is None or (walk.since is not None and walk.then_since <= walk.since):
        return _complete(walk, overlap)
    return replace(walk, since=walk.then_since, then_since=None, seen=None)


def _complete(walk: Walk, overlap: timedelta) -> Walk:
    """End the walk and say where the next one starts.

    Normally that is `overlap` before the newest stamp, which needs no trust in anyone's clock. When more than a page
    lies within that overlap, re-reading it at every tick would cost more than it protects, so the vendor's own clock
    at the beginning of this walk is taken where it is later.
    """
    high = walk.high_water
    if high is None:
        return replace(walk, since=None, page=1, next_since=None, is_walking=False, seen=None)
    is_crowded = (
        walk.page > 1 or walk.then_since is not None or (walk.since is not None and walk.since > high - overlap)
    )
    newest = max(high, walk.walk_read_at or high) if is_crowded else high
    next_since = newest.replace(microsecond=0) - overlap
    return replace(walk, since=None, page=1, then_since=None, next_since=next_since, is_walking=False, seen=None)
