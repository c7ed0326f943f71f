"""Disconnecting a vendor: tokens are deleted here at once, and revoked at the vendor now or when it answers again."""

from uuid import UUID

import structlog
from sqlalchemy import func, select, update

from app.audit import append_audit_entry
from app.connections.errors import NotConfigured
from app.connections.grants import refresh_token_associated_data
from app.connections.states import GrantState
from app.connections.tables import Grant
from app.connections.vendor_app import VendorConfig, load_app
from app.connector import Connector, ConnectorError
from app.crypto import SealBroken, Sealer
from app.db import Database

log = structlog.get_logger(__name__)

CLEARED_COLUMNS: dict[str, object] = {
    "access_token_sealed": None,
    "refresh_token_sealed": None,
    "refresh_claim": None,
    "missing_scopes": [],
}


async def disconnect(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, actor: str) -> None:
    """End every grant of the vendor. Billing data, cursors, matches and the selection stay."""
    async with db.transaction() as session:
        not_ended = (Grant.vendor == config.vendor, Grant.state != GrantState.DISCONNECTED)
        grants = (await session.scalars(select(Grant).where(*not_ended).with_for_update())).all()
        for grant in grants:
            # Stored until the vendor has revoked it, in the same transaction: a crash in between loses no revocation.
            grant.revoke_token_sealed = _seal_for_revocation(sealer, grant)
        await session.flush()
        ids = [grant.id for grant in grants]
        values = {
            **CLEARED_COLUMNS,
            "state": GrantState.DISCONNECTED,
            "state_since": func.wall_clock(),
            "reason": "Disconnected here.",
        }
        await session.execute(update(Grant).where(Grant.id.in_(ids)).values(values))
        await append_audit_entry(session, actor, f"{config.vendor}_disconnected", config.vendor, {"grants": len(ids)})
    await revoke_pending(db, sealer, connector, config)


async def revoke_pending(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig) -> int:
    """Revoke at the vendor every grant that was disconnected here and is not revoked yet; return how many were."""
    async with db.transaction() as session:
        is_pending = (Grant.state == GrantState.DISCONNECTED, Grant.revoke_token_sealed.is_not(None))
        grants = (await session.scalars(select(Grant).where(Grant.vendor == config.vendor, *is_pending))).all()
    revoked = 0
    for grant in grants:
        try:
            token = sealer.open(grant.revoke_token_sealed or "", revocation_associated_data(grant.id))
            await _revoke(db, sealer, connector, config, token)
        except (ConnectorError, NotConfigured, SealBroken) as error:
            log.warning("revocation_delayed", vendor=config.vendor, grant_id=str(grant.id), error=str(error))
            continue
        await _clear_revocation(db, grant)
        revoked += 1
    return revoked


def _seal_for_revocation(sealer: Sealer, grant: Grant) -> str | None:
    """Encrypt the refresh token for the revocation's column; None when its key is missing, for it cannot be revoked."""
    if not grant.refresh_token_sealed:
        return grant.revoke_token_sealed
    try:
        token = sealer.open(grant.refresh_token_sealed, refresh_token_associated_data(grant.id))
    except SealBroken as error:
        log.warning("revocation_impossible", vendor=grant.vendor, grant_id=str(grant.id), error=str(error))
        return None
    return sealer.seal(token, revocation_associated_data(grant.id))


async def _revoke(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, token: str) -> None:
    async with db.transaction() as session:
        app = (await load_app(session, sealer, config)).credentials()
    await connector.revoke(app, token)


async def _clear_revocation(db: Database, grant: Grant) -> None:
    """Delete the token that was revoked, unless the grant has another to revoke by now."""
    revoked = (Grant.id == grant.id, Grant.revoke_token_sealed == grant.revoke_token_sealed)
    async with db.transaction() as session:
        await session.execute(update(Grant).where(*revoked).values(revoke_token_sealed=None))


def revocation_associated_data(grant_id: UUID) -> str:
    return f"grants/{grant_id}/revocation"
