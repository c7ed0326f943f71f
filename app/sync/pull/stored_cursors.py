"""The cursors of a tenant's pulls as they are stored: all of a run are read, and all that have moved saved, at once."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, text, update

from app.billing.records import Resource
from app.billing.recordset import encode_rows
from app.connector import Page
from app.db import Session
from app.sync.client.page_size import limited_page_size
from app.sync.leases import HeldLease
from app.sync.pull.cursor import MAX_SHORT_PULLS, CursorState
from app.sync.pull.pages import PageStep
from app.sync.tables import Cursor

# What of the state is stored; the rest is only known while one process reads.
TRANSIENT_FIELDS = ("seen", "counted", "last_rows")
STORED_FIELDS = tuple(each.name for each in fields(CursorState) if each.name not in TRANSIENT_FIELDS)
# The columns have older names than the fields; see docs/glossary.md.
LOAD = text("""
SELECT resource, since, page, then_since AS resume_since, high_water, walk_read_at AS started_at, next_since,
       is_walking AS is_active, missing_rows, short_pulls, page_size, is_filtered,
       completed_at IS NOT NULL AS is_completed, page_limit, wall_clock() - page_limit_at AS limit_age
FROM sync_cursors WHERE vendor = :vendor AND tenant_id = :tenant_id
""")
COUNT_MISSING = text("SELECT sum(missing_rows) FROM sync_cursors WHERE vendor = :vendor AND tenant_id = :tenant_id")
MAKE = text("""
INSERT INTO sync_cursors (vendor, tenant_id, resource)
SELECT :vendor, :tenant_id, resource FROM unnest(CAST(:resources AS text[])) AS resource
ON CONFLICT DO NOTHING
""")
SAVE = text("""
UPDATE sync_cursors AS stored SET
  since = read.since, page = read.page, then_since = read.resume_since, high_water = read.high_water,
  walk_read_at = read.started_at, next_since = read.next_since, is_walking = read.is_active,
  missing_rows = read.missing_rows, short_pulls = read.short_pulls,
  page_size = read.page_size, is_filtered = read.is_filtered,
  rows_read = CASE WHEN completed_at IS NULL THEN rows_read + read.new_rows ELSE rows_read END,
  row_estimate = CASE WHEN completed_at IS NULL THEN coalesce(row_estimate, read.total_rows) ELSE row_estimate END,
  completed_at = CASE WHEN read.is_active THEN completed_at ELSE wall_clock() END
FROM json_to_recordset(CAST(:cursors AS json)) AS read (
  resource text, since timestamptz, page int, resume_since timestamptz, high_water timestamptz, started_at timestamptz,
  next_since timestamptz, is_active boolean, missing_rows bigint, short_pulls int, page_size int, is_filtered boolean,
  new_rows bigint, total_rows bigint)
WHERE stored.vendor = :vendor AND stored.tenant_id = :tenant_id AND stored.resource = read.resource
RETURNING stored.resource, stored.rows_read
""")


@dataclass(frozen=True, slots=True)
class StoredCursor:
    """The cursor of one resource; before the first pull everything has its default.

    Attributes:
        page_size: the size that `state.page` was counted by.
        is_filtered: whether the vendor filters rows that are not kept; it may have refused to.
        is_completed: whether a pull has come to its end before.
        page_limit: the rows a page that came after answers that were too slow or too large.
        limit_age: how long ago that was.
    """

    state: CursorState = field(default_factory=CursorState)
    page_size: int | None = None
    is_filtered: bool = True
    is_completed: bool = False
    page_limit: int | None = None
    limit_age: timedelta | None = None

    def next_page_size(self, largest: int) -> int:
        """Return how many rows a page is to have, `largest` where no limit is known."""
        return limited_page_size(self.page_limit, self.limit_age, largest)


async def load_cursors(
    session: Session, lease: HeldLease, resources: Collection[Resource]
) -> Mapping[Resource, StoredCursor]:
    """Return the cursors of these resources; the first pull makes them."""
    key = {"vendor": lease.vendor, "tenant_id": lease.tenant_id}
    rows = (await session.execute(LOAD, key)).all()
    found = {Resource(row.resource): _cursor_of(row) for row in rows}
    if new := [resource for resource in resources if resource not in found]:
        await session.execute(MAKE, {**key, "resources": [resource.value for resource in new]})
    return {resource: found.get(resource, StoredCursor()) for resource in resources}


def _cursor_of(row: Row[Any]) -> StoredCursor:
    return StoredCursor(
        state=CursorState(**{name: getattr(row, name) for name in STORED_FIELDS}),
        page_size=row.page_size,
        is_filtered=row.is_filtered,
        is_completed=row.is_completed,
        page_limit=row.page_limit,
        limit_age=row.limit_age,
    )


async def save_cursors(session: Session, lease: HeldLease, steps: Iterable[PageStep]) -> Mapping[Resource, int]:
    """Store where the pulls of these pages, one of each resource, stand now.

    Returns:
        How many rows the first pull of each resource has read.
    """
    values = {
        "vendor": lease.vendor,
        "tenant_id": lease.tenant_id,
        "cursors": encode_rows([_stored_values(step) for step in steps]),
    }
    return {Resource(row.resource): row.rows_read for row in await session.execute(SAVE, values)}


def _stored_values(step: PageStep) -> Mapping[str, object]:
    request, page = step.fetched.request, step.fetched.page
    return {name: getattr(step.next_state, name) for name in STORED_FIELDS} | {
        "resource": request.resource.value,
        "page_size": request.page_size,
        "is_filtered": request.is_filtered,
        "new_rows": _count_new_rows(step.state, page),
        "total_rows": page.total_rows,
    }


def _count_new_rows(state: CursorState, page: Page) -> int:
    """Return how many rows of a page were not read before; those of the bound's own seconds were."""
    if state.resume_since is not None:
        return 0
    if state.high_water is None or state.page > 1:
        return page.row_count
    return sum(key.changed_at > state.high_water for key in page.keys)


async def record_missing_rows(session: Session, lease: HeldLease, resource: Resource, missing_rows: int) -> None:
    """Store what a whole read of the resource found, on which pulls from now on go by."""
    is_row = Cursor.is_of(lease.vendor, lease.tenant_id, resource)
    values = {"missing_rows": missing_rows, "short_pulls": MAX_SHORT_PULLS if missing_rows else 0}
    await session.execute(update(Cursor).where(is_row).values(values))


async def count_missing_rows(session: Session, vendor: str, tenant_id: str) -> int:
    """Return how many rows of a tenant the vendor counts and did not deliver."""
    return int(await session.scalar(COUNT_MISSING, {"vendor": vendor, "tenant_id": tenant_id}) or 0)
