"""Grants: one token set per user of the vendor, sealed, whatever organisations it reaches."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from app.connections.tables import Grant, Tenant
from app.connector import TokenSet
from app.crypto import Sealer
from app.db import Session

REFRESH_LIFETIME = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who consented to what: the vendor's user, the scope set asked for, and our user who clicked."""

    vendor: str
    scope_set: str
    missing_scopes: frozenset[str]
    connected_by: str


async def find_grant(session: Session, vendor: str, vendor_user_id: str) -> Grant | None:
    statement = select(Grant).where(Grant.vendor == vendor, Grant.vendor_user_id == vendor_user_id)
    return await session.scalar(statement.with_for_update())


async def save_grant(session: Session, sealer: Sealer, identity: Identity, tokens: TokenSet) -> UUID:
    """Keep a fresh token set; a user who consented before keeps the grant's id and all that hangs on it."""
    grant = await find_grant(session, identity.vendor, tokens.user_id)
    if grant is None:
        grant = Grant(id=uuid4(), vendor=identity.vendor, vendor_user_id=tokens.user_id, version=0)
        session.add(grant)
    grant.state = "active"
    grant.reason = None
    grant.state_since = func.wall_clock()
    grant.scope_set = identity.scope_set
    grant.missing_scopes = sorted(identity.missing_scopes)
    grant.connected_by = identity.connected_by
    grant.connected_at = func.wall_clock()
    grant.version = grant.version + 1
    grant.refresh_claim = None
    # The vendor revokes a user whole: a revocation that still waited would end what was just connected.
    grant.revoke_token_sealed = None
    await session.flush()
    await store_tokens(session, sealer, grant.id, tokens)
    return grant.id


async def store_tokens(session: Session, sealer: Sealer, grant_id: UUID, tokens: TokenSet) -> None:
    """Write a token set over the one before; its refresh token lives 60 days from now, as Xero counts from each use."""
    values: dict[str, object] = {
        "access_token_sealed": sealer.seal(tokens.access_token, access_place(grant_id)),
        "access_expires_at": func.wall_clock() + timedelta(seconds=tokens.lifetime),
        "refreshed_at": func.wall_clock(),
        "refresh_expires_at": func.wall_clock() + REFRESH_LIFETIME,
        "next_refresh_at": None,
        "refusals": 0,
    }
    if tokens.refresh_token:
        values["refresh_token_sealed"] = sealer.seal(tokens.refresh_token, refresh_place(grant_id))
    if tokens.scopes:
        values["scopes"] = sorted(tokens.scopes)
    await session.execute(update(Grant).where(Grant.id == grant_id).values(values))


async def mark_dead(session: Session, grant_id: UUID, version: int, reason: str) -> None:
    """Say that only a person can bring this grant back; no token call is made for it any more.

    Nothing is said of a newer version of its tokens: somebody has connected again meanwhile.
    """
    here = (Grant.id == grant_id, Grant.version == version, Grant.state == "active")
    dead = {"state": "reconnect_required", "reason": reason, "state_since": func.wall_clock(), "refresh_claim": None}
    await session.execute(update(Grant).where(*here).values(dead))


async def note_missing_permission(session: Session, grant_id: UUID, scopes: list[str]) -> None:
    await session.execute(update(Grant).where(Grant.id == grant_id).values(missing_scopes=scopes))


async def grants_of(session: Session, vendor: str) -> list[Grant]:
    """Return the vendor's grants, the newest consent first."""
    statement = select(Grant).where(Grant.vendor == vendor).order_by(Grant.connected_at.desc())
    return list((await session.scalars(statement)).all())


async def grant_reaching(session: Session, vendor: str, tenant_id: str) -> Grant | None:
    reaching = (Tenant.vendor == vendor, Tenant.tenant_id == tenant_id)
    return await session.scalar(select(Grant).join(Tenant, Tenant.grant_id == Grant.id).where(*reaching))


def access_place(grant_id: UUID) -> str:
    return f"grants/{grant_id}/access_token"


def refresh_place(grant_id: UUID) -> str:
    return f"grants/{grant_id}/refresh_token"
