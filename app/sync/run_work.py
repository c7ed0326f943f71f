"""The work of a run: the resources of its tenants, which any replica may claim, and what came of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import ARRAY, Select, Text, bindparam, exists, func, select, text

from app.billing.records import Counts, Resource
from app.billing.recordset import encode_rows
from app.connections.tenants import is_synced_condition
from app.connector import Page
from app.db import Session
from app.sync.tables import UNFINISHED, WAITING, ResourceStatus, Run, RunResource, RunStatus, RunTrigger, WebhookEvent

COUNTED = ("fetched", "created", "updated", "unchanged", "skipped", "failed", "calls", "bytes")
ADD_COUNTS = text(f"""
UPDATE sync_run_resources AS counted SET {", ".join(f"{name} = counted.{name} + page.{name}" for name in COUNTED)}
FROM json_to_recordset(CAST(:pages AS json)) AS page (resource text, {", ".join(f"{name} bigint" for name in COUNTED)})
WHERE counted.run_id = :run_id AND counted.tenant_id = :tenant_id AND counted.resource = page.resource
""")  # noqa: S608 - the names are constants
CLAIM_WORK = text("""
UPDATE sync_run_resources AS claimed SET status = 'running'
FROM (SELECT run.id, run.trigger
      FROM sync_runs AS run JOIN sync_run_resources AS waiting ON waiting.run_id = run.id
      WHERE run.vendor = :vendor AND run.status = 'running' AND run.trigger <> ALL (CAST(:busy AS text[]))
        AND waiting.tenant_id = :tenant_id AND waiting.status IN ('pending', 'running')
      ORDER BY run.started_at, run.id LIMIT 1) AS oldest
WHERE claimed.run_id = oldest.id AND claimed.tenant_id = :tenant_id AND claimed.status IN ('pending', 'running')
RETURNING claimed.run_id, claimed.resource, oldest.trigger
""")
# The resources of a tenant that end together; `status` is null for one that came to its end.
FINISH_RESOURCES = text("""
UPDATE sync_run_resources AS ended SET
  status = coalesce(result.status, CASE WHEN failed > 0 THEN 'partial' ELSE 'succeeded' END), error = result.error
FROM json_to_recordset(CAST(:results AS json)) AS result (resource text, status text, error text)
WHERE ended.run_id = :run_id AND ended.tenant_id = :tenant_id AND ended.resource = result.resource
  AND ended.status IN ('pending', 'running')
""")
COMPLETE_SINCE = text("""
SELECT started_at FROM sync_runs WHERE id = :run_id AND :resources = (
  SELECT count(*) FROM sync_run_resources
  WHERE run_id = :run_id AND tenant_id = :tenant_id AND status IN ('succeeded', 'partial'))
