"""Organisations: which the grants reach, which are picked, and how each is doing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, exists, false, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.connections.errors import NoTenantSelected, UnknownTenant
from app.connections.tables import Grant, Tenant
from app.connector import Organisation
from app.db import Session
from app.paging import ByName, PagePosition

TRANSIENT = {"reason_code": None, "reason_message": None, "reason_since": None, "paused_until": None}
TENANT_ORDER = ByName(Tenant.name, Tenant.tenant_id)


@dataclass(frozen=True, slots=True)
class TenantProblem:
    """Why an organisation is not simply healthy: what a person is shown, and until when if that is known."""

    health: str
    code: str
    message: str
    until: datetime | None = None


async def save_organisations(
    session: Session, vendor: str, grant_id: UUID, organisations: Sequence[Organisation]
) -> None:
    """Write what a grant reaches now; what it reached before and no longer does is marked removed, never deleted."""
    for organisation in sorted(organisations, key=lambda each: each.tenant_id):
        values = {
            "name": organisation.name,
            "connection_id": organisation.connection_id,
            "grant_id": grant_id,
            "consent_id": organisation.consent_id,
            "removed_at": None,
            "updated_at": func.now(),
        }
        statement = insert(Tenant).values(vendor=vendor, tenant_id=organisation.tenant_id, **values)
        await session.execute(statement.on_conflict_do_update(index_elements=["vendor", "tenant_id"], set_=values))
    reached = [organisation.tenant_id for organisation in organisations]
    gone = (Tenant.grant_id == grant_id, Tenant.tenant_id.not_in(reached), Tenant.removed_at.is_(None))
    await session.execute(update(Tenant).where(*gone).values(removed_at=func.wall_clock()))
    back = (Tenant.grant_id == grant_id, Tenant.tenant_id.in_(reached))
    await session.execute(update(Tenant).where(*back).values(**TRANSIENT, failures=0, health=_resting_health()))


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


async def selected_ids(session: Session, vendor: str) -> list[str]:
    """Return the picked organisations that can be worked on: not removed, and of a grant that lives."""
    statement = (
        select(Tenant.tenant_id)
        .join(Grant, Grant.id == Tenant.grant_id)
        .where(Tenant.vendor == vendor, Tenant.is_selected, Tenant.removed_at.is_(None), Grant.state == "active")
        .order_by(Tenant.tenant_id)
    )
    return list((await session.scalars(statement)).all())


async def ids_to_work_on(session: Session, vendor: str) -> list[str]:
    """Return the picked organisations that can be worked on.

    Raises:
        NoTenantSelected: there is none; the text says what a person has to do first.
    """
    if tenant_ids := await selected_ids(session, vendor):
        return tenant_ids
    if await session.scalar(select(exists().where(Tenant.vendor == vendor, Tenant.is_selected))):
        raise NoTenantSelected("None of the picked organisations can be read now; connect again, or pick others.")
    raise NoTenantSelected("Nothing is selected; connect and pick an organisation first.")


async def grant_at_work(session: Session, vendor: str, tenant_id: str) -> UUID | None:
    """Return the grant an organisation is to be read by, or None when it is not: deselected, removed, disconnected."""
    statement = (
        select(Tenant.grant_id)
        .join(Grant, Grant.id == Tenant.grant_id)
        .where(Tenant.vendor == vendor, Tenant.tenant_id == tenant_id)
        .where(Tenant.is_selected, Tenant.removed_at.is_(None), Grant.state != "disconnected")
    )
    return await session.scalar(statement)


async def list_tenants(
    session: Session, vendor: str, search: str | None, after: PagePosition | None, limit: int
) -> Sequence[Tenant]:
    """Return the organisations after a position, by name; the position holds a name and a tenant id."""
    statement = select(Tenant).where(Tenant.vendor == vendor, *_matching(search))
    return (await session.scalars(TENANT_ORDER.page_after(statement, after, limit))).all()


async def tenants_of(session: Session, vendor: str) -> list[Tenant]:
    return list((await session.scalars(_all(vendor))).all())


async def mark_trouble(session: Session, vendor: str, tenant_id: str, trouble: TenantProblem) -> None:
    """Say what is wrong; `reason_since` stays where it was while the same thing is wrong."""
    is_same = func.coalesce(Tenant.reason_code == trouble.code, false())
    values = {
        "reason_since": case((is_same, Tenant.reason_since), else_=func.wall_clock()),
        "health": trouble.health,
        "reason_code": trouble.code,
        "reason_message": trouble.message,
        "paused_until": trouble.until,
        "failures": Tenant.failures + 1,
    }
    here = (Tenant.vendor == vendor, Tenant.tenant_id == tenant_id)
    await session.execute(update(Tenant).where(*here).values(values))


async def mark_attempt(session: Session, vendor: str, tenant_id: str) -> None:
    here = (Tenant.vendor == vendor, Tenant.tenant_id == tenant_id)
    await session.execute(update(Tenant).where(*here).values(last_attempt_at=func.wall_clock()))


async def mark_success(session: Session, vendor: str, tenant_id: str, as_of: datetime, aside: int) -> None:
    """Say that all the vendor had at `as_of` is here, but for `aside` rows that could not be read."""
    values: dict[str, object] = {**TRANSIENT, "failures": 0, "health": "healthy"}
    if aside:
        message = f"{aside} records could not be read and need a look. Everything else is up to date."
        values |= {"health": "partial", "reason_code": "partial_sync", "reason_message": message}
        values["reason_since"] = func.coalesce(Tenant.reason_since, func.wall_clock())
    values |= {"data_as_of": as_of, "last_success_at": func.wall_clock()}
    here = (Tenant.vendor == vendor, Tenant.tenant_id == tenant_id)
    await session.execute(update(Tenant).where(*here).values(values))


async def mark_removed(session: Session, vendor: str, tenant_id: str) -> None:
    here = (Tenant.vendor == vendor, Tenant.tenant_id == tenant_id, Tenant.removed_at.is_(None))
    await session.execute(update(Tenant).where(*here).values(removed_at=func.wall_clock()))


async def freshness(session: Session, tenant_ids: Sequence[str]) -> datetime | None:
    """Return how fresh the stalest of the picked organisations among these is, or None when one never synced."""
    statement = select(func.min(Tenant.data_as_of), func.bool_or(Tenant.data_as_of.is_(None)))
    row = (await session.execute(statement.where(Tenant.tenant_id.in_(tenant_ids), Tenant.is_selected))).one()
    return None if row[1] else row[0]


def _all(vendor: str) -> Select[Tenant]:
    return select(Tenant).where(Tenant.vendor == vendor).order_by(func.lower(Tenant.name), Tenant.tenant_id)


def _matching(search: str | None) -> list[ColumnElement[bool]]:
    return [func.lower(Tenant.name).contains(search.lower(), autoescape=True)] if search else []


def _resting_health() -> ColumnElement[str]:
    return case((Tenant.data_as_of.is_(None), "first_sync"), else_="healthy")
