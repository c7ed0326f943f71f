"""Leases: of all replicas, one works on an organisation; whoever lost it is told in the transaction it writes in.

Rows and the database's clock, no session locks: a transaction pooler may stand between, and a replica whose own clock
is wrong owns neither more nor less.
"""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.dialects.postgresql import insert

from app.db import Session
from app.sync.tables import Lease

LEASE_SECONDS = 15
HEARTBEAT_SECONDS = 4


class LeaseLost(RuntimeError):
    """Another replica owns the organisation now; nothing of this transaction may be kept."""


@dataclass(frozen=True, slots=True)
class Held:
    """An organisation this replica owns. `fencing_token` is higher than every owner's before."""

    vendor: str
    tenant_id: str
    owner: str
    fencing_token: int


async def claim_lease(session: Session, vendor: str, tenant_id: str, owner: str) -> Held | None:
    """Become the owner, or return None while another owner's heartbeat is fresh."""
    expires_at = func.wall_clock() + timedelta(seconds=LEASE_SECONDS)
    fresh = {"owner": owner, "expires_at": expires_at}
    statement = (
        insert(Lease)
        .values(vendor=vendor, tenant_id=tenant_id, fencing_token=1, **fresh)
        .on_conflict_do_update(
            index_elements=["vendor", "tenant_id"],
            set_={**fresh, "fencing_token": Lease.fencing_token + 1},
            where=Lease.expires_at <= func.wall_clock(),
        )
        .returning(Lease.fencing_token)
    )
    token = await session.scalar(statement)
    return None if token is None else Held(vendor, tenant_id, owner, token)


async def renew_lease(session: Session, held: Held) -> bool:
    """Push the expiry on; False when another owner has come. An expired lease nobody took is still ours."""
    expires_at = func.wall_clock() + timedelta(seconds=LEASE_SECONDS)
    statement = update(Lease).where(*_ours(held)).values(expires_at=expires_at).returning(Lease.fencing_token)
    return await session.scalar(statement) is not None


async def release_lease(session: Session, held: Held) -> None:
    """Hand it back, so that the next owner need not wait for it to expire."""
    await session.execute(update(Lease).where(*_ours(held)).values(expires_at=func.wall_clock(), owner=None))


async def guard(session: Session, held: Held) -> None:
    """Make sure, until this transaction ends, that the organisation is ours.

    The row is locked for share: whoever would take the lease over waits for our commit, and sees what we wrote.

    Raises:
        LeaseLost: another replica owns it now.
    """
    statement = select(Lease.fencing_token).where(*_ours(held)).with_for_update(read=True)
    if await session.scalar(statement) is None:
        raise LeaseLost(f"The organisation {held.tenant_id} has another owner now.")


def _ours(held: Held) -> tuple[ColumnElement[bool], ...]:
    mine = (Lease.vendor == held.vendor, Lease.tenant_id == held.tenant_id)
    return (*mine, Lease.owner == held.owner, Lease.fencing_token == held.fencing_token)
