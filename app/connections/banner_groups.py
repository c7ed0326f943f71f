"""Banners as a person reads them: one per code, however many organisations it is about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from app.connections.snapshot import Action, Banner
from app.connections.states import BannerCode, Severity

# Ids that a banner names, and names that its text does; a hundred would be read by nobody.
MOST_IDS, MOST_NAMES = 20, 5
TITLES_OF_SEVERAL: Mapping[str, str] = {
    BannerCode.RATE_LIMITED_MINUTE: "{count} organisations are waiting for {vendor}'s minute limit",
    BannerCode.RATE_LIMITED_DAY: "{count} organisations have used their {vendor} calls for today",
    BannerCode.TENANT_FORBIDDEN: "{count} organisations no longer grant access",
    BannerCode.TENANT_REMOVED: "{count} organisations were removed in {vendor}",
    BannerCode.VENDOR_UNAVAILABLE: "{vendor} is not answering for {count} organisations",
    BannerCode.PARTIAL_SYNC: "{count} organisations have records that need a look",
    BannerCode.FIRST_SYNC: "Bringing in the history of {count} organisations",
    BannerCode.DATA_STALE: "The figures of {count} organisations are old",
}


@dataclass(frozen=True, slots=True)
class BannerGroup:
    """The banners of one code.

    Attributes:
        tenant_id: the organisation, when it is about exactly one.
        tenant_ids: the organisations it is about, at most `MOST_IDS`.
        count: how many organisations it is about; 0 where it is about the whole connection.
        since: when the first of them began.
        until: when the last of them ends by itself; None when one of them does not.
    """

    code: BannerCode
    severity: Severity
    title: str
    body: str
    tenant_id: str | None
    tenant_ids: Sequence[str]
    count: int
    since: datetime | None
    until: datetime | None
    action: Action | None

    @property
    def needs_person(self) -> bool:
        """Whether it stays until somebody does something about it."""
        return self.action is not None or (self.severity != Severity.INFO and self.until is None)


def group_banners(banners: Sequence[Banner], vendor_name: str) -> list[BannerGroup]:
    """Return one group per code, in the order in which the codes come first."""
    codes = list(dict.fromkeys(banner.code for banner in banners))
    by_code = sorted(banners, key=lambda banner: codes.index(banner.code))
    return [_group(list(group), vendor_name) for _, group in groupby(by_code, key=lambda banner: banner.code)]


def _group(banners: Sequence[Banner], vendor_name: str) -> BannerGroup:
    first = banners[0]
    about = dict.fromkeys(one for banner in banners for one in _tenants_of(banner))
    ends = [banner.until for banner in banners if banner.until]
    title, body = _texts(banners, len(about), vendor_name)
    return BannerGroup(
        code=first.code,
        severity=first.severity,
        title=title,
        body=body,
        tenant_id=next(iter(about)) if len(about) == 1 else None,
        tenant_ids=list(about)[:MOST_IDS],
        count=len(about),
        since=min((banner.since for banner in banners if banner.since), default=None),
        until=max(ends) if len(ends) == len(banners) else None,
        action=first.action,
    )


def _tenants_of(banner: Banner) -> Sequence[str]:
    return [banner.tenant_id] if banner.tenant_id else sorted(banner.concerned)


def _texts(banners: Sequence[Banner], count: int, vendor_name: str) -> tuple[str, str]:
    """Return title and body: those of the only banner, or texts about all that say which organisations they are."""
    first = banners[0]
    if len(banners) == 1:
        return first.title, first.body
    title = TITLES_OF_SEVERAL.get(first.code, first.title).format(count=count, vendor=vendor_name)
    bodies = list(dict.fromkeys(banner.body for banner in banners))
    names = [banner.tenant_name for banner in banners if banner.tenant_name]
    named = ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")
    body = first.body if len(bodies) == 1 else f"The first of them: {first.body}"
    return title, f"{named}. {body}" if names else " ".join(bodies)
