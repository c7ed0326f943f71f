"""Tenants: which organisations the grants give access to, which are selected, and how the sync of each is doing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    select,
    text,
    update,
)

from app.billing.sources import SourceDetails
from app.connections.errors import NoTenantSelected, ReconnectRequired, UnknownTenant
from app.connections.reach import is_connected, is_reached, is_unreached
from app.connections.states import ReasonCode, TenantHealth
from app.connections.tables import Tenant
from app.db import Session
from app.paging import ByName, PagePosition

TENANT_ORDER = ByName(Tenant.name, Tenant.tenant_id)
RECORD_ATTEMPT = text("""
UPDATE tenants SET last_attempt_at = wall_clock() WHERE vendor = :vendor AND tenant_id = :tenant_id
""")
RECORD_SUCCESS = text("""
UPDATE tenants SET
  health = :health, failures = 0, reason_code = :code, reason_message = :gaps, paused_until = NULL,
  reason_since = CASE WHEN CAST(:gaps AS text) IS NOT NULL THEN coalesce(reason_since, wall_clock()) END,
  data_as_of = :as_of, last_success_at = wall_clock()
WHERE vendor = :vendor AND tenant_id = :tenant_id
""")
CLEARED_PROBLEM = {"reason_code": None, "reason_message": None, "reason_since": None, "paused_until": None}


@dataclass(frozen=True, slots=True)
class TenantProblem:
    """Why an organisation is not healthy, as it is shown to a person.

    Attributes:
        health: one of `TenantHealth`.
        code: one of `ReasonCode`.
        message: what happened and what to do.
        until: when the sync goes on by itself, if that is known.
    """

    health: str
    code: str
    message: str
    until: datetime | None = None


async def clear_problems(session: Session, vendor: str, grant_id: UUID) -> None:
    """Clear the problems of the tenants that use a grant, after its user consented."""
    using = (Tenant.vendor == vendor, Tenant.grant_id == grant_id, Tenant.removed_at.is_(None))
    values = {**CLEARED_PROBLEM, "failures": 0, "health": _health_without_problem()}
    await session.execute(update(Tenant).where(*using).values(values))


async def select_tenants(session: Session, vendor: str, tenant_ids: Sequence[str]) -> list[str]:
    """Make these the whole selection; return those that were not selected before.

    Raises:
        NoTenantSelected: the list is empty.
        UnknownTenant: one of them is not among the authorised organisations.
    """
    if not tenant_ids:
        raise NoTenantSelected("Pick at least one organisation; nothing syncs until one is saved.")
    rows = (await session.scalars(select(Tenant).where(Tenant.vendor == vendor).with_for_update())).all()
    known = {row.tenant_id: row for row in rows}
    if unknown := [tenant_id for tenant_id in tenant_ids if tenant_id not in known]:
        raise UnknownTenant(f"Not among the authorised organisations: {', '.join(unknown[:5])}. Reload the list.")
    wanted = set(tenant_ids)
    added = [row.tenant_id for row in rows if row.tenant_id in wanted and not row.is_selected]
    for row in rows:
        row.is_selected = row.tenant_id in wanted
    await session.flush()
    return added


async def list_syncable_ids(session: Session, vendor: str) -> list[str]:
    """Return the ids of the selected tenants that can be synced: not removed, and reached by a living grant."""
    selected = (Tenant.vendor == vendor, Tenant.is_selected, Tenant.removed_at.is_(None))
    statement = select(Tenant.tenant_id).where(*selected, is_reached()).order_by(Tenant.tenant_id)
    return list((await session.scalars(statement)).all())


async def require_syncable_ids(session: Session, vendor: str) -> list[str]:
    """Return the ids of the selected tenants that can be synced.

    Raises:
        NoTenantSelected: nothing is selected, or only what was removed on the vendor's side.
        ReconnectRequired: the connection is dead for all of them.
    """
    if tenant_ids := await list_syncable_ids(session, vendor):
        return tenant_ids
    selected = (Tenant.vendor == vendor, Tenant.is_selected)
    if await session.scalar(select(exists().where(*selected, Tenant.removed_at.is_(None)))):
        raise ReconnectRequired(
            "The connection of every picked organisation has ended, so nothing can be read. Connect again."
        )
    if await session.scalar(select(exists().where(*selected))):
        raise NoTenantSelected("The picked organisations were removed at the vendor; connect again, or pick others.")
    raise NoTenantSelected("Nothing is selected; connect and pick an organisation first.")


async def is_synced(session: Session, vendor: str, tenant_id: str) -> bool:
    """Return whether a tenant is to be synced: selected, not removed, and not disconnected."""
    return bool(await session.scalar(_is_synced_statement(), {"vendor": vendor, "tenant_id": tenant_id}))


@cache
def _is_synced_statement() -> Select[bool]:
    return select(is_synced_condition())


def is_synced_condition() -> ColumnElement[bool]:
    """Return the condition that the tenant of the parameters `vendor` and `tenant_id` is to be synced."""
    is_tenant = (Tenant.vendor == bindparam("vendor"), Tenant.tenant_id == bindparam("tenant_id"))
    return exists().where(*is_tenant, Tenant.is_selected, Tenant.removed_at.is_(None), is_connected())


async def is_removed(session: Session, vendor: str, tenant_id: str) -> bool:
    """Return whether no grant reaches a tenant any more."""
    removed = (*_is_tenant(vendor, tenant_id), Tenant.removed_at.is_not(None))
    return bool(await session.scalar(select(exists().where(*removed))))


async def list_unreached_ids(session: Session, vendor: str) -> set[str]:
    """Return the ids of the selected tenants that no living grant reaches, so that a person has to connect again."""
    return set((await session.scalars(select(Tenant.tenant_id).where(Tenant.vendor == vendor, is_unreached()))).all())


async def list_tenants(
    session: Session, vendor: str, search: str | None, after: PagePosition | None, limit: int
) -> Sequence[Tenant]:
    """Return one keyset page of the tenants by name: at most `limit`, those after a position when it is given."""
    statement = select(Tenant).where(Tenant.vendor == vendor, *_search_conditions(search))
    return (await session.scalars(TENANT_ORDER.page_after(statement, after, limit))).all()


async def list_all_tenants(session: Session, vendor: str) -> list[Tenant]:
    """Return every tenant of the vendor by name, removed ones included."""
    return list((await session.scalars(_all_statement(vendor))).all())


async def record_problem(session: Session, vendor: str, tenant_id: str, problem: TenantProblem) -> None:
    """Store why a tenant is not healthy; `reason_since` is kept while the code stays the same."""
    is_same = func.coalesce(Tenant.reason_code == problem.code, false())
    values = {
        "reason_since": case((is_same, Tenant.reason_since), else_=func.wall_clock()),
        "health": problem.health,
        "reason_code": problem.code,
        "reason_message": problem.message,
        "paused_until": problem.until,
        "failures": Tenant.failures + 1,
    }
    await session.execute(update(Tenant).where(*_is_tenant(vendor, tenant_id)).values(values))


async def record_attempt(session: Session, vendor: str, tenant_id: str) -> None:
    await session.execute(RECORD_ATTEMPT, {"vendor": vendor, "tenant_id": tenant_id})


async def record_success(session: Session, vendor: str, tenant_id: str, as_of: datetime, gaps: str | None) -> None:
    """Store that everything the vendor had at `as_of` is mirrored, except for what the text `gaps` tells a person."""
    health, code = (TenantHealth.PARTIAL, ReasonCode.PARTIAL_SYNC) if gaps else (TenantHealth.HEALTHY, None)
    values = {"vendor": vendor, "tenant_id": tenant_id, "as_of": as_of, "health": health, "code": code, "gaps": gaps}
    await session.execute(RECORD_SUCCESS, values)


async def read_source_details(session: Session, tenant_ids: Collection[str] | None = None) -> list[SourceDetails]:
    """Return what is known of the organisations of every vendor, or of those that have one of these ids.

    One whose grant needs a new consent counts as synced: its sync goes on as soon as that is given.
    """
    values = {} if tenant_ids is None else {"tenant_ids": list(tenant_ids)}
    rows = await session.execute(_source_details_statement(is_whole=tenant_ids is None), values)
    return [SourceDetails(*row) for row in rows]


@cache
def _source_details_statement(*, is_whole: bool) -> Select[str, str, str, datetime | None, bool]:
    is_synced = and_(Tenant.is_selected, Tenant.removed_at.is_(None), is_connected())
    statement = select(Tenant.vendor, Tenant.tenant_id, Tenant.name, Tenant.data_as_of, is_synced)
    is_asked_for = Tenant.tenant_id == func.any(bindparam("tenant_ids", type_=ARRAY(Text())))
    return statement if is_whole else statement.where(is_asked_for)


def _is_tenant(vendor: str, tenant_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Tenant.vendor == vendor, Tenant.tenant_id == tenant_id


def _all_statement(vendor: str) -> Select[Tenant]:
    return select(Tenant).where(Tenant.vendor == vendor).order_by(func.lower(Tenant.name), Tenant.tenant_id)


def _search_conditions(search: str | None) -> list[ColumnElement[bool]]:
    return [func.lower(Tenant.name).contains(search.lower(), autoescape=True)] if search else []


def _health_without_problem() -> ColumnElement[str]:
    return case((Tenant.data_as_of.is_(None), TenantHealth.FIRST_SYNC), else_=TenantHealth.HEALTHY)
