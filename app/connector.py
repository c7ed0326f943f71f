"""The port: what the service asks of any billing vendor, and the one family of errors a vendor may raise.

ConnectorError
├── AppRejected            the app's client id, secret, redirect URI or scope set is not accepted: an operator must act
├── GrantRefused           the authorization code or refresh token is dead: the user must connect again
├── AccessExpired          the access token is no longer good: refresh it and ask again
├── PermissionMissing      the grant lacks a scope: the user must consent again
├── OrganisationForbidden  this organisation no longer grants access; the others are not concerned
├── NotFound               the address is unknown: the organisation is gone, or the request was too long
├── RateLimited            a limit was reached; carries which one and for how long, when the vendor says so
├── HighVolume             the vendor refuses the query as too broad; ask again without its filters
├── VendorUnavailable      outage, timeout, reset: the same request may succeed later
│   └── OrganisationOffline    only this organisation is offline
├── AnswerUnreadable       an answer arrived but is not what was asked for: HTML, truncated, wrong type
└── RequestRejected        the vendor understood and refused; asking again the same way is pointless
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from app.billing.records import Batch, Resource


class ConnectorError(RuntimeError):
    """The vendor did not give what was asked; the class says what to do about it.

    Args:
        detail: one sentence for an operator, without secrets or host names.
        traffic: what the failed call cost.
    """

    def __init__(self, detail: str, traffic: "Traffic | None" = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.traffic = traffic or Traffic()


class AppRejected(ConnectorError):
    pass


class GrantRefused(ConnectorError):
    pass


class AccessExpired(ConnectorError):
    pass


class PermissionMissing(ConnectorError):
    pass


class OrganisationForbidden(ConnectorError):
    pass


class NotFound(ConnectorError):
    pass


class RateLimited(ConnectorError):
    """A limit was reached.

    Args:
        detail: one sentence for an operator.
        limit: `minute`, `day`, `concurrent`, `app_minute` or `unknown`.
        retry_after: seconds the vendor asked for, or None when it did not say; never negative.
        traffic: what the refused call cost.
    """

    def __init__(self, detail: str, limit: str, retry_after: float | None, traffic: "Traffic | None" = None) -> None:
        super().__init__(detail, traffic)
        self.limit = limit
        self.retry_after = retry_after


class HighVolume(ConnectorError):
    pass


class VendorUnavailable(ConnectorError):
    pass


class OrganisationOffline(VendorUnavailable):
    pass


class AnswerUnreadable(ConnectorError):
    pass


class RequestRejected(ConnectorError):
    pass


class BadSignature(RuntimeError):
    """A notice is not signed with any of our keys."""


class NoticeUnreadable(RuntimeError):
    """A notice is well signed and still not in the vendor's form."""


@dataclass(frozen=True, slots=True)
class AppCredentials:
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """What the authorization address is built from; `verifier` is the PKCE code verifier in clear."""

    client_id: str
    redirect_uri: str
    scope_set: str
    state: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class TokenSet:
    """One grant's tokens. `lifetime` is the access token's, in seconds; `user_id` and `consent_id` are the vendor's."""

    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    lifetime: int
    scopes: frozenset[str]
    user_id: str
    consent_id: str | None


@dataclass(frozen=True, slots=True)
class Organisation:
    """One set of books the grant reaches; `has_billing` is false for those that carry no billing data."""

    tenant_id: str
    name: str
    connection_id: str
    has_billing: bool
    consent_id: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a call cost, and what the vendor says is left of the day; None where it did not. Bytes are of the body."""

    calls: int = 0
    bytes_raw: int = 0
    bytes_wire: int = 0
    day_remaining: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    access_token: str = field(repr=False)
    tenant_id: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Either rows changed since an instant, page by page in order of change, or the named rows.

    Attributes:
        changed_since: whole seconds, or None for everything; the vendor may or may not include the bound.
        page: 1-based.
        page_size: rows a page.
        ids: when given, these rows alone (at most `Connector.ids_per_read`) whatever their age.
        is_filtered: whether the vendor may filter out what we do not keep; false after `HighVolume`.
    """

    resource: Resource
    changed_since: datetime | None = None
    page: int = 1
    page_size: int = 1000
    ids: tuple[str, ...] = ()
    is_filtered: bool = True


