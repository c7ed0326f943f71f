"""Authentication: verifies bearer tokens (JWT, HS256 with a secret or RS256/ES256 with a key set) and mints them."""

import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

import jwt
import structlog
from jwt.types import Options

from app.api.errors import Problem
from app.clock import Clock

Role = Literal["admin", "analyst", "viewer", "service"]
FetchJson = Callable[[str], Awaitable[Mapping[str, Any]]]

ROLES = frozenset(get_args(Role))
PROTECTED_PREFIX = "/api/"
# Two paths of the API are called without a token: by the user's browser after a consent, and by the vendor.
PUBLIC_PATHS = re.compile(r"/api/integrations/[a-z]+/callback|/api/webhooks/[a-z]+")
# The issuer's clock may be ahead of ours, so `nbf` and `iat` may be this far in the future. `exp` has no leeway.
LEEWAY_SECONDS = 60
# The key set is fetched again after an hour; after ten seconds when a token names a key that is not in it.
REFRESH_SECONDS = 3600
REFETCH_SECONDS = 10
MAX_SUBJECT_LENGTH = 255
# The subject of a token without one, in the audit trail.
UNNAMED = "unnamed"
KEY_TYPES = {"RS256": "RSA", "ES256": "EC"}
# What PyJWT raises for malformed tokens and keys.
JWT_ERRORS = (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Actor:
    """The authenticated caller: the token's `sub` and `role`.

    Attributes:
        subject: the claim `sub`; `unnamed` where the token has none.
        role: the claim `role`.
        expires_at: the claim `exp`, in seconds since 1970; what is answered for longer ends then.
        has_subject: whether the token has a subject; callers without one cannot be told apart.
    """

    subject: str
    role: Role
    expires_at: float
    has_subject: bool = True


def is_protected(path: str) -> bool:
    """Return whether a path needs a token: every path of the API except the callback and the webhook."""
    return path.startswith(PROTECTED_PREFIX) and not PUBLIC_PATHS.fullmatch(path)


def mint_token(  # noqa: PLR0913 - each is a claim
    secret: str, role: Role, subject: str, *, hours: float, audience: str, now: datetime
) -> str:
    """Return a new HS256 token.

    Args:
        secret: `AUTH_JWT_SECRET`.
        role: the claim `role`.
        subject: the claim `sub`; the audit trail shows it.
        hours: how long the token is valid.
        audience: `AUTH_JWT_AUDIENCE`.
        now: the instant of issue.
    """
    claims = {"sub": subject, "role": role, "aud": audience, "iat": now, "exp": now + timedelta(hours=hours)}
    return jwt.encode(claims, secret, algorithm="HS256")


@dataclass
class KeySet:
    """The identity provider's public keys, fetched when needed and kept while the provider cannot be reached.

    Attributes:
        url: the URL of the JWK set.
        fetch_json: fetches a JSON object from a URL; raises `OSError`, `RuntimeError` or `ValueError` when it cannot.
        clock: decides when the keys are fetched again.
    """

    url: str
    fetch_json: FetchJson
    clock: Clock
    _keys: dict[str | None, jwt.PyJWK] = field(default_factory=dict)
    _fetch_attempted_at: datetime | None = None

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key of an id, or the only key when the token names none; None when there is no such key.

        Raises:
            Problem: `identity_unavailable`, when the keys could never be fetched.
        """
        if self._is_due(key_id in self._keys):
            await self._fetch()
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_due(self, is_known: bool) -> bool:  # noqa: FBT001 - a fact, not a switch
        if self._fetch_attempted_at is None:
            return True
        age = (self.clock.now() - self._fetch_attempted_at).total_seconds()
        return age >= (REFRESH_SECONDS if is_known else REFETCH_SECONDS)

    async def _fetch(self) -> None:
        self._fetch_attempted_at = self.clock.now()
        try:
            self._keys = _read_keys(await self.fetch_json(self.url)) or self._keys
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("jwks_fetch_failed", reason=type(error).__name__)
        if not self._keys:
            detail = "The keys to check tokens with cannot be read now; try again."
            raise Problem("identity_unavailable", detail, headers={"Retry-After": str(REFETCH_SECONDS)})


class TokenVerifier:
    """Verifies a token's signature, audience, times and role.

    HS256 is verified with the secret only, RS256 and ES256 with a key of the set only. Otherwise a forger could sign an
    HS256 token with a public key.

    Args:
        secret: `AUTH_JWT_SECRET`, or None.
        keys: the provider's key set, or None.
        audience: the value that `aud` must contain.
        clock: the time that `exp`, `nbf` and `iat` are compared with.
    """

    def __init__(self, secret: str | None, keys: KeySet | None, audience: str, clock: Clock) -> None:
        self._secret = secret
        self._keys = keys
        self._audience = audience
        self._clock = clock

    async def verify(self, token: str) -> Actor:
        """Return the caller that the token identifies.

        Raises:
            Problem: `not_authenticated`, or `not_allowed` when only the role is wrong.
        """
        try:
            claims = await self._read(token)
            subject = _read_subject(claims)
        except JWT_ERRORS as error:
            raise not_authenticated(_reason(error)) from error
        role = claims.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise Problem("not_allowed", "The token carries no role this service knows.")
        # mypy cannot follow that the role was checked above.
        return Actor(subject or UNNAMED, role, _read_instant(claims["exp"]), bool(subject))  # type: ignore[arg-type]

    async def _read(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        key, algorithm = await self._choose_key(header)
        # The times are checked below, against a clock that tests can set.
        unverified = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        options: Options = {"require": ["exp", "aud"], **unverified}  # type: ignore[typeddict-item]  # mypy loses the literal keys
        claims = jwt.decode(token, key, algorithms=[algorithm], audience=self._audience, options=options)
        _check_times(claims, self._clock.now().timestamp())
        return claims

    async def _choose_key(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        algorithm = header["alg"]
        if algorithm == "HS256" and self._secret:
            return self._secret, algorithm
        if algorithm in KEY_TYPES and self._keys:
            found = await self._keys.find(header.get("kid"))
            if found and found.key_type == KEY_TYPES[algorithm]:
                return found.key, algorithm
        raise jwt.InvalidTokenError


def not_authenticated(detail: str) -> Problem:
    """Return the 401 that asks for a bearer token."""
    return Problem("not_authenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def _read_keys(document: Mapping[str, Any]) -> dict[str | None, jwt.PyJWK]:
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in document["keys"] if isinstance(document.get("keys"), list) else []:
        try:
            key = jwt.PyJWK.from_dict(entry)
        except JWT_ERRORS:
            # A set may contain keys of types that PyJWT does not support; the others are still usable.
            continue
        if key.key_type in KEY_TYPES.values() and key.public_key_use in {None, "sig"}:
            keys[key.key_id] = key
    return keys


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires_at = _read_instant(claims["exp"])
    begins_at = max(_read_instant(claims.get(name, 0)) for name in ("nbf", "iat"))
    if expires_at <= now:
        raise jwt.ExpiredSignatureError
    if begins_at > now + LEEWAY_SECONDS:
        raise jwt.ImmatureSignatureError


def _read_instant(seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise jwt.DecodeError
    return float(seconds)


def _read_subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub") or ""
    if not isinstance(subject, str) or len(subject) > MAX_SUBJECT_LENGTH or "\0" in subject:
        raise jwt.InvalidTokenError
    return subject


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.ExpiredSignatureError):
        return "The token has expired; get a new one."
    if isinstance(error, jwt.ImmatureSignatureError):
        return (
            f"The token begins more than {LEEWAY_SECONDS} seconds from now: the clocks of its issuer and of this "
            "service differ. Correct the clock that is wrong, then get a new token."
        )
    if isinstance(error, jwt.InvalidAudienceError):
        return "The token is for another audience."
    return "The token is not good here."
