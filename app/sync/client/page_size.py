"""How many rows a list is asked for at once: fewer where answers were too slow or too large, more after a good day.

Two errors are about the size of a page: a request that arrived and was not answered in time, and an answer of more
bytes than are accepted. The outages that a vendor tells of are not: Xero's 500 and 503 (maintenance, temporarily
unavailable, organisation offline) say nothing about the size of a page, and neither does a connection that is refused
or breaks off. Those are tried again with the size they had.

A vendor that is down may also leave requests unanswered. So a smaller size is only remembered once a page of that size
has come; where none comes, the run fails and the next one starts with the size it knew. What is remembered by mistake
costs some calls until larger pages are tried again, one step a day.
"""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from app.billing.records import Resource
from app.connector import AnswerTooLarge, AnswerTooSlow, ConnectorError, PageRequest
from app.db import Session
from app.sync.leases import HeldLease
from app.sync.tables import Cursor

TOO_MANY_ROWS = (AnswerTooSlow, AnswerTooLarge)
# The sizes below the configured one, in rows.
REDUCED_SIZES = (500, 250, 100)
# After so long without an answer that was too slow or too large, the next larger size is tried.
GOOD_DAY = timedelta(days=1)


def with_fewer_rows(request: PageRequest) -> PageRequest | None:
    """Return the request for the next smaller page, or None where there is none.

    Its page number is 1, because those of another size count other rows. A read by ids does not page: the drain asks
    for fewer ids after a failed read.
    """
    smaller = next((size for size in REDUCED_SIZES if size < request.page_size), None)
    if request.ids or smaller is None:
        return None
    return replace(request, page=1, page_size=smaller)


def explain_smallest(error: ConnectorError, request: PageRequest) -> ConnectorError:
    """Return an error that fewer rows may have prevented, with the size that was too large for the vendor."""
    if request.ids:
        return error
    detail = f"{error.detail} That was so even for pages of {request.page_size} rows, the fewest we ask for."
    return type(error)(detail, error.traffic)


def size_after(limit: int, good_days: int, largest: int) -> int:
    """Return the size to ask for so many good days after a limit was met: one step larger for each, up to `largest`."""
    larger = [size for size in sorted({*REDUCED_SIZES, largest}) if limit < size <= largest]
    sizes = [min(limit, largest), *larger]
    return sizes[min(good_days, len(larger))]


async def read_page_size(session: Session, lease: HeldLease, resource: Resource, largest: int) -> int:
    """Return how many rows a page of this tenant and resource is to have, `largest` where no limit is known."""
    age = func.wall_clock() - Cursor.page_limit_at
    is_row = Cursor.is_of(lease.vendor, lease.tenant_id, resource)
    row = (await session.execute(select(Cursor.page_limit, age).where(is_row))).one_or_none()
    return largest if row is None else limited_page_size(row[0], row[1], largest)


def limited_page_size(limit: int | None, age: timedelta | None, largest: int) -> int:
    """Return how many rows a page is to have so long after a limit was met, `largest` where there was none."""
    if limit is None or age is None:
        return largest
    return size_after(limit, max(0, age // GOOD_DAY), largest)


async def record_page_limit(session: Session, lease: HeldLease, resource: Resource, size: int) -> None:
    """Store the size of a page that came after answers that were too slow or too large."""
    key = {"vendor": lease.vendor, "tenant_id": lease.tenant_id, "resource": resource.value}
    limit = {"page_limit": size, "page_limit_at": func.wall_clock()}
    statement = insert(Cursor).values(**key, **limit)
    await session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=limit))
