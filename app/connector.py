"""The port: what the service needs of a billing vendor, the vendor's profile, and the errors a vendor may raise.

ConnectorError
├── AppRejected            the app's client id, secret, redirect URI or scope set is not accepted: an operator must act
│   └── ScopeRefused           the app may not ask for these scopes: another scope set has to be chosen
├── GrantRefused           the authorization code or refresh token is no longer accepted: the user must connect again
├── AccessExpired          the access token has expired: refresh it and repeat the request
├── PermissionMissing      the grant lacks a scope: the user must consent again
├── OrganisationForbidden  this organisation no longer grants access; others are not affected
├── NotFound               the address is unknown: the organisation is gone, or the request was too long
├── RateLimited            a limit was reached; carries which one and for how long, when the vendor says so
├── HighVolume             the vendor refuses the query as too broad; repeat it without its filters
├── VendorUnavailable      outage, timeout, reset: the same request may succeed later
│   ├── OrganisationOffline    only this organisation is offline
│   └── AnswerTooSlow          the request arrived, and the response took longer than we wait: ask for fewer rows
├── AnswerUnreadable       the response is not what was requested: HTML, truncated, wrong type
│   └── AnswerTooLarge         the response has more bytes than we accept: ask for fewer rows
└── RequestRejected        the vendor understood the request and refused it; repeating it is pointless
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from app.billing.records import Batch, Resource


class ConnectorError(RuntimeError):
    """A request to the vendor failed; the class says what to do about it.

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


class ScopeRefused(AppRejected):
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


class AnswerTooSlow(VendorUnavailable):
    pass


class AnswerUnreadable(ConnectorError):
    pass


class AnswerTooLarge(AnswerUnreadable):
    pass


class RequestRejected(ConnectorError):
    pass


class BadSignature(RuntimeError):
    """A webhook delivery is not signed with any of our keys."""


class SignatureMalformed(BadSignature):
    """A webhook delivery has no signature, several, or one that the vendor cannot have made, whatever the key."""


class NoticeUnreadable(RuntimeError):
    """A webhook delivery is correctly signed but not in the vendor's form."""


@dataclass(frozen=True, slots=True)
class AppCredentials:
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ConsentRequest:
    """What the authorization URL is built from; `verifier` is the PKCE code verifier, not encrypted."""

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
    """One organisation a grant gives access to; `has_billing` is false for one without billing data."""

    tenant_id: str
    name: str
    connection_id: str
    has_billing: bool
    consent_id: str | None
    updated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a call cost, and how many calls of the day the vendor says are left, if it does.

    Bytes are those of the response body: decompressed (`bytes_raw`) and as received (`bytes_wire`).
    """

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
    """A page of the rows changed since an instant, in order of change, or the rows with the given ids.

    Attributes:
        changed_since: in whole seconds, or None for everything; the vendor may or may not include the instant itself.
        page: 1-based.
        page_size: rows per page.
        ids: when given, only these rows are read (at most `Connector.ids_per_read`), whatever their age.
        is_filtered: whether the vendor may leave out rows that are not kept; false after `HighVolume`.
    """

    resource: Resource
    changed_since: datetime | None = None
    page: int = 1
    page_size: int = 1000
    ids: tuple[str, ...] = ()
    is_filtered: bool = True


@dataclass(frozen=True, slots=True)
class RowKey:
    """Id and time of change of a delivered row, kept or not, from which the cursor is computed.

    `changed_at` keeps its fraction of a second.
    """

    external_id: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be read, with its source."""

    external_id: str | None
    reason: str
    payload: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a resource, translated.

    Attributes:
        batch: the rows that are kept, as records.
        keys: of every row whose id and time of change can be read, in the order of delivery. Rows that are not kept or
            are rejected for another field are included, so that a page of nothing else still moves the cursor.
        rejected: rows that could not be read.
        row_count: how many rows were delivered.
        total_rows: how many rows the whole query matches, or None when the vendor does not say.
        is_last: whether no page follows.
        read_at: the vendor's own instant of the response.
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
    """One event of a webhook delivery.

    Attributes:
        resource: the resource to read again, or None when nothing of the event is kept.
        why_ignored: why nothing has to be read, or None.
        payload: the event as it was delivered.
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
    """A vendor's implementation of the port, without state, database or clock; each method may raise ConnectorError."""

    @property
    def vendor(self) -> str:
        """The vendor's word in `source` and in URLs."""

    @property
    def signature_header(self) -> str:
        """The header, in lower case, that carries the signature of a webhook delivery."""

    @property
    def profile(self) -> VendorProfile:
        """The vendor's limits, lifetimes, pricing tiers and scope sets."""

    def ids_per_read(self, resource: Resource) -> int:
        """Return how many rows of that resource one request may name, at least 1."""

    def scopes(self, scope_set: str) -> frozenset[str]:
        """Return every scope a consent of that set asks for."""

    def missing_scopes(self, granted: frozenset[str]) -> frozenset[str]:
        """Return the scopes that the pull needs and that were not granted."""

    def scope_of(self, resource: Resource, scope_set: str) -> str:
        """Return the scope of that set which allows reading the resource."""

    def authorization_url(self, request: ConsentRequest) -> str:
        """Return the URL to send the user's browser to."""

    async def exchange_code(self, app: AppCredentials, code: str, redirect_uri: str, verifier: str) -> TokenSet:
        """Exchange an authorization code for a token set."""

    async def refresh(self, app: AppCredentials, refresh_token: str) -> TokenSet:
        """Exchange a refresh token for a new token set."""

    async def check_app(self, app: AppCredentials) -> None:
        """Ask the vendor whether it knows the app by this client id and secret; needs no user and changes nothing.

        Raises:
            AppRejected: it does not.
        """

    async def revoke(self, app: AppCredentials, refresh_token: str) -> None:
        """Revoke the grant at the vendor, with every connection of its user."""

    async def list_organisations(self, access_token: str) -> Sequence[Organisation]:
        """Return every organisation the grant gives access to."""

    async def fetch_page(self, access: Access, request: PageRequest) -> Page:
        """Read one page with one call and no retry; the caller sees to rate limits and retries."""

    def read_notices(self, body: bytes, signatures: Sequence[bytes], keys: Sequence[str]) -> Sequence[Notice]:
        """Check the signature over the raw bytes with each key, then read the events; a probe has none.

        Raises:
            BadSignature: it is missing, given twice, or made with no key of ours.
            NoticeUnreadable: the delivery is correctly signed but not in the vendor's form.
        """
