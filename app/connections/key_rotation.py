"""Key rotation: everything sealed with an older key is sealed anew, batch by batch, while the service runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from app.connections import disconnect, grants, vendor_app
from app.connections.tables import Grant, VendorApp, WebhookKey
from app.crypto import Sealer
from app.db import Database

BATCH = 100


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed column and the place its values are bound to."""

    key: InstrumentedAttribute[Any]
    column: InstrumentedAttribute[Any]
    place: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Rotated:
    """How far a rotation came: values sealed anew of all values there are."""

    resealed: int
    total: int


COLUMNS = (
    Sealed(Grant.id, Grant.access_token_sealed, lambda row: grants.access_place(row.id)),
    Sealed(Grant.id, Grant.refresh_token_sealed, lambda row: grants.refresh_place(row.id)),
    Sealed(Grant.id, Grant.revoke_token_sealed, lambda row: disconnect.revocation_place(row.id)),
    Sealed(VendorApp.vendor, VendorApp.client_secret_sealed, lambda row: vendor_app.secret_place(row.vendor)),
    Sealed(WebhookKey.id, WebhookKey.key_sealed, lambda row: vendor_app.key_place(row.vendor)),
)


async def rotate(db: Database, sealer: Sealer) -> Rotated:
    """Seal everything with the newest key; safe to repeat and to interrupt.

    Raises:
        SealBroken: a value's key is not configured; what was done before stands.
    """
    resealed = total = 0
    for sealed in COLUMNS:
        done, seen = await _rotate_column(db, sealer, sealed)
        resealed, total = resealed + done, total + seen
    return Rotated(resealed, total)


async def _rotate_column(db: Database, sealer: Sealer, sealed: Sealed) -> tuple[int, int]:
    resealed = total = 0
    last: Any = None
    while True:
        async with db.transaction() as session:
            statement = select(sealed.column.class_).where(sealed.column.is_not(None))
            if last is not None:
                statement = statement.where(sealed.key > last)
            rows = (await session.scalars(statement.order_by(sealed.key).limit(BATCH).with_for_update())).all()
            for row in rows:
                resealed += _reseal(sealer, sealed, row)
        if not rows:
            return resealed, total
        total += len(rows)
        last = getattr(rows[-1], sealed.key.key)


def _reseal(sealer: Sealer, sealed: Sealed, row: object) -> bool:
    envelope: str = getattr(row, sealed.column.key)
    if sealer.is_newest(envelope):
        return False
    place = sealed.place(row)
    setattr(row, sealed.column.key, sealer.seal(sealer.open(envelope, place), place))
    return True
