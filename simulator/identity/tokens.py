"""Issues codes and tokens, rotates refresh tokens with their grace period, and revokes."""

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from uuid import uuid4

import jwt

from simulator.clock import Clock
from simulator.identity.model import AccessToken, Code, Consent, RefreshToken
from simulator.options import SimulatorOptions

_CODE_MINUTES = 5
_ID_TOKEN_SECONDS = 300
_ISSUER = "https://identity.xero.com"


class GrantRefused(Exception):
    """The token endpoint says no; the message is the OAuth error code."""


class Tokens:
    """Everything issued since the last reset."""

    def __init__(self, clock: Clock, options: SimulatorOptions) -> None:
        self.options = options
        self._clock = clock
        self._key = token_urlsafe(32)
        self._codes: dict[str, Code] = {}
        self._granted: dict[str, tuple[str, ...]] = {}
        self.access: dict[str, AccessToken] = {}
        self.refresh: dict[str, RefreshToken] = {}

    def issue_code(self, consent: Consent, redirect_uri: str, challenge: str | None) -> str:
        text = token_urlsafe(32)
        expires_at = self._clock.now() + timedelta(minutes=_CODE_MINUTES)
        self._codes[text] = Code(consent, redirect_uri, challenge, expires_at)
        return text

    def redeem_code(self, text: str, client_id: str, redirect_uri: str, verifier: str | None) -> dict[str, object]:
        """The token response. A code works once, for five minutes, for its own client and redirect URI."""
        code = self._codes.get(text)
        if code is None or code.is_used or code.expires_at <= self._clock.now():
            raise GrantRefused("invalid_grant")
        code.is_used = True
        if code.redirect_uri != redirect_uri or code.consent.client_id != client_id:
            raise GrantRefused("invalid_grant")
        if code.challenge is not None and code.challenge != _challenge_of(verifier):
            raise GrantRefused("invalid_grant")
        return self._issue(code.consent)

    def rotate(self, text: str, client_id: str) -> dict[str, object]:
        """The token response for a refresh token, which from its first use on stays good for the grace period only."""
        token = self.refresh.get(text)
        if token is None or token.consent.client_id != client_id or not self.is_usable(token):
            raise GrantRefused("invalid_grant")
        token.superseded_at = token.superseded_at or self._clock.now()
        return self._issue(token.consent)

    def is_usable(self, token: RefreshToken) -> bool:
        now = self._clock.now()
        grace = timedelta(seconds=self.options.refresh_grace_seconds)
        is_fresh = token.superseded_at is None or now - token.superseded_at < grace
        return is_fresh and not token.is_revoked and now < token.expires_at

    def add_scopes(self, user_id: str, scopes: list[str]) -> tuple[str, ...]:
        """What a user has allowed by now. Consents only ever add; nothing but a revocation takes away."""
        granted = dict.fromkeys((*self._granted.get(user_id, ()), *scopes))
        self._granted[user_id] = tuple(granted)
        return self._granted[user_id]

    def revoke_user(self, user_id: str) -> int:
        """Kill every refresh token of a user; access tokens live on until they expire."""
        self._granted.pop(user_id, None)
        tokens = [row for row in self.refresh.values() if row.consent.user.id == user_id and not row.is_revoked]
        for token in tokens:
            token.is_revoked = True
        return len(tokens)

    def expire_access(self) -> int:
        """Let every live access token be expired from now on."""
        now = self._clock.now()
        live = [token for token in self.access.values() if token.expires_at > now]
        for token in live:
            token.expires_at = now
        return len(live)

    def _issue(self, consent: Consent) -> dict[str, object]:
        now = self._clock.now()
        life = timedelta(seconds=self.options.access_token_seconds)
        access = AccessToken(self._sign(_access_claims(consent, now, now + life)), consent, now + life)
        self.access[access.text] = access
        response: dict[str, object] = {
            "access_token": access.text,
            "expires_in": self.options.access_token_seconds,
            "token_type": "Bearer",
            "scope": " ".join(consent.scopes),
        }
        if consent.is_openid:
            response = {"id_token": self._sign(_id_claims(consent, now)), **response}
        if consent.is_offline:
            response["refresh_token"] = self._issue_refresh(consent, now)
        return response

    def _issue_refresh(self, consent: Consent, now: datetime) -> str:
        text = token_urlsafe(32)
        expires_at = now + timedelta(days=self.options.refresh_token_days)
        self.refresh[text] = RefreshToken(text, consent, now, expires_at)
        return text

    def _sign(self, claims: dict[str, object]) -> str:
        return jwt.encode(claims, self._key, algorithm="HS256")


def _challenge_of(verifier: str | None) -> str:
    return urlsafe_b64encode(sha256((verifier or "").encode()).digest()).rstrip(b"=").decode()


def _access_claims(consent: Consent, now: datetime, expires_at: datetime) -> dict[str, object]:
    return {
        "nbf": int(now.timestamp()),
        "exp": int(expires_at.timestamp()),
        "iss": _ISSUER,
        "aud": f"{_ISSUER}/resources",
        "client_id": consent.client_id,
        "sub": sha256(consent.user.id.encode()).hexdigest()[:32],
        "auth_time": int(now.timestamp()),
        "xero_userid": consent.user.id,
        "global_session_id": sha256(consent.auth_event_id.encode()).hexdigest()[:32],
        "jti": uuid4().hex,
        "authentication_event_id": consent.auth_event_id,
        "scope": list(consent.scopes),
    }


def _id_claims(consent: Consent, now: datetime) -> dict[str, object]:
    given, _, family = consent.user.name.partition(" ")
    return {
        "nbf": int(now.timestamp()),
        "exp": int(now.timestamp()) + _ID_TOKEN_SECONDS,
        "iss": _ISSUER,
        "aud": consent.client_id,
        "sub": sha256(consent.user.id.encode()).hexdigest()[:32],
        "xero_userid": consent.user.id,
        "preferred_username": consent.user.email,
        "email": consent.user.email,
        "given_name": given,
        "family_name": family,
        "name": consent.user.name,
    }
