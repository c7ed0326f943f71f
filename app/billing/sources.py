"""Where billing rows are from: the organisations, and how old the rows of each are.

Which organisations are synced is known to those that call this package; they pass it in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class SourceDetails:
    """One organisation whose rows are counted.

    Attributes:
        source: the vendor.
        tenant_id: the organisation at the vendor.
        name: the organisation's name; None where another service writes its rows.
        data_as_of: the instant up to which everything is mirrored; None before the first complete sync, and where
            another service writes the rows.
        is_synced: false for an organisation that was deselected, removed or disconnected. Its rows stay and count.
    """

    source: str
    tenant_id: str
    name: str | None
    data_as_of: datetime | None
    is_synced: bool

    @classmethod
    def of_other_service(cls, source: str, tenant_id: str) -> Self:
        """Return what is known of an organisation whose rows another service writes."""
        return cls(source, tenant_id, name=None, data_as_of=None, is_synced=True)

    @property
    def age_note(self) -> str:
        """Return what alerts about rows of the organisation say of their age."""
        if self.data_as_of is None:
            return "figures incomplete"
        return f"figures as of {self.data_as_of.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def oldest_data_as_of(sources: Iterable[SourceDetails]) -> datetime | None:
    """Return the `data_as_of` of the stalest organisation; None when one was never synced whole, or there is none."""
    instants = [source.data_as_of for source in sources]
    known = [instant for instant in instants if instant is not None]
    return min(known) if known and len(known) == len(instants) else None
