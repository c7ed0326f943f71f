"""Control of what surrounds the books: faults, ledger, clock, limits, options, users, consent and tokens."""

from dataclasses import asdict, fields
from typing import Any

import msgspec

from simulator.clock import iso
from simulator.control.request import Ask, Refused
from simulator.faults import Fault, Order
from simulator.identity.model import RefreshToken, User
from simulator.options import SimulatorOptions
from simulator.state import ConsentRule


class ClockChange(msgspec.Struct, forbid_unknown_fields=True):
    advance_seconds: float = 0.0
    rate: float | None = None


class Usage(msgspec.Struct, forbid_unknown_fields=True):
    tenant_id: str
    day: int = 0
    minute: int = 0


class Login(msgspec.Struct, forbid_unknown_fields=True):
    """Who is at the browser. A new id makes a new user; `tenants` limits what this user may connect."""

    id: str
    name: str = "New User"
    email: str = "new@tasman.example"
    tenants: list[str] | None = None


class Consenting(msgspec.Struct, forbid_unknown_fields=True):
    automatic: bool = True
    decision: str = "allow"
    tenants: list[str] | None = None


class TokenPick(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str | None = None


async def reset(ask: Ask) -> object:
    """Begin again with the same options but for those given in the body."""
    ask.world.reset(merge_options(ask.world.options, ask.body))
    return asdict(ask.world.options)


async def read_options(ask: Ask) -> object:
    """All options as they are now."""
    return asdict(ask.world.options)


async def change_options(ask: Ask) -> object:
    """Change any option at once; sizes and the seed take effect at the next reset."""
    merged = merge_options(ask.world.options, ask.body)
    ask.world.choose(**{name: getattr(merged, name) for name in ask.body})
    return asdict(ask.world.options)


async def add_fault(ask: Ask) -> object:
    """Order a fault; the fields are those under `fault`, the kinds those under `fault_kinds`."""
    try:
        return _plain_order(ask.world.faults.add(ask.read(Fault)))
    except ValueError as error:
        raise Refused(str(error)) from error


async def list_faults(ask: Ask) -> object:
    """All faults on order, and how often each struck."""
    return [_plain_order(order) for order in ask.world.faults.orders]


async def clear_faults(ask: Ask) -> object:
    """Cancel all faults."""
    ask.world.faults.remove()
    return []


async def remove_fault(ask: Ask) -> object:
    """Cancel one fault."""
    ask.world.faults.remove(int(ask.parts["fault_id"]))
    return await list_faults(ask)


async def read_ledger(ask: Ask) -> object:
    """Calls in order of arrival, of `?tenant_id=` and after `?since=` (a seq) alone if given."""
    tenant, since = ask.query.get("tenant_id"), int(ask.query.get("since", 0))
    entries = (entry for entry in ask.world.ledger.entries if entry.seq > since)
    return [entry.as_json() for entry in entries if tenant in (None, entry.tenant_id)]


async def clear_ledger(ask: Ask) -> object:
    """Forget all calls."""
    ask.world.ledger.clear()
    return []


async def read_stats(ask: Ask) -> object:
    """Calls, the most in any 60 seconds and in flight per tenant, refusals, bytes, token calls by outcome."""
    return ask.world.ledger.stats()


async def read_clock(ask: Ask) -> object:
    """The simulator's time."""
    return {"now": iso(ask.world.clock.now_ms())}


async def change_clock(ask: Ask) -> object:
    """Jump by advance_seconds, run `rate` times as fast from now on."""
    change = ask.read(ClockChange)
    if change.rate is not None:
        ask.world.clock.run_at(change.rate)
    ask.world.clock.advance(change.advance_seconds)
    return await read_clock(ask)


async def use_limits(ask: Ask) -> object:
    """Count calls that were never made, to stand near a tenant's day or minute limit at once."""
    usage = ask.read(Usage)
    ask.world.limits.use(ask.books(usage.tenant_id).tenant_id, day=usage.day, minute=usage.minute)
    return dict(ask.world.limits.headers(usage.tenant_id))


async def clear_limits(ask: Ask) -> object:
    """Start all windows anew."""
    ask.world.limits.clear()
    return {}


async def list_users(ask: Ask) -> object:
    """Everyone with a login, and who is at the browser."""
    return [_plain_user(user) | {"is_at_browser": user is ask.world.user} for user in ask.world.users.values()]


async def choose_user(ask: Ask) -> object:
    """Put a user, known or new, at the browser."""
    login = ask.read(Login)
    known = ask.world.users.get(login.id)
    tenants = None if login.tenants is None else frozenset(login.tenants)
    ask.world.user = known or User(login.id, login.name, login.email, tenants)
    ask.world.users[login.id] = ask.world.user
    return _plain_user(ask.world.user)


async def choose_consent(ask: Ask) -> object:
    """What the login page does by itself: `automatic`, `decision` allow or cancel, `tenants` (null: all)."""
    wish = ask.read(Consenting)
    tenants = None if wish.tenants is None else frozenset(wish.tenants)
    ask.world.consent = ConsentRule(automatic=wish.automatic, decision=wish.decision, tenants=tenants)
    return wish


async def list_tokens(ask: Ask) -> object:
    """Live access and refresh tokens, and the connections."""
    now = ask.world.clock.now()
    tokens = ask.world.tokens
    access = [row for row in tokens.access.values() if row.expires_at > now]
    return {
        "access": [{"user_id": row.consent.user.id, "token": row.text, "expires_at": row.expires_at} for row in access],
        "refresh": [_plain_refresh(row) for row in tokens.refresh.values() if tokens.is_usable(row)],
        "connections": ask.world.connections.all(),
    }


async def expire_tokens(ask: Ask) -> object:
    """Let all live access tokens be expired now."""
    return {"expired": ask.world.tokens.expire_access()}


async def revoke_tokens(ask: Ask) -> object:
    """Kill the refresh tokens of `user_id`, or of everyone; connections stay."""
    wanted = ask.read(TokenPick).user_id
    users = [wanted] if wanted else list(ask.world.users)
    return {"revoked": sum(ask.world.tokens.revoke_user(user) for user in users)}


def merge_options(options: SimulatorOptions, changes: dict[str, Any]) -> SimulatorOptions:
    """Raises Refused for names that are no options and values of the wrong kind."""
    unknown = set(changes) - {field.name for field in fields(options)}
    if unknown:
        raise Refused(f"There is no option {', '.join(sorted(unknown))}; GET /_control/options lists them.")
    try:
        return msgspec.convert(asdict(options) | changes, SimulatorOptions)
    except msgspec.ValidationError as error:
        raise Refused(f"This option does not fit: {error}.") from error


def _plain_order(order: Order) -> dict[str, Any]:
    return {"id": order.id, "struck": order.struck, **msgspec.to_builtins(order.fault)}


def _plain_user(user: User) -> dict[str, Any]:
    tenants = None if user.tenants is None else sorted(user.tenants)
    return {"id": user.id, "name": user.name, "email": user.email, "tenants": tenants}


def _plain_refresh(row: RefreshToken) -> dict[str, Any]:
    return {
        "user_id": row.consent.user.id,
        "token": row.text,
        "issued_at": row.issued_at,
        "expires_at": row.expires_at,
        "superseded_at": row.superseded_at,
    }
