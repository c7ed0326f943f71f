"""The end of a connection: tokens wiped at once, revoked at the vendor now or as soon as it answers."""

from dataclasses import dataclass, field
from uuid import UUID

import structlog
from sqlalchemy import func, select, update

from app.billing.audit import record as audit
from app.connections.apps import NotConfigured, VendorConfig, load_app
from app.connections.grants import refresh_place
from app.connections.tables import Grant
from app.connector import Connector, ConnectorError
from app.crypto import Sealer
from app.db import Database

log = structlog.get_logger(__name__)

WIPED: dict[str, object] = {
    "access_token_sealed": None,
    "refresh_token_sealed": None,
    "refresh_claim": None,
    "missing_scopes": [],
}


@dataclass(frozen=True, slots=True)
class Ended:
    grant_id: UUID
    refresh_token: str = field(repr=False)


async def disconnect(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, actor: str) -> None:
    """End every grant of the vendor. Billing data, cursors, matches and the selection stay."""
    async with db.transaction() as session:
        living = select(Grant).where(Grant.vendor == config.vendor, Grant.state != "disconnected").with_for_update()
        grants = (await session.scalars(living)).all()
        ended = [
            Ended(grant.id, sealer.open(grant.refresh_token_sealed, refresh_place(grant.id)))
            for grant in grants
            if grant.refresh_token_sealed
        ]
        ids = [grant.id for grant in grants]
        gone = {**WIPED, "state": "disconnected", "state_since": func.wall_clock(), "reason": "Disconnected here."}
        await session.execute(update(Grant).where(Grant.id.in_(ids)).values(gone))
        await audit(session, actor, f"{config.vendor}_disconnected", config.vendor, {"grants": len(ids)})
    for one in ended:
        if not await _revoke(db, sealer, connector, config, one.refresh_token):
            sealed = sealer.seal(one.refresh_token, revocation_place(one.grant_id))
            await _keep_for_later(db, one.grant_id, sealed)


async def revoke_waiting(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig) -> int:
    """Try again to revoke what could not be revoked when it was disconnected; return how many succeeded."""
    async with db.transaction() as session:
        waiting = select(Grant).where(Grant.vendor == config.vendor, Grant.revoke_token_sealed.is_not(None))
        grants = (await session.scalars(waiting)).all()
    revoked = 0
    for grant in grants:
        token = sealer.open(grant.revoke_token_sealed or "", revocation_place(grant.id))
        if await _revoke(db, sealer, connector, config, token):
            await _keep_for_later(db, grant.id, None)
            revoked += 1
    return revoked


async def _revoke(db: Database, sealer: Sealer, connector: Connector, config: VendorConfig, token: str) -> bool:
    try:
        async with db.transaction() as session:
            app = (await load_app(session, sealer, config)).credentials()
        await connector.revoke(app, token)
    except (ConnectorError, NotConfigured) as error:
        log.warning("revocation_delayed", vendor=config.vendor, error=str(error))
        return False
    return True


async def _keep_for_later(db: Database, grant_id: UUID, sealed: str | None) -> None:
    async with db.transaction() as session:
        await session.execute(update(Grant).where(Grant.id == grant_id).values(revoke_token_sealed=sealed))


def revocation_place(grant_id: UUID) -> str:
    return f"grants/{grant_id}/revocation"
