"""Users, connections, consents and tokens."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True, frozen=True)
class User:
    """A person with a Xero login. `tenants` are the ids of the tenants this person may connect; None: all."""

    id: str
    name: str
    email: str
    tenants: frozenset[str] | None = None

    def can_connect(self, tenant_id: str) -> bool:
        return self.tenants is None or tenant_id in self.tenants


@dataclass(slots=True)
class Connection:
    """A user's connection of one tenant to the app.

    It is kept when it is removed (`is_active` False), because connecting again restores its id and creation date.
    """

    id: str
    user_id: str
    tenant_id: str
    auth_event_id: str
    created: datetime
    updated: datetime
    is_active: bool = True


@dataclass(slots=True, frozen=True)
class Consent:
    """One consent of a user; the tokens and connections that follow from it carry its `auth_event_id`."""

    user: User
    client_id: str
    scopes: tuple[str, ...]
    auth_event_id: str
    is_offline: bool
    is_openid: bool


@dataclass(slots=True)
class AuthorizationCode:
    consent: Consent
    redirect_uri: str
    code_challenge: str | None
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
