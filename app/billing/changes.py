"""What has changed since alerts and base currencies were last derived, as triggers note it.

The triggers are `note_changes` and `note_customers` in `migrations/functions`.

Deriving everything reads every live document. So a refresh follows the notes, and derives everything anew only when
something else has changed on which all of it depends, such as the day.
"""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Session, Table

# With more changes than this everything is derived anew, which costs less than looking each of them up.
MAX_CHANGES = 5_000
THE_ROW = 1
TAKE = text("DELETE FROM billing_changes RETURNING invoice_id, customer_id, concerns_base_currency")
READ_BASIS = text("SELECT basis FROM billing_refreshes WHERE id = :id")
STORE_BASIS = text("""
INSERT INTO billing_refreshes (id, basis) VALUES (:id, :basis) ON CONFLICT (id) DO UPDATE SET basis = excluded.basis
""")


class NotedChange(Table):
    """A note of an invoice that is open or was, of a customer with services, or that a base currency may change."""

    __tablename__ = "billing_changes"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    invoice_id: Mapped[UUID | None]
    customer_id: Mapped[UUID | None]
    concerns_base_currency: Mapped[bool] = mapped_column(server_default=text("false"))


class Refresh(Table):
    """One row: what the last refresh of everything depended on beside the rows, such as the day."""

    __tablename__ = "billing_refreshes"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    basis: Mapped[str] = mapped_column(Text)


@dataclass(frozen=True, slots=True)
class Changed:
    """Rows whose alerts may have to change.

    Attributes:
        invoice_ids: invoices that may be overdue, or have been.
        customer_ids: customers whose services may be without an invoice, or have been.
    """

    invoice_ids: frozenset[UUID] = frozenset()
    customer_ids: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be derived anew.

    Attributes:
        changed: the rows whose alerts are; None for all.
        concerns_base_currency: whether the base currencies are.
    """

    changed: Changed | None
    concerns_base_currency: bool


async def take_changes(session: Session, basis: str) -> Changes:
    """Return what has changed since the last refresh, and delete the notes of it.

    What a transaction notes that commits later is left for the next refresh.

    Args:
        session: the transaction that derives what follows from the changes.
        basis: what everything depends on beside the rows; when it is another than at the last refresh of everything,
            everything is derived anew.
    """
    rows = (await session.execute(TAKE)).all()
    if len(rows) > MAX_CHANGES or await session.scalar(READ_BASIS, {"id": THE_ROW}) != basis:
        await session.execute(STORE_BASIS, {"id": THE_ROW, "basis": basis})
        return Changes(changed=None, concerns_base_currency=True)
    changed = Changed(
        frozenset(row.invoice_id for row in rows if row.invoice_id),
        frozenset(row.customer_id for row in rows if row.customer_id),
    )
    return Changes(changed, concerns_base_currency=any(row.concerns_base_currency for row in rows))
