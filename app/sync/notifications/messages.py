"""The texts of messages: what happened, what it means and what to do next, in plain English for a bookkeeper."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.connections.snapshot import Banner
from app.connections.states import BannerCode, Severity

MAX_NAMES = 20


@dataclass(frozen=True, slots=True)
class Message:
    """What an address is sent; `severity` is None where nothing is wrong."""

    title: str
    body: str
    severity: Severity | None


@dataclass(frozen=True, slots=True)
class TenantTexts:
    """The texts of what is wrong with organisations; `several` is the title where it is more than one."""

    several: str
    body: str


TENANT_TEXTS = {
    BannerCode.TENANT_FORBIDDEN: TenantTexts(
        "{count} organisations no longer grant access",
        "{vendor} refuses access, so new invoices and payments no longer arrive. The figures that are here stay"
        " readable, as old as they are. Give the user who connected {vendor} access again, reconnect as another user"
        " who has access, or leave the organisation out of the selection.",
    ),
    BannerCode.TENANT_REMOVED: TenantTexts(
        "{count} organisations were removed in {vendor}",
        "Nobody who connected {vendor} has access any more, so new invoices and payments no longer arrive. The figures"
        " that are here stay readable, as old as they are. Reconnect {vendor} as a user who has access, or leave the"
        " organisation out of the selection.",
    ),
    BannerCode.DATA_STALE: TenantTexts(
        "The figures of {count} organisations are old",
        "No sync has come to its end for a while, so the newest invoices and payments are missing. Press Sync now; if"
        " that does not help, Recent runs show what stops it.",
    ),
}


class Texts:
    """Writes the messages of one vendor.

    Args:
        vendor_name: the vendor's name for people.
        console_url: where a person looks at the connection and acts.
    """

    def __init__(self, vendor_name: str, console_url: str) -> None:
        self._vendor_name = vendor_name
        self._console_url = console_url

    def opened(self, banners: Sequence[Banner]) -> Message:
        """Return the message that something is wrong, from banners of one code."""
        first = banners[0]
        texts = TENANT_TEXTS.get(first.code)
        if texts is None:
            return Message(first.title, f"{first.body}\n\n{self._link}", first.severity)
        values = {"count": len(banners), "vendor": self._vendor_name}
        title = first.title if len(banners) == 1 else texts.several.format(**values)
        names = f"\n\nOrganisations: {_list_names(banners)}." if len(banners) > 1 else ""
        return Message(title, f"{texts.body.format(**values)}{names}\n\n{self._link}", first.severity)

    def resolved(self, title: str, opened_at: datetime, *, is_well: bool) -> Message:
        """Return the message that an incident with this title is over.

        Args:
            title: what happened.
            opened_at: when people were told.
            is_well: whether it was put right, and does not only concern nobody any more.
        """
        told = f'"{title}" was told on {opened_at:%d %b %Y, %H:%M} UTC.'
        if is_well:
            return Message(f"Well again: {title}", f"{told} Nothing has to be done.\n\n{self._link}", None)
        reason = "The organisation was left out of the selection, or the connection was ended here."
        return Message(f"No longer applies: {title}", f"{told} {reason} Nothing has to be done.\n\n{self._link}", None)

    def test(self) -> Message:
        """Return the message that shows that an address works."""
        body = f"Messages about the connection to {self._vendor_name} arrive at this address. Nothing has to be done."
        return Message("Test message from Vectis", f"{body}\n\n{self._link}", None)

    @property
    def _link(self) -> str:
        return f"Open {self._console_url} to look at the connection."


def _list_names(banners: Sequence[Banner]) -> str:
    names = sorted(banner.tenant_name or "" for banner in banners)
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"{', '.join(names[:MAX_NAMES])}{more}"
