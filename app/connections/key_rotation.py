"""Key rotation: every secret encrypted with an older key is encrypted anew, in batches, while the service runs."""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import and_, select, tuple_, update

from app.audit import append_audit_entry
from app.connections.sealed_columns import SEALED_COLUMNS, SealedColumn
from app.crypto import SealBroken, Sealer
from app.db import Database, Session
from app.paging import AnyRow

BATCH_ROWS = 100


@dataclass(frozen=True, slots=True)
class RotationResult:
    """How a rotation went, in numbers of secrets.

    Attributes:
        resealed: encrypted anew.
        unreadable: left as they are, because they cannot be decrypted.
        total: all there are.
    """

    resealed: int = 0
    unreadable: int = 0
    total: int = 0

    @property
    def current(self) -> int:
        """How many use the newest key now."""
        return self.total - self.unreadable

    def __add__(self, other: "RotationResult") -> "RotationResult":
        return RotationResult(
            self.resealed + other.resealed, self.unreadable + other.unreadable, self.total + other.total
        )


async def rotate(db: Database, sealer: Sealer, actor: str) -> RotationResult:
    """Encrypt every secret with the newest key; start and end are written into the audit trail.

    Each batch is a transaction, so a rotation that was interrupted at any moment is continued by the next one. A secret
    that cannot be decrypted keeps no other from being rotated.
    """
    async with db.transaction() as session:
        await append_audit_entry(session, actor, "key_rotation_started", sealer.newest_key, {})
    result = RotationResult()
    for sealed in SEALED_COLUMNS:
        result += await _rotate_column(db, sealer, sealed)
    async with db.transaction() as session:
        await append_audit_entry(session, actor, "keys_rotated", sealer.newest_key, asdict(result))
    return result


async def _rotate_column(db: Database, sealer: Sealer, sealed: SealedColumn) -> RotationResult:
    result, last = RotationResult(), None
    while True:
        async with db.transaction() as session:
            rows = await _lock_batch(session, sealed, last)
            for row in rows:
                result += await _reseal(session, sealer, sealed, row)
        if not rows:
            return result
        last = rows[-1]


async def _lock_batch(session: Session, sealed: SealedColumn, last: AnyRow | None) -> list[AnyRow]:
    """Return the next rows: the values of the primary key, of what the secret is bound to, and the secret."""
    statement = select(*_distinct(sealed), sealed.column).where(sealed.is_set)
    if last is not None:
        statement = statement.where(tuple_(*sealed.key) > tuple_(*(getattr(last, one.key) for one in sealed.key)))
    return list((await session.execute(statement.order_by(*sealed.key).limit(BATCH_ROWS).with_for_update())).all())


def _distinct(sealed: SealedColumn) -> list[Any]:
    """Return the columns of key and binding, each once."""
    return list({one.key: one for one in (*sealed.key, *sealed.bound_to)}.values())


async def _reseal(session: Session, sealer: Sealer, sealed: SealedColumn, row: AnyRow) -> RotationResult:
    """Encrypt one secret with the newest key unless it already is, and count it."""
    envelope: str = getattr(row, sealed.column.key)
    if sealer.is_newest(envelope):
        # One that was altered is found too: it is unreadable whatever key it names.
        return RotationResult(total=1, unreadable=not _can_open(sealer, sealed, row))
    associated_data = _associated_data(sealed, row)
    try:
        secret = sealer.open(envelope, associated_data)
    except SealBroken:
        return RotationResult(total=1, unreadable=1)
    is_row = and_(*(one == getattr(row, one.key) for one in sealed.key))
    resealed = {sealed.column: sealer.seal(secret, associated_data)}
    await session.execute(update(sealed.column.class_).where(is_row).values(resealed))
    return RotationResult(total=1, resealed=1)


def _can_open(sealer: Sealer, sealed: SealedColumn, row: AnyRow) -> bool:
    return sealer.try_open(getattr(row, sealed.column.key), _associated_data(sealed, row)) is not None


def _associated_data(sealed: SealedColumn, row: AnyRow) -> str:
    return sealed.associated_data(*(getattr(row, one.key) for one in sealed.bound_to))