@dataclass(frozen=True, slots=True)
class RowKey:
    """A row as delivered, whether kept or not: what the cursor walks by. `changed_at` keeps its fraction."""

    external_id: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be read, set aside whole."""

    external_id: str | None
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class Page:
    """One answer.

    Attributes:
        batch: the rows we keep, translated.
        keys: every row whose id and stamp can be read, as delivered, in order, those we do not keep and those rejected
            for another field included, so that a page of nothing else still moves the cursor.
        rejected: rows that could not be read.
        row_count: rows delivered.
        total_rows: rows the whole query matches, or None when the vendor does not say.
        is_last: no page follows.
        read_at: the vendor's own instant of the answer.
        traffic: what the call cost.
    """

    batch: Batch
    keys: Sequence[RowKey]
    rejected: Sequence[RejectedRow]
    row_count: int
    total_rows: int | None
    is_last: bool
    read_at: datetime
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Notice:
    """One event a webhook told of.

    Attributes:
        resource: what to read again, or None when nothing of it is kept.
        why_ignored: why nothing needs to be read, or None.
        payload: the event as it came.
    """

    tenant_id: str
    resource_id: str
    category: str
    event_type: str
    event_at: datetime
    resource: Resource | None
    why_ignored: str | None
    payload: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class VendorProfile:
    """The facts of one vendor that neutral code needs and nobody here can change.

    What may be chosen about a vendor is in two other classes: `VendorConfig` (`app.connections.vendor_app`) holds the
    app registered at the vendor, `VendorSettings` (`app.sync.engine`) how its organisations are synced.

    Attributes:
        name: the vendor's name for people.
        requests_per_minute: the most calls a minute one organisation is given.
        requests_per_day: the most calls a day one organisation is given, in the most generous pricing tier.
        concurrent_requests: the most calls of one organisation that may be under way at once.
        app_requests_per_minute: the most calls a minute all organisations together are given.
        largest_page: the most rows a page may have.
        refresh_token_lifetime: how long a refresh token stays good when it is not used.
        delivery_seconds: how long the vendor waits for the response to a webhook delivery.
        monthly_egress: bytes of response bodies that a pricing tier includes each month, by the tier's name; None
            where they are not metered.
        scope_sets: the scopes a consent asks for, by the name of the set.
    """

    name: str
    requests_per_minute: int
    requests_per_day: int
    concurrent_requests: int
    app_requests_per_minute: int
    largest_page: int
    refresh_token_lifetime: timedelta
    delivery_seconds: float
    monthly_egress: Mapping[str, int | None]
    scope_sets: Mapping[str, Sequence[str]]


class Connector(Protocol):
    """One vendor. Holds no state of ours, opens no database, knows no clock; every method may raise ConnectorError."""

    @property
    def vendor(self) -> str:
        """The word in `source`."""

    @property
    def signature_header(self) -> str:
        """The header, in lower case, that carries the signature of a webhook delivery."""

    @property
    def profile(self) -> VendorProfile:
        """The vendor's limits, lifetimes, pricing tiers and scope sets."""

    def ids_per_read(self, resource: Resource) -> int:
        """Return how many rows of that resource one read may name, at least 1."""

    def scopes(self, scope_set: str) -> frozenset[str]:
        """Return every scope a consent of that set asks for."""

    def missing_scopes(self, granted: frozenset[str]) -> frozenset[str]:
        """Return the scopes without which the pull cannot work, in the words of the set that was asked for."""

    def scope_of(self, resource: Resource, scope_set: str) -> str:
        """Return the scope by which a grant of that set reads the resource."""

    def authorization_url(self, request: ConsentRequest) -> str:
        """Return the address to send the user's browser to."""

    async def exchange_code(self, app: AppCredentials, code: str, redirect_uri: str, verifier: str) -> TokenSet:
        """Trade an authorization code for a token set."""

    async def refresh(self, app: AppCredentials, refresh_token: str) -> TokenSet:
        """Trade a refresh token for a new set."""

    async def revoke(self, app: AppCredentials, refresh_token: str) -> None:
        """End the grant at the vendor, with every connection it carries."""

    async def list_organisations(self, access_token: str) -> Sequence[Organisation]:
        """Return everything the grant reaches."""

    async def fetch_page(self, access: Access, request: PageRequest) -> Page:
        """Read one page. One call, no retry: the caller owns budget and patience."""

    def read_notices(self, body: bytes, signatures: Sequence[bytes], keys: Sequence[str]) -> Sequence[Notice]:
        """Check the signature over the raw bytes against each key, then read the events; a probe has none.

        Raises:
            BadSignature: missing, doubled, or made with no key of ours.
            NoticeUnreadable: well signed, not in the vendor's form.
        """