""")
HAS_UNFINISHED = text("""
SELECT EXISTS (SELECT FROM sync_run_resources WHERE run_id = :run_id AND status IN ('pending', 'running'))
""")


@dataclass(frozen=True, slots=True)
class TenantWork:
    """What a look at one tenant has found.

    Attributes:
        is_synced: whether the tenant is to be synced at all.
        has_runs: whether a run has unfinished work of it that may be claimed.
        has_events: whether webhook events of it are due.
    """

    is_synced: bool
    has_runs: bool
    has_events: bool


async def find_work(session: Session, vendor: str, tenant_id: str, busy: Iterable[RunTrigger] = ()) -> TenantWork:
    """Look what there is to do for a tenant; runs with a trigger in `busy` are left out."""
    values = {"vendor": vendor, "tenant_id": tenant_id, "busy": list(busy)}
    return TenantWork(*(await session.execute(_find_work_statement(), values)).one())


@cache
def _find_work_statement() -> Select[bool, bool, bool]:
    vendor, tenant_id = bindparam("vendor", type_=Text()), bindparam("tenant_id", type_=Text())
    is_busy = Run.trigger == func.any(bindparam("busy", type_=ARRAY(Text())))
    unfinished = (RunResource.run_id == Run.id, RunResource.status.in_(UNFINISHED), RunResource.tenant_id == tenant_id)
    runs = exists().where(Run.vendor == vendor, Run.status == RunStatus.RUNNING, ~is_busy, *unfinished)
    mine = (WebhookEvent.vendor == vendor, WebhookEvent.tenant_id == tenant_id)
    due = (WebhookEvent.status.in_(WAITING), WebhookEvent.due_at <= func.wall_clock())
    events = exists().where(*mine, *due, WebhookEvent.resource.is_not(None))
    return select(is_synced_condition(), runs, events)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """One resource to bring up to date, or to compare whole when the run is a reconciliation."""

    run_id: UUID
    resource: Resource
    trigger: RunTrigger

    @property
    def is_reconciliation(self) -> bool:
        return self.trigger == RunTrigger.RECONCILE


async def claim_work(session: Session, vendor: str, tenant_id: str, busy: Iterable[RunTrigger] = ()) -> list[WorkItem]:
    """Mark what is unfinished of the tenant's oldest run as running and return it, a crashed owner's included.

    One run at a time, because two would move the same cursor; runs with a trigger in `busy` are left out.
    """
    values = {"vendor": vendor, "tenant_id": tenant_id, "busy": list(busy)}
    rows = (await session.execute(CLAIM_WORK, values)).all()
    return [WorkItem(row.run_id, Resource(row.resource), RunTrigger(row.trigger)) for row in rows]


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A page that was stored for a run, and how many of its rows were new, changed or neither."""

    resource: Resource
    page: Page
    counts: Counts

    def counted(self) -> Mapping[str, object]:
        """Return what is added to the counts of the run's resource."""
        counts, page = self.counts, self.page
        rejected = len(page.rejected)
        return {
            "resource": self.resource.value,
            "fetched": page.row_count,
            "created": counts.created,
            "updated": counts.updated,
            "unchanged": counts.unchanged,
            "skipped": page.row_count - rejected - counts.created - counts.updated - counts.unchanged,
            "failed": rejected,
            "calls": page.traffic.calls,
            "bytes": page.traffic.bytes_raw,
        }


async def add_page_counts(session: Session, run_id: UUID, tenant_id: str, pages: Iterable[StoredPage]) -> None:
    """Add stored pages, one of each resource, to the counts of a run's resources."""
    values = {"run_id": run_id, "tenant_id": tenant_id, "pages": encode_rows([page.counted() for page in pages])}
    await session.execute(ADD_COUNTS, values)


async def finish_resource(
    session: Session, run_id: UUID, tenant_id: str, resource: Resource, error: tuple[ResourceStatus, str] | None = None
) -> None:
    """Close one resource; see `finish_resources`."""
    await finish_resources(session, run_id, tenant_id, {resource: error})


async def finish_resources(
    session: Session, run_id: UUID, tenant_id: str, results: Mapping[Resource, tuple[ResourceStatus, str] | None]
) -> None:
    """Close resources, each with its status (`failed`, `partial` or `paused`) and the reason; None at its end."""
    rows = [
        {"resource": resource.value, "status": result and result[0], "error": result and result[1]}
        for resource, result in results.items()
    ]
    await session.execute(FINISH_RESOURCES, {"run_id": run_id, "tenant_id": tenant_id, "results": encode_rows(rows)})


async def is_done(session: Session, run_id: UUID) -> bool:
    """Say whether nothing of the run is left to do."""
    return not await session.scalar(HAS_UNFINISHED, {"run_id": run_id})


async def complete_since(session: Session, run_id: UUID, tenant_id: str) -> datetime | None:
    """Return when the run started if it brought every resource of the tenant to its end, else None."""
    values = {"run_id": run_id, "tenant_id": tenant_id, "resources": len(Resource)}
    started_at: datetime | None = await session.scalar(COMPLETE_SINCE, values)
    return started_at
