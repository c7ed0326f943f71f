"""The end of a connection: tokens wiped at once, revoked at the vendor now or as soon as it answers."""

from uuid import UUID

import structlog
from sqlalchemy import func, select, update

from app.audit import append_audit_entry
from app.connections.errors import NotConfigured
from app.connections.grants import refresh_place
from app.connections.tables import Grant
from app.connections.vendor_app import VendorConfig, load_app
from app.connector import Connector, ConnectorError
from app.crypto import SealBroken, Sealer
from app.db import Database

log = structlog.get_logger(__name__)

WIPED: dict[str, object] = {
    "access_token_sealed": None,
    "refresh_token_sealed": None,
    "refresh_claim": None,
    "missing_scopes": [],
}


async def disconnect(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, actor: str) -> None:
    """End every grant of the vendor. Billing data, cursors, matches and the selection stay."""
    async with db.transaction() as session:
        living = select(Grant).where(Grant.vendor == config.vendor, Grant.state != "disconnected").with_for_update()
        grants = (await session.scalars(living)).all()
        for grant in grants:
            # Kept until the vendor has revoked it, in the same transaction: a crash in between loses no revocation.
            grant.revoke_token_sealed = _seal_for_revocation(sealer, grant)
        await session.flush()
        ids = [grant.id for grant in grants]
        gone = {**WIPED, "state": "disconnected", "state_since": func.wall_clock(), "reason": "Disconnected here."}
        await session.execute(update(Grant).where(Grant.id.in_(ids)).values(gone))
        await append_audit_entry(session, actor, f"{config.vendor}_disconnected", config.vendor, {"grants": len(ids)})
    await revoke_waiting(db, sealer, connector, config)


async def revoke_waiting(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig) -> int:
    """Revoke at the vendor what was disconnected here and is not revoked yet; return how many succeeded."""
    async with db.transaction() as session:
        waiting = (Grant.state == "disconnected", Grant.revoke_token_sealed.is_not(None))
        grants = (await session.scalars(select(Grant).where(Grant.vendor == config.vendor, *waiting))).all()
    revoked = 0
    for grant in grants:
        try:
            token = sealer.open(grant.revoke_token_sealed or "", revocation_place(grant.id))
            await _revoke(db, sealer, connector, config, token)
        except (ConnectorError, NotConfigured, SealBroken) as error:
            log.warning("revocation_delayed", vendor=config.vendor, grant_id=str(grant.id), error=str(error))
            continue
        await _forget(db, grant)
        revoked += 1
    return revoked


def _seal_for_revocation(sealer: Sealer, grant: Grant) -> str | None:
    """Bind the refresh token to its last purpose; one whose key is gone cannot be revoked, and ends here alone."""
    if not grant.refresh_token_sealed:
        return grant.revoke_token_sealed
    try:
        token = sealer.open(grant.refresh_token_sealed, refresh_place(grant.id))
    except SealBroken as error:
        log.warning("revocation_impossible", vendor=grant.vendor, grant_id=str(grant.id), error=str(error))
        return None
    return sealer.seal(token, revocation_place(grant.id))


async def _revoke(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, token: str) -> None:
    async with db.transaction() as session:
        app = (await load_app(session, sealer, config)).credentials()
    await connector.revoke(app, token)


async def _forget(db: Database, grant: Grant) -> None:
    this = (Grant.id == grant.id, Grant.revoke_token_sealed == grant.revoke_token_sealed)
    async with db.transaction() as session:
        await session.execute(update(Grant).where(*this).values(revoke_token_sealed=None))


def revocation_place(grant_id: UUID) -> str:
    return f"grants/{grant_id}/revocation"
