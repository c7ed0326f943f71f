"""Whether anything is connected at all: what a customer's panel must know to tell empty from not there."""

from dataclasses import dataclass

from sqlalchemy import and_, func, select

from app.connections.tables import Grant, Tenant
from app.db import Session


@dataclass(frozen=True, slots=True)
class Reach:
    """`is_connected`: some picked organisation's grant was not ended. `vendors`: those with organisations here."""

    is_connected: bool
    vendors: frozenset[str]


async def read_reach(session: Session) -> Reach:
    """Return what is connected; a grant that must be renewed still counts, because its data is still shown."""
    is_connected = and_(Tenant.is_selected, Tenant.removed_at.is_(None), Grant.state != "disconnected")
    statement = select(func.bool_or(is_connected), func.array_agg(Tenant.vendor.distinct()))
    connected, vendors = (await session.execute(statement.join(Grant, Grant.id == Tenant.grant_id))).one()
    return Reach(bool(connected), frozenset(vendors or ()))
