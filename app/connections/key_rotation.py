"""Key rotation: every secret encrypted with an older key is encrypted anew, in batches, while the service runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute

from app.connections import disconnect, grants, vendor_app
from app.connections.tables import Grant, VendorApp, WebhookKey
from app.crypto import Sealer
from app.db import Database

BATCH_ROWS = 100


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """An encrypted column.

    Attributes:
        key: the primary key of its table, by which the rows are read in batches.
        column: the column.
        associated_data: returns what a row's value is bound to.
    """

    key: InstrumentedAttribute[Any]
    column: InstrumentedAttribute[Any]
    associated_data: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class RotationResult:
    """How many values were encrypted anew, and how many there are."""

    resealed: int
    total: int


COLUMNS = (
    SealedColumn(Grant.id, Grant.access_token_sealed, lambda row: grants.access_token_associated_data(row.id)),
    SealedColumn(Grant.id, Grant.refresh_token_sealed, lambda row: grants.refresh_token_associated_data(row.id)),
    SealedColumn(Grant.id, Grant.revoke_token_sealed, lambda row: disconnect.revocation_associated_data(row.id)),
    SealedColumn(
        VendorApp.vendor,
        VendorApp.client_secret_sealed,
        lambda row: vendor_app.client_secret_associated_data(row.vendor),
    ),
    SealedColumn(WebhookKey.id, WebhookKey.key_sealed, lambda row: vendor_app.signing_key_associated_data(row.vendor)),
)


async def rotate(db: Database, sealer: Sealer) -> RotationResult:
    """Encrypt every secret with the newest key; may be interrupted and repeated.

    Raises:
        SealBroken: a value's key is not configured; the batches before it stay as rotated.
    """
    resealed = total = 0
    for sealed in COLUMNS:
        changed, seen = await _rotate_column(db, sealer, sealed)
        resealed, total = resealed + changed, total + seen
    return RotationResult(resealed, total)


async def _rotate_column(db: Database, sealer: Sealer, sealed: SealedColumn) -> tuple[int, int]:
    resealed = total = 0
    last: Any = None
    while True:
        async with db.transaction() as session:
            statement = select(sealed.column.class_).where(sealed.column.is_not(None))
            if last is not None:
                statement = statement.where(sealed.key > last)
            statement = statement.order_by(sealed.key).limit(BATCH_ROWS).with_for_update()
            rows = (await session.scalars(statement)).all()
            for row in rows:
                resealed += _reseal(sealer, sealed, row)
        if not rows:
            return resealed, total
        total += len(rows)
        last = getattr(rows[-1], sealed.key.key)


def _reseal(sealer: Sealer, sealed: SealedColumn, row: object) -> bool:
    """Encrypt one value with the newest key; return whether it was encrypted with an older one."""
    envelope: str = getattr(row, sealed.column.key)
    if sealer.is_newest(envelope):
        return False
    associated_data = sealed.associated_data(row)
    setattr(row, sealed.column.key, sealer.seal(sealer.open(envelope, associated_data), associated_data))
    return True
