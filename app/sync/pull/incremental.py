"""The pull: one resource of one organisation, page by page, each page and its cursor in one transaction."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.billing.records import Counts, Resource
from app.billing.store import upsert
from app.connections import tenants
from app.connector import Page, PageRequest
from app.db import Session
from app.sync import progress, runs
from app.sync.client.rate_limiter import Priority
from app.sync.client.tenant_client import Fetched, TenantClient
from app.sync.client.usage import record_traffic
from app.sync.leases import FencedDatabase, HeldLease
from app.sync.pull import quarantine
from app.sync.pull.cursor import CursorState, advance, begin, restart_pages
from app.sync.tables import Cursor

OVERLAP = timedelta(minutes=5)


class TenantDeselected(RuntimeError):
    """The organisation was deselected or disconnected; its cursor stays for the day it is picked again."""

    def __init__(self) -> None:
        super().__init__("Deselected or disconnected before its end; picked again, it goes on from here.")


@dataclass(frozen=True, slots=True)
class PullRequest:
    """What is pulled, for which run, under whose lease, and whether a person waits for it."""

    run_id: UUID
    resource: Resource
    held: HeldLease
    page_size: int
    overlap: timedelta = OVERLAP
    is_waited_for: bool = False


async def pull(desk: FencedDatabase, caller: TenantClient, job: PullRequest) -> None:
    """Walk the resource to its end; whatever stops it, everything up to the last whole page is kept.

    Raises:
        LeaseLost, Paused, NotWanted, ConnectorError: why it stopped before the end.
    """
    async with desk.transaction() as session:
        row = await _load(session, job)
        walk, is_filtered = begin(_state_of(row)), row.is_filtered
        if row.page_size != job.page_size:
            walk = restart_pages(walk)
        priority = Priority.INTERACTIVE if job.is_waited_for and row.completed_at else Priority.SYNC
    while walk.is_walking:
        fetched = await caller.fetch(_request(job, walk, is_filtered=is_filtered), priority)
        after = _advance(walk, fetched, job.overlap, was_filtered=is_filtered)
        is_filtered = fetched.request.is_filtered
        async with desk.write_transaction() as session:
            await _store(session, job, walk, after, fetched)
        walk = after


def _advance(walk: CursorState, fetched: Fetched, overlap: timedelta, *, was_filtered: bool) -> CursorState:
    """Return where the walk stands after the answer; without the filters the same page number means other rows."""
    if walk.page > 1 and fetched.request.is_filtered != was_filtered:
        return restart_pages(walk)
    return advance(walk, fetched.page, overlap)


def _request(job: PullRequest, walk: CursorState, *, is_filtered: bool) -> PageRequest:
    return PageRequest(job.resource, walk.since, walk.page, job.page_size, is_filtered=is_filtered)


async def _store(session: Session, job: PullRequest, walk: CursorState, after: CursorState, fetched: Fetched) -> None:
    page, held = fetched.page, job.held
    if await tenants.grant_at_work(session, held.vendor, held.tenant_id) is None:
        raise TenantDeselected
    counts = await upsert(session, held.vendor, held.tenant_id, page.batch, page.read_at)
    await quarantine.quarantine_rejected(session, held, job.resource, page)
    await record_traffic(session, held.vendor, held.tenant_id, page.traffic)
    rows_read = await _save(session, job, walk, after, fetched)
    await runs.add_page_counts(session, job.run_id, held.tenant_id, job.resource, page, _own(counts, job.resource))
    await progress.publish(
        session,
        "page",
        {
            "run_id": str(job.run_id),
            "tenant_id": held.tenant_id,
            "resource": job.resource.value,
            "rows": page.row_count,
            "rows_read": rows_read,
            "row_estimate": page.total_rows if walk.since is None else None,
            "is_complete": not after.is_walking,
        },
    )


def _own(counts: dict[Resource, Counts], resource: Resource) -> Counts:
    """Return what the page did to its own kind; the contacts a document brings along are not its rows."""
    return counts.get(resource, Counts())


async def _load(session: Session, job: PullRequest) -> Cursor:
    held = job.held
    key = {"vendor": held.vendor, "tenant_id": held.tenant_id, "resource": job.resource.value}
    await session.execute(insert(Cursor).values(**key).on_conflict_do_nothing())
    return (await session.scalars(select(Cursor).where(*_here(job)))).one()


def _here(job: PullRequest) -> tuple[ColumnElement[bool], ...]:
    mine = (Cursor.vendor == job.held.vendor, Cursor.tenant_id == job.held.tenant_id)
    return (*mine, Cursor.resource == job.resource.value)


def _state_of(row: Cursor) -> CursorState:
    return CursorState(
        since=row.since,
        page=row.page,
        resume_since=row.resume_since,
        high_water=row.high_water,
        walk_read_at=row.walk_read_at,
        next_since=row.next_since,
        is_walking=row.is_walking,
    )


async def _save(session: Session, job: PullRequest, walk: CursorState, after: CursorState, fetched: Fetched) -> int:
    """Write where the walk stands; return how many rows of the first walk are read."""
    page, is_first = fetched.page, Cursor.completed_at.is_(None)
    values = {
        "since": after.since,
        "page": after.page,
        "page_size": job.page_size,
        "resume_since": after.resume_since,
        "high_water": after.high_water,
        "walk_read_at": after.walk_read_at,
        "next_since": after.next_since,
        "is_walking": after.is_walking,
        "is_filtered": fetched.request.is_filtered,
        "rows_read": case((is_first, Cursor.rows_read + _new_rows(walk, page)), else_=Cursor.rows_read),
        "row_estimate": case(
            (is_first, func.coalesce(Cursor.row_estimate, page.total_rows)), else_=Cursor.row_estimate
        ),
        "completed_at": Cursor.completed_at if after.is_walking else func.wall_clock(),
    }
    statement = update(Cursor).where(*_here(job)).values(values).returning(Cursor.rows_read)
    return (await session.scalars(statement)).one()


def _new_rows(walk: CursorState, page: Page) -> int:
    """Return the rows of a page not read before: those of the bound's own seconds were."""
    if walk.resume_since is not None:
        return 0
    if walk.high_water is None or walk.page > 1:
        return page.row_count
    return sum(key.changed_at > walk.high_water for key in page.keys)
