"""Who is calling: bearer tokens, checked before anything else of a request to the API is looked at."""

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
GUARDED = "/api/"
# The two addresses of the API that the vendor and the user's browser call without a token of ours.
PUBLIC_PATHS = re.compile(r"/api/integrations/[a-z]+/callback|/api/webhooks/[a-z]+")
# A clock that runs ahead of ours may say "not before" a moment too early; an expiry is never stretched.
LEEWAY_SECONDS = 5
REFETCH_SECONDS = 10
REFRESH_SECONDS = 3600
LONGEST_SUBJECT = 255
ASYMMETRIC = {"RS256": "RSA", "ES256": "EC"}
# What PyJWT lets through from tokens that are no tokens.
UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the token's `sub` and its role."""

    subject: str
    role: Role


def is_guarded(path: str) -> bool:
    """Say whether an address needs a token: everything of the API but the callback and the webhook."""
    return path.startswith(GUARDED) and not PUBLIC_PATHS.fullmatch(path)


def mint_token(  # noqa: PLR0913 - each is a claim
    secret: str, role: Role, subject: str, *, hours: float, audience: str, now: datetime
) -> str:
    """Return an HS256 token of ours.

    Args:
        secret: `AUTH_JWT_SECRET`.
        role: what it allows.
        subject: who it is for; shows in the audit trail.
        hours: how long it is good.
        audience: `AUTH_JWT_AUDIENCE`.
        now: the instant it is issued.
    """
    claims = {"sub": subject, "role": role, "aud": audience, "iat": now, "exp": now + timedelta(hours=hours)}
    return jwt.encode(claims, secret, algorithm="HS256")


@dataclass
class KeySet:
    """The identity provider's public keys, read when needed and kept when it is away.

    Attributes:
        url: of the JWK set.
        fetch_json: reads a JSON object from a URL; any `OSError`, `RuntimeError` or `ValueError` means "away".
        clock: paces the reading.
    """

    url: str
    fetch_json: FetchJson
    clock: Clock
    _keys: dict[str | None, jwt.PyJWK] = field(default_factory=dict)
    _tried_at: datetime | None = None

    async def find(self, key_id: str | None) -> jwt.PyJWK | None:
        """Return the key of that id; without an id, the only key there is.

        Raises:
            Problem: no key was ever read and the provider is away.
        """
        if self._is_due(key_id in self._keys):
            await self._fetch()
        if key_id is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(key_id)

    def _is_due(self, is_known: bool) -> bool:  # noqa: FBT001 - a fact, not a switch
        if self._tried_at is None:
            return True
        age = (self.clock.now() - self._tried_at).total_seconds()
        return age >= (REFRESH_SECONDS if is_known else REFETCH_SECONDS)

    async def _fetch(self) -> None:
        self._tried_at = self.clock.now()
        try:
            self._keys = _read_keys(await self.fetch_json(self.url)) or self._keys
        except (OSError, RuntimeError, ValueError) as error:
            log.warning("jwks_unavailable", reason=type(error).__name__)
        if not self._keys:
            detail = "The keys to check tokens with cannot be read now; try again."
            raise Problem("identity_unavailable", detail, headers={"Retry-After": str(REFETCH_SECONDS)})


class TokenVerifier:
    """Checks a token's signature, audience, times and role.

    HS256 is checked with the secret alone and RS256 or ES256 with a key of the set alone, so that no public key is
    ever taken for a secret.

    Args:
        secret: `AUTH_JWT_SECRET`, or None.
        keys: the provider's key set, or None.
        audience: what `aud` must hold.
        clock: what an expiry is held against.
    """

    def __init__(self, secret: str | None, keys: KeySet | None, audience: str, clock: Clock) -> None:
        self._secret = secret
        self._keys = keys
        self._audience = audience
        self._clock = clock

    async def verify(self, token: str) -> Actor:
        """Return who the token speaks for.

        Raises:
            Problem: `not_authenticated` or, where only the role is wrong, `not_allowed`.
        """
        try:
            claims = await self._read(token)
            subject = _read_subject(claims)
        except UNREADABLE as error:
            raise unauthenticated(_reason(error)) from error
        role = claims.get("role")
        if not isinstance(role, str) or role not in ROLES:
            raise Problem("not_allowed", "The token carries no role this service knows.")
        return Actor(subject, role)  # type: ignore[arg-type]  # checked the line before, which mypy cannot follow

    async def _read(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        key, algorithm = await self._choose_key(header)
        # The times are held against our own clock below, which a test can drive.
        unchecked = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        options: Options = {"require": ["exp", "aud"], **unchecked}  # type: ignore[typeddict-item]  # names are literals
        claims = jwt.decode(token, key, algorithms=[algorithm], audience=self._audience, options=options)
        _check_times(claims, self._clock.now().timestamp())
        return claims

    async def _choose_key(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        algorithm = header["alg"]
        if algorithm == "HS256" and self._secret:
            return self._secret, algorithm
        if algorithm in ASYMMETRIC and self._keys:
            found = await self._keys.find(header.get("kid"))
            if found and found.key_type == ASYMMETRIC[algorithm]:
                return found.key, algorithm
        raise jwt.InvalidTokenError


def unauthenticated(detail: str) -> Problem:
    return Problem("not_authenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def _read_keys(document: Mapping[str, Any]) -> dict[str | None, jwt.PyJWK]:
    keys: dict[str | None, jwt.PyJWK] = {}
    for entry in document["keys"] if isinstance(document.get("keys"), list) else []:
        try:
            key = jwt.PyJWK.from_dict(entry)
        except UNREADABLE:
            # A set may hold keys of kinds we do not use; those we do use are still good.
            continue
        if key.key_type in ASYMMETRIC.values() and key.public_key_use in {None, "sig"}:
            keys[key.key_id] = key
    return keys


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires_at, not_before = _read_instant(claims["exp"]), _read_instant(claims.get("nbf", 0))
    if expires_at <= now:
        raise jwt.ExpiredSignatureError
    if not_before > now + LEEWAY_SECONDS:
        raise jwt.ImmatureSignatureError


def _read_instant(seconds: object) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
        raise jwt.DecodeError
    return float(seconds)


def _read_subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub") or "unnamed"
    if not isinstance(subject, str) or len(subject) > LONGEST_SUBJECT or "\0" in subject:
        raise jwt.InvalidTokenError
    return subject


def _reason(error: Exception) -> str:
    if isinstance(error, jwt.ExpiredSignatureError):
        return "The token has expired; get a new one."
    if isinstance(error, jwt.InvalidAudienceError):
        return "The token is for another audience."
    return "The token is not good here."
