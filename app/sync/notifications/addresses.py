"""The addresses at which people are told: those of `NOTIFY_URLS`, each with a name that may be shown.

An address usually contains a password or a token: in the part before `@`, in the path, in the query, and with many
services in the place of the host. It is never stored, logged or shown.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from apprise import Apprise, AppriseAsset, NotifyBase
from apprise.manager_plugins import NotificationManager

from app.sync.notifications.library_logs import silence_libraries

# Without a service timeout Apprise sends in the caller's thread, which `Sender` bounds. Its own pool of threads would
# keep a process that is to stop waiting for an address that hangs. Nothing is written to disk.
ASSET = AppriseAsset(
    app_id="Vectis", app_desc="Vectis billing", app_url="", async_mode=False, service_timeout=0, storage_mode="memory"
)
HOST = re.compile(r"[A-Za-z0-9.-]+")


class AddressUnusable(ValueError):
    """An address cannot be used; the message names its position and its scheme."""


@dataclass(frozen=True, slots=True)
class NotifyAddress:
    """One address.

    Attributes:
        url: the Apprise address, which is a secret.
        name: the scheme, and the host where that is no secret.
        fingerprint: what the database knows it by.
    """

    url: str = field(repr=False)
    name: str
    fingerprint: str


def parse_addresses(text: str) -> list[NotifyAddress]:
    """Return the addresses of a setting, separated by blanks or line ends; one that is repeated counts once.

    Raises:
        AddressUnusable: Apprise does not know the scheme, or the address lacks something that the scheme needs.
    """
    silence_libraries()
    return [_parse_address(url, position) for position, url in enumerate(dict.fromkeys(text.split()), start=1)]


def names_of(addresses: Sequence[NotifyAddress]) -> list[str]:
    return [address.name for address in addresses]


def open_service(url: str) -> NotifyBase | None:
    """Return what sends to an address; None where the address cannot be used."""
    return Apprise.instantiate(url, asset=ASSET)


def _parse_address(url: str, position: int) -> NotifyAddress:
    service = open_service(url)
    scheme = _scheme_of(url)
    if service is None:
        raise AddressUnusable(f"address {position} ({scheme or 'of an unknown scheme'}) is none that Apprise can use")
    return NotifyAddress(url, f"{scheme}{_host_of(url, service)}", _fingerprint_of(url))


def _fingerprint_of(url: str) -> str:
    """Return what tells an address apart; slow to make, so that a password cannot be found from it by trying."""
    return hashlib.scrypt(url.encode(), salt=b"notification address", n=2**14, r=8, p=1, dklen=16).hex()


def _scheme_of(url: str) -> str | None:
    """Return the scheme, where it is one: a setting that is mistaken may have a secret in its place."""
    scheme = url.partition("://")[0].lower()
    known = NotificationManager().schemas()  # type: ignore[no-untyped-call]  # Apprise has no annotation here
    # Apprise also takes the web addresses of some services, such as Slack's.
    return f"{scheme}://" if scheme in {*known, "http", "https"} else None


def _host_of(url: str, service: NotifyBase) -> str:
    """Return the host where the service has one: many have a token in its place, and a slash splits a password."""
    has_host = "host" in service.template_tokens
    rest = url.partition("://")[2].partition("?")[0].partition("/")[2]
    host = str(service.host or "") if has_host and "@" not in rest else ""
    return host if HOST.fullmatch(host) else ""
