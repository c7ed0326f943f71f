"""Where the rows of one answer come from, and the rule that decides between two versions of a row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from sqlalchemy import Boolean, ColumnElement, bindparam, cast, func, literal, literal_column, select, tuple_

from app.billing.records import Batch, ContactRecord, CreditMemoRecord, InvoiceRecord, PaymentRecord
from app.billing.recordset import Clause, Relation
from app.db import Instant

LONG_AGO = datetime.min.replace(tzinfo=UTC)
Row = TypeVar("Row", bound=ContactRecord | InvoiceRecord | PaymentRecord | CreditMemoRecord)


@dataclass(frozen=True, slots=True)
class ReadContext:
    """One answer of one organisation; `read_at` is the vendor's own instant of it."""

    source: str
    tenant_id: str
    read_at: datetime

    def parameters(self) -> dict[str, object]:
        """Return what every statement of this package is given.

        No name is a column's: SQLAlchemy would take it for a value to set in each UPDATE of the statement.
        """
        return {"of_source": self.source, "of_tenant": self.tenant_id, "answered_at": self.read_at}


def is_older(incoming: Relation, known: Relation) -> ColumnElement[bool]:
    """Say whether the incoming row is an earlier version than the known one.

    The vendor's stamp decides, and where two are equal the instant they were read at: some changes do not move the
    stamp. A known row without a stamp was never told by the vendor itself and gives way.
    """
    long_ago = literal("-infinity").cast(Instant)
    read_at = cast(bindparam("answered_at"), Instant)
    newer = tuple_(func.coalesce(incoming.vendor_updated_at, long_ago), read_at)
    older = tuple_(func.coalesce(known.vendor_updated_at, long_ago), func.coalesce(known.vendor_read_at, long_ago))
    return newer.op("<", return_type=Boolean())(older)


def lateral_lookup(table: Relation, key: Mapping[str, Clause]) -> Relation:
    """Return the organisation's row with that key, to be joined on true.

    A subquery that gives one row at most is answered by the key's index, row by row of the page. Joined plainly, a
    table without statistics yet, as in a first sync, may be read whole for the page or, worse, for each of its rows.
    """
    own = {**key, "source_tenant_id": bindparam("of_tenant"), "source": bindparam("of_source")}
    found = select(table).where(*(getattr(table, name) == value for name, value in own.items()))
    return found.limit(literal_column("1")).lateral()


def newest_of_each(batch: Batch) -> Batch:
    """Keep the newest version of each row, sorted by key: a statement may not write a row twice."""
    return Batch(
        contacts=_newest(batch.contacts),
        invoices=_newest(batch.invoices),
        payments=_newest(batch.payments),
        credit_memos=_newest(batch.credit_memos),
    )


def _newest(rows: Sequence[Row]) -> list[Row]:
    newest = {_key(row): row for row in sorted(rows, key=lambda row: row.vendor_updated_at or LONG_AGO)}
    return [newest[key] for key in sorted(newest)]


def _key(row: Row) -> tuple[str, str]:
    return row.external_id, row.invoice_external_id if isinstance(row, PaymentRecord) else ""
