"""Control operations on users, consent and tokens."""

from typing import Any

import msgspec

from simulator.control.request import ControlRequest
from simulator.identity.model import RefreshToken, User
from simulator.state import ConsentPolicy


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """The user to sign in. An unknown id creates a user; `tenants` limits what this user may connect."""

    id: str
    name: str = "New User"
    email: str = "new@tasman.example"
    tenants: list[str] | None = None


class ConsentChange(msgspec.Struct, forbid_unknown_fields=True):
    """What the login page decides without asking the user; `tenants` None: all that the user may connect."""

    automatic: bool = True
    decision: str = "allow"
    tenants: list[str] | None = None


class TokenOwner(msgspec.Struct, forbid_unknown_fields=True):
    """The user whose tokens are meant; None: every user."""

    user_id: str | None = None


async def list_users(request: ControlRequest) -> object:
    """All users, and which of them is signed in at the browser."""
    state = request.state
    return [_user_json(user) | {"is_at_browser": user is state.user} for user in state.users.values()]


async def change_user(request: ControlRequest) -> object:
    """Sign in a user, known or new, at the browser."""
    login = request.parse_body(Login)
    known = request.state.users.get(login.id)
    tenants = None if login.tenants is None else frozenset(login.tenants)
    request.state.user = known or User(login.id, login.name, login.email, tenants)
    request.state.users[login.id] = request.state.user
    return _user_json(request.state.user)


async def change_consent(request: ControlRequest) -> object:
    """Set how the login page decides by itself: `automatic`, `decision` allow or cancel, `tenants` (null: all)."""
    change = request.parse_body(ConsentChange)
    tenants = None if change.tenants is None else frozenset(change.tenants)
    request.state.consent = ConsentPolicy(automatic=change.automatic, decision=change.decision, tenants=tenants)
    return change


async def list_tokens(request: ControlRequest) -> object:
    """All valid access and refresh tokens, and the connections."""
    now = request.state.clock.now()
    tokens = request.state.tokens
    valid = [row for row in tokens.access_tokens.values() if row.expires_at > now]
    return {
        "access": [{"user_id": row.consent.user.id, "token": row.text, "expires_at": row.expires_at} for row in valid],
        "refresh": [_refresh_token_json(row) for row in tokens.refresh_tokens.values() if tokens.is_usable(row)],
        "connections": request.state.connections.list_all(),
    }


async def expire_tokens(request: ControlRequest) -> object:
    """Expire all valid access tokens now."""
    return {"expired": request.state.tokens.expire_access_tokens()}


async def revoke_tokens(request: ControlRequest) -> object:
    """Revoke the refresh tokens of `user_id`, or of every user; connections stay."""
    user_id = request.parse_body(TokenOwner).user_id
    users = [user_id] if user_id else list(request.state.users)
    return {"revoked": sum(request.state.tokens.revoke_refresh_tokens(user) for user in users)}


def _user_json(user: User) -> dict[str, Any]:
    tenants = None if user.tenants is None else sorted(user.tenants)
    return {"id": user.id, "name": user.name, "email": user.email, "tenants": tenants}


def _refresh_token_json(row: RefreshToken) -> dict[str, Any]:
    return {
        "user_id": row.consent.user.id,
        "token": row.text,
        "issued_at": row.issued_at,
        "expires_at": row.expires_at,
        "superseded_at": row.superseded_at,
    }
