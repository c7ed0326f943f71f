"""Reach: which grants give access to which tenants, as the vendor listed it when it was last asked.

A tenant may be reached by many grants. The best of them is in use and stands in the tenant's own row too; the others
take over when it dies, loses the tenant or lacks a scope.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Row, and_, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import aliased

from app.connections.grant_choice import Candidate, TenantReach
from app.connections.states import GrantState, ReasonCode, TenantHealth
from app.connections.tables import Grant, Tenant, TenantGrant
from app.connector import Organisation
from app.db import Session

log = structlog.get_logger(__name__)

# A refusal puts a grant behind the others for this long; then it is tried again, for the vendor may have changed.
REFUSAL_LIFETIME = timedelta(hours=1)
# Problems of the grant that was in use: another one does not have them.
GRANT_PROBLEMS = frozenset(
    {
        ReasonCode.TENANT_FORBIDDEN,
        ReasonCode.TENANT_REMOVED,
        ReasonCode.RECONNECT_REQUIRED,
        ReasonCode.NEEDS_PERMISSION,
        ReasonCode.ENCRYPTION_KEY_MISSING,
    }
)
# The grants whose list is to be read: never read by this version, not for a day, or, while a selected tenant is reached
# by no living grant, not for `max_age`. Setting `listed_at` keeps other replicas from reading the same list.
CLAIM_DUE_LISTS = text("""
UPDATE grants SET listed_at = wall_clock()
WHERE vendor = :vendor AND state = 'active' AND id <> ALL(:excluded)
  AND (listed_at IS NULL OR listed_at < wall_clock() - interval '1 day'
       OR listed_at < wall_clock() - CAST(:max_age AS interval) AND (:is_needed OR EXISTS (
            SELECT FROM tenants AS t WHERE t.vendor = :vendor AND t.is_selected
             AND (t.removed_at IS NOT NULL OR NOT EXISTS (
                  SELECT FROM tenant_grants AS r JOIN grants AS g ON g.id = r.grant_id
                  WHERE (r.vendor, r.tenant_id) = (t.vendor, t.tenant_id)
                    AND r.lost_at IS NULL AND g.state = 'active')))))
RETURNING id
""")
READ_REACH = text("""
SELECT t.tenant_id, t.grant_id AS in_use, g.id AS grant_id, g.state, g.scope_set, g.missing_scopes, g.connected_at,
       g.refresh_expires_at, r.lost_at, r.connection_id, r.consent_id,
       coalesce(r.refused_at > wall_clock() - CAST(:refusal_lifetime AS interval), false) AS is_refused
FROM tenants AS t
JOIN tenant_grants AS r ON r.vendor = t.vendor AND r.tenant_id = t.tenant_id
JOIN grants AS g ON g.id = r.grant_id
WHERE t.vendor = :vendor
  AND (CAST(:tenant_ids AS text[]) IS NULL OR t.tenant_id = ANY (CAST(:tenant_ids AS text[])))
