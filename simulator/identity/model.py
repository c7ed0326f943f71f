"""Users, connections and tokens as Xero keeps them."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, frozen=True)
class User:
    """A person with a Xero login. `tenants` is what this person may connect; None means everything."""

    id: str
    name: str
    email: str
    tenants: frozenset[str] | None = None

    def may_connect(self, tenant_id: str) -> bool:
        return self.tenants is None or tenant_id in self.tenants


@dataclass(slots=True)
class Connection:
    """One user's link of one tenant to the app. It outlives a disconnect, so that a reconnect keeps its birthday."""

    id: str
    user_id: str
    tenant_id: str
    auth_event_id: str
    created: datetime
    updated: datetime
    is_active: bool = True


@dataclass(slots=True, frozen=True)
class Consent:
    """What a user allowed, once: everything that follows from it carries its auth event id."""

    user: User
    client_id: str
    scopes: tuple[str, ...]
    auth_event_id: str
    is_offline: bool
    is_openid: bool


@dataclass(slots=True)
class Code:
    consent: Consent
    redirect_uri: str
    challenge: str | None
    expires_at: datetime
    is_used: bool = False


@dataclass(slots=True)
class AccessToken:
    text: str
    consent: Consent
    expires_at: datetime


@dataclass(slots=True)
class RefreshToken:
    text: str
    consent: Consent
    issued_at: datetime
    expires_at: datetime
    superseded_at: datetime | None = None
    is_revoked: bool = False
