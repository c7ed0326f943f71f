"""Which version of a row wins, and where the rows of one response come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec.structs import replace
from sqlalchemy import (
    Boolean,
    ColumnElement,
    FromClause,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.sql.selectable import LateralFromClause

from app.billing.records import (
    Batch,
    ContactRecord,
    CreditMemoRecord,
    InvoiceRecord,
    PaymentRecord,
    believe_stamp,
)
from app.billing.recordset import core_table
from app.db import Instant, Table

EARLIEST = datetime.min.replace(tzinfo=UTC)
Record = TypeVar("Record", bound=ContactRecord | InvoiceRecord | PaymentRecord | CreditMemoRecord)


@dataclass(frozen=True, slots=True)
class ReadContext:
    """One response of a vendor for one tenant; `read_at` is the vendor's clock at that moment."""

    source: str
    tenant_id: str
    read_at: datetime

    def parameters(self) -> dict[str, object]:
        """Return the parameters that the statements of this package share.

        None has the name of a column: SQLAlchemy would take it for a value to set in each UPDATE of the statement.
        """
        return {"of_source": self.source, "of_tenant": self.tenant_id, "answered_at": self.read_at}


def is_older(incoming: FromClause, stored: FromClause) -> ColumnElement[bool]:
    """Return the condition that the incoming row is an earlier version than the stored one.

    The vendor's time of the last change decides, the stored one believed no further than the instant it was read at.
    Where it is equal, the time of reading decides, since some changes do not move the vendor's time. A stored row
    without one was not written from the vendor's response and is replaced.
    """
    earliest = literal("-infinity").cast(Instant)
    read_at = cast(bindparam("answered_at"), Instant)
    incoming_version = tuple_(func.coalesce(incoming.c.vendor_updated_at, earliest), read_at)
    # `least` ignores NULL. Releases before this one stored a stamp from the future as the vendor wrote it.
    believed = func.least(stored.c.vendor_updated_at, stored.c.vendor_read_at)
    stored_version = tuple_(
        case((stored.c.vendor_updated_at.is_(None), earliest), else_=believed),
        func.coalesce(stored.c.vendor_read_at, earliest),
    )
    return incoming_version.op("<", return_type=Boolean())(stored_version)


def stamp_to_compare(incoming: FromClause, stored: FromClause) -> ColumnElement[datetime]:
    """Return the incoming row's time of the last change, or the stored one where neither is the vendor's.

    A stamp from the future is stored as the instant of its response, which is later at every read; the row has not
    changed by that.
    """
    read_at = cast(bindparam("answered_at"), Instant)
    is_bounded = (incoming.c.vendor_updated_at == read_at) & (stored.c.vendor_updated_at == stored.c.vendor_read_at)
    return case((is_bounded, stored.c.vendor_updated_at), else_=incoming.c.vendor_updated_at)


def lateral_lookup(model: type[Table], key: Mapping[str, ColumnElement[Any]]) -> LateralFromClause:
    """Return the tenant's row with that key, as a lateral subquery to be joined on true.

    A subquery that returns one row at most is answered from the key's index, once per row of the page. As a plain join,
    a table without statistics, as in a first sync, may be scanned for the page or even for each of its rows.
    """
    table = core_table(model)
    full_key = {**key, "source_tenant_id": bindparam("of_tenant"), "source": bindparam("of_source")}
    found = select(table).where(*(table.c[name] == value for name, value in full_key.items()))
    return found.limit(literal_column("1")).lateral()


def newest_of_each(batch: Batch, read_at: datetime) -> Batch:
    """Keep the newest version of each record, sorted by key: one statement cannot upsert a row twice.

    Their times of the last change are those that `believe_stamp` leaves.
    """
    return Batch(
        contacts=_newest(batch.contacts, read_at),
        invoices=_newest(batch.invoices, read_at),
        payments=_newest(batch.payments, read_at),
        credit_memos=_newest(batch.credit_memos, read_at),
    )


def _newest(records: Sequence[Record], read_at: datetime) -> list[Record]:
    newest = {_key(record): record for record in sorted(records, key=lambda one: one.vendor_updated_at or EARLIEST)}
    return [_with_believed_stamp(newest[key], read_at) for key in sorted(newest)]


def _with_believed_stamp(record: Record, read_at: datetime) -> Record:
    stamp = record.vendor_updated_at
    if stamp is None or stamp == (believed := believe_stamp(stamp, read_at)):
        return record
    return replace(record, vendor_updated_at=believed)


def _key(record: Record) -> tuple[str, str]:
    return record.external_id, record.invoice_external_id if isinstance(record, PaymentRecord) else ""