""")


async def read_reach(
    session: Session,
    vendor: str,
    tenant_ids: Collection[str] | None = None,
    unreadable: Collection[UUID] = (),
) -> Mapping[str, TenantReach]:
    """Return the grants of these tenants, or of all, by tenant id; a tenant without any is left out.

    Args:
        session: an open transaction.
        vendor: the vendor's word in `source`.
        tenant_ids: the tenants; None for all.
        unreadable: grants whose tokens cannot be decrypted.
    """
    # Plain SQL does not make the session write what was changed on its objects.
    await session.flush()
    values = {
        "vendor": vendor,
        "tenant_ids": None if tenant_ids is None else list(tenant_ids),
        "refusal_lifetime": REFUSAL_LIFETIME,
    }
    in_use: dict[str, UUID] = {}
    candidates: dict[str, list[Candidate]] = {}
    for row in (await session.execute(READ_REACH, values)).all():
        in_use[row.tenant_id] = row.in_use
        candidate = _candidate_of_row(row, is_readable=row.grant_id not in unreadable)
        candidates.setdefault(row.tenant_id, []).append(candidate)
    return {tenant_id: TenantReach(in_use[tenant_id], found) for tenant_id, found in candidates.items()}


def _candidate_of_row(row: Row[Any], *, is_readable: bool) -> Candidate:
    return Candidate(
        grant_id=row.grant_id,
        state=_state_shown(row.state, is_readable=is_readable),
        scope_set=row.scope_set,
        missing_scopes=frozenset(row.missing_scopes),
        connected_at=row.connected_at,
        refresh_expires_at=row.refresh_expires_at,
        is_listed=row.lost_at is None,
        is_refused=row.is_refused,
        connection_id=row.connection_id,
        consent_id=row.consent_id,
    )


async def read_tenant_reach(session: Session, vendor: str, tenant_id: str) -> TenantReach:
    """Return the grants of one tenant."""
    return (await read_reach(session, vendor, [tenant_id])).get(tenant_id, TenantReach())


def candidate_of(grant: Grant, entry: TenantGrant | None = None, *, is_readable: bool = True) -> Candidate:
    """Return a grant as the choice sees it; without an entry, as one that reaches whatever is asked for."""
    return Candidate(
        grant_id=grant.id,
        state=_state_shown(grant.state, is_readable=is_readable),
        scope_set=grant.scope_set,
        missing_scopes=frozenset(grant.missing_scopes),
        connected_at=grant.connected_at,
        refresh_expires_at=grant.refresh_expires_at,
        is_listed=entry is None or entry.lost_at is None,
        connection_id=entry.connection_id if entry else "",
        consent_id=entry.consent_id if entry else None,
    )


def _state_shown(state: str, *, is_readable: bool) -> str:
    """Return a grant's state; one whose tokens cannot be decrypted needs a reconnect.

    That is not stored: another replica may have the key.
    """
    return state if is_readable or state != GrantState.ACTIVE else GrantState.RECONNECT_REQUIRED


async def save_reach(session: Session, vendor: str, grant_id: UUID, organisations: Sequence[Organisation]) -> list[str]:
    """Store the tenants that the vendor lists for a grant now, and that it lost the others.

    Returns the tenants concerned, for `assign_grants`, which the caller calls once every list that it read is stored.
    """
    listed = sorted(organisations, key=lambda each: each.tenant_id)
    for organisation in listed:
        await _save_organisation(session, vendor, grant_id, organisation)
    ids = [organisation.tenant_id for organisation in listed]
    lost = (TenantGrant.grant_id == grant_id, TenantGrant.tenant_id.not_in(ids), TenantGrant.lost_at.is_(None))
    statement = update(TenantGrant).where(*lost).values(lost_at=func.wall_clock()).returning(TenantGrant.tenant_id)
    lost_ids = (await session.scalars(statement)).all()
    await session.execute(update(Grant).where(Grant.id == grant_id).values(listed_at=func.wall_clock()))
    return [*ids, *lost_ids]


async def assign_grants(session: Session, vendor: str, tenant_ids: Collection[str]) -> None:
    """Let each tenant use the best of its living grants, and mark those that no grant reaches any more as removed."""
    of_tenants = (Tenant.vendor == vendor, Tenant.tenant_id.in_(tenant_ids))
    locked = select(Tenant).where(*of_tenants).order_by(Tenant.tenant_id).with_for_update()
    rows = (await session.scalars(locked.execution_options(populate_existing=True))).all()
    found = await read_reach(session, vendor, tenant_ids)
    for row in rows:
        _assign_grant(row, found.get(row.tenant_id, TenantReach()))
    await session.flush()


async def forget_refusals(session: Session, grant_id: UUID) -> None:
    """Forget what the vendor refused a grant before its user consented again."""
    refused = (TenantGrant.grant_id == grant_id, TenantGrant.refused_at.is_not(None))
    await session.execute(update(TenantGrant).where(*refused).values(refused_at=None))


async def record_refusal(session: Session, grant_id: UUID, tenant_id: str) -> None:
    """Store that the vendor refused a call for a tenant that it lists for the grant."""
    entry = (TenantGrant.grant_id == grant_id, TenantGrant.tenant_id == tenant_id)
    await session.execute(update(TenantGrant).where(*entry).values(refused_at=func.wall_clock()))


async def claim_due_lists(
    session: Session, vendor: str, max_age: timedelta, excluded: Collection[UUID] = (), *, is_needed: bool = False
) -> list[UUID]:
    """Return the active grants whose list of connections is to be read now; nobody else is given them for `max_age`.

    Args:
        session: an open transaction.
        vendor: the vendor's word in `source`.
        max_age: how old a list may be while a selected tenant is reached by no living grant.
        excluded: grants to leave out.
        is_needed: whether the lists are needed even if no selected tenant is known to be without a living grant.
    """
    values = {"vendor": vendor, "max_age": max_age, "excluded": list(excluded), "is_needed": is_needed}
    return list((await session.scalars(CLAIM_DUE_LISTS, values)).all())


def is_reached() -> ColumnElement[bool]:
    """Return the condition that a living grant reaches the tenant."""
    grant = aliased(Grant)
    return exists().where(*_entry_of_tenant(grant), TenantGrant.lost_at.is_(None), grant.state == GrantState.ACTIVE)


def is_connected() -> ColumnElement[bool]:
    """Return the condition that a grant of the tenant's is not disconnected, though it may need a reconnect."""
    grant = aliased(Grant)
    return exists().where(*_entry_of_tenant(grant), grant.state != GrantState.DISCONNECTED)


