"""Grants: one per user of the vendor who consented, with its encrypted token set, whatever tenants it reaches."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import func, select, update

from app.connections.states import GrantState
from app.connections.tables import Grant
from app.connector import TokenSet
from app.crypto import Sealer
from app.db import Session


@dataclass(frozen=True, slots=True)
class ConsentDetails:
    """What was consented to, and by whom.

    Attributes:
        vendor: the vendor's word in `source`.
        scope_set: the scope set that was asked for.
        missing_scopes: scopes of it that the pull needs and the user did not give.
        connected_by: our user who started the consent.
        refresh_token_lifetime: how long the vendor keeps an unused refresh token good.
    """

    vendor: str
    scope_set: str
    missing_scopes: frozenset[str]
    connected_by: str
    refresh_token_lifetime: timedelta


async def find_grant(session: Session, vendor: str, vendor_user_id: str) -> Grant | None:
    """Return the grant of one user of the vendor, locked for update.

    The lock lets others refer to the grant: one who holds a tenant's row and gives it this grant does not wait.
    """
    statement = select(Grant).where(Grant.vendor == vendor, Grant.vendor_user_id == vendor_user_id)
    return await session.scalar(statement.with_for_update(key_share=True))


async def save_grant(session: Session, sealer: Sealer, consent: ConsentDetails, tokens: TokenSet) -> UUID:
    """Store the token set of a new consent and return the grant's id; a user who consented before keeps that id."""
    grant = await find_grant(session, consent.vendor, tokens.user_id)
    if grant is None:
        grant = Grant(id=uuid4(), vendor=consent.vendor, vendor_user_id=tokens.user_id, version=0)
        session.add(grant)
    grant.state = GrantState.ACTIVE
    grant.reason = None
    grant.state_since = func.wall_clock()
    grant.scope_set = consent.scope_set
    grant.missing_scopes = sorted(consent.missing_scopes)
    grant.connected_by = consent.connected_by
    grant.connected_at = func.wall_clock()
    grant.version = grant.version + 1
    grant.refresh_claim = None
    # The vendor revokes everything of a user at once: a pending revocation would end the new connection too.
    grant.revoke_token_sealed = None
    await session.flush()
    await store_tokens(session, sealer, grant.id, tokens, consent.refresh_token_lifetime)
    return grant.id


async def store_tokens(
    session: Session, sealer: Sealer, grant_id: UUID, tokens: TokenSet, refresh_token_lifetime: timedelta
) -> None:
    """Replace the grant's token set; the new refresh token's lifetime counts from now."""
    values: dict[str, object] = {
        "access_token_sealed": sealer.seal(tokens.access_token, access_token_associated_data(grant_id)),
        "access_expires_at": func.wall_clock() + timedelta(seconds=tokens.lifetime),
        "refreshed_at": func.wall_clock(),
        "refresh_expires_at": func.wall_clock() + refresh_token_lifetime,
        "next_refresh_at": None,
        "refusals": 0,
    }
    if tokens.refresh_token:
        values["refresh_token_sealed"] = sealer.seal(tokens.refresh_token, refresh_token_associated_data(grant_id))
    if tokens.scopes:
        values["scopes"] = sorted(tokens.scopes)
    await session.execute(update(Grant).where(Grant.id == grant_id).values(values))


async def mark_reconnect_required(session: Session, grant_id: UUID, version: int, reason: str) -> None:
    """Record that only a new consent makes this grant usable again; no token request is made for it any more.

    Does nothing when the grant's token set is newer than `version`: somebody has connected again meanwhile.
    """
    current = (Grant.id == grant_id, Grant.version == version, Grant.state == GrantState.ACTIVE)
    values = {
        "state": GrantState.RECONNECT_REQUIRED,
        "reason": reason,
        "state_since": func.wall_clock(),
        "refresh_claim": None,
    }
    await session.execute(update(Grant).where(*current).values(values))


async def record_missing_scope(session: Session, grant_id: UUID, scope: str) -> None:
    """Store that the vendor refused a call because the grant lacks this scope."""
    lacking = (Grant.id == grant_id, ~Grant.missing_scopes.contains([scope]))
    await session.execute(
        update(Grant).where(*lacking).values(missing_scopes=func.array_append(Grant.missing_scopes, scope))
    )


async def list_grants(session: Session, vendor: str) -> list[Grant]:
    """Return the vendor's grants, the newest consent first."""
    statement = select(Grant).where(Grant.vendor == vendor).order_by(Grant.connected_at.desc())
    return list((await session.scalars(statement)).all())


def access_token_associated_data(grant_id: UUID) -> str:
    return f"grants/{grant_id}/access_token"


def refresh_token_associated_data(grant_id: UUID) -> str:
    return f"grants/{grant_id}/refresh_token"