def is_unreached() -> ColumnElement[bool]:
    """Return the condition that a tenant is selected and waits for a person to connect again.

    While everything is disconnected no single tenant waits.
    """
    other = aliased(Grant)
    anything_connected = exists().where(other.vendor == Tenant.vendor, other.state != GrantState.DISCONNECTED)
    return and_(Tenant.is_selected, Tenant.removed_at.is_(None), ~is_reached(), anything_connected)


def _entry_of_tenant(grant: type[Grant]) -> tuple[ColumnElement[bool], ...]:
    of_tenant = (TenantGrant.vendor == Tenant.vendor, TenantGrant.tenant_id == Tenant.tenant_id)
    return (*of_tenant, grant.id == TenantGrant.grant_id)


async def _save_organisation(session: Session, vendor: str, grant_id: UUID, organisation: Organisation) -> None:
    key = {"vendor": vendor, "tenant_id": organisation.tenant_id}
    entry = {"connection_id": organisation.connection_id, "consent_id": organisation.consent_id}
    named = {"name": organisation.name, "updated_at": func.now()}
    tenant = insert(Tenant).values(**key, **entry, **named, grant_id=grant_id)
    await session.execute(tenant.on_conflict_do_update(index_elements=["vendor", "tenant_id"], set_=named))
    listed = {**entry, "listed_at": func.wall_clock(), "lost_at": None}
    row = insert(TenantGrant).values(**key, **listed, grant_id=grant_id)
    await session.execute(row.on_conflict_do_update(index_elements=["grant_id", "tenant_id"], set_=listed))


def _assign_grant(row: Tenant, reach: TenantReach) -> None:
    connected = [one for one in reach.candidates if one.state != GrantState.DISCONNECTED]
    is_removed = bool(connected) and not any(one.is_listed for one in connected)
    if is_removed:
        row.removed_at = row.removed_at or func.wall_clock()
        return
    best = reach.choose()
    if best is None:
        row.removed_at = None if connected else row.removed_at
        return
    is_other = best.grant_id != row.grant_id
    if is_other:
        log.info("grant_changed", tenant_id=row.tenant_id, grant_id=str(best.grant_id), before=str(row.grant_id))
    if (is_other or row.removed_at) and (row.reason_code in GRANT_PROBLEMS):
        _clear_problem(row)
    row.removed_at = None
    row.grant_id, row.connection_id, row.consent_id = best.grant_id, best.connection_id, best.consent_id


def _clear_problem(row: Tenant) -> None:
    row.reason_code = row.reason_message = row.reason_since = row.paused_until = None
    row.failures = 0
    row.health = TenantHealth.HEALTHY if row.data_as_of else TenantHealth.FIRST_SYNC
