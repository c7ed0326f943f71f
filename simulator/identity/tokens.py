"""Issues authorization codes and tokens, rotates refresh tokens with their grace period, and revokes them."""

from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import token_urlsafe
from uuid import uuid4

import jwt

from simulator.clock import Clock
from simulator.identity.model import AccessToken, AuthorizationCode, Consent, RefreshToken
from simulator.options import SimulatorOptions

_CODE_MINUTES = 5
_ID_TOKEN_SECONDS = 300
_ISSUER = "https://identity.xero.com"


class OAuthError(Exception):
    """A request to the token endpoint is refused; the message is the OAuth error code."""


class TokenIssuer:
    """Issues codes and tokens, and keeps all that were issued since the last reset."""

    def __init__(self, clock: Clock, options: SimulatorOptions) -> None:
        self.options = options
        self._clock = clock
        self._key = token_urlsafe(32)
        self._codes: dict[str, AuthorizationCode] = {}
        self._granted: dict[str, tuple[str, ...]] = {}
        self.access_tokens: dict[str, AccessToken] = {}
        self.refresh_tokens: dict[str, RefreshToken] = {}
        self.id_tokens: list[str] = []

    def issue_authorization_code(self, consent: Consent, redirect_uri: str, code_challenge: str | None) -> str:
        """Return a new code, valid once and for five minutes."""
        text = token_urlsafe(32)
        expires_at = self._clock.now() + timedelta(minutes=_CODE_MINUTES)
        self._codes[text] = AuthorizationCode(consent, redirect_uri, code_challenge, expires_at)
        return text

    def redeem_authorization_code(
        self, text: str, client_id: str, redirect_uri: str, verifier: str | None
    ) -> dict[str, object]:
        """Exchange a code for the token response.

        Raises OAuthError unless the code is unused, unexpired, and of this client, redirect URI and PKCE verifier.
        """
        code = self._codes.get(text)
        if code is None or code.is_used or code.expires_at <= self._clock.now():
            raise OAuthError("invalid_grant")
        code.is_used = True
        if code.redirect_uri != redirect_uri or code.consent.client_id != client_id:
            raise OAuthError("invalid_grant")
        if code.code_challenge is not None and code.code_challenge != _code_challenge_of(verifier):
            raise OAuthError("invalid_grant")
        return self._token_response(code.consent)

    def rotate_refresh_token(self, text: str, client_id: str) -> dict[str, object]:
        """Exchange a refresh token for the token response; from its first use on it is valid for the grace period only.

        Raises OAuthError.
        """
        token = self.refresh_tokens.get(text)
        if token is None or token.consent.client_id != client_id or not self.is_usable(token):
            raise OAuthError("invalid_grant")
        token.superseded_at = token.superseded_at or self._clock.now()
        return self._token_response(token.consent)

    def is_usable(self, token: RefreshToken) -> bool:
        """Return whether a token is neither expired, revoked, nor superseded for longer than the grace period."""
        now = self._clock.now()
        grace = timedelta(seconds=self.options.refresh_grace_seconds)
        is_within_grace = token.superseded_at is None or now - token.superseded_at < grace
        return is_within_grace and not token.is_revoked and now < token.expires_at

    def add_scopes(self, user_id: str, scopes: list[str]) -> tuple[str, ...]:
        """Add scopes to those a user has granted and return all of them; only a revocation removes scopes."""
        granted = dict.fromkeys((*self._granted.get(user_id, ()), *scopes))
        self._granted[user_id] = tuple(granted)
        return self._granted[user_id]

    def revoke_refresh_tokens(self, user_id: str) -> int:
        """Revoke all refresh tokens of a user and return how many; access tokens stay valid until they expire."""
        self._granted.pop(user_id, None)
        tokens = [row for row in self.refresh_tokens.values() if row.consent.user.id == user_id and not row.is_revoked]
        for token in tokens:
            token.is_revoked = True
        return len(tokens)

    def expire_access_tokens(self) -> int:
        """Expire all valid access tokens now and return how many."""
        now = self._clock.now()
        live = [token for token in self.access_tokens.values() if token.expires_at > now]
        for token in live:
            token.expires_at = now
        return len(live)

    def _token_response(self, consent: Consent) -> dict[str, object]:
        now = self._clock.now()
        life = timedelta(seconds=self.options.access_token_seconds)
        access = AccessToken(self._sign(_access_claims(consent, now, now + life)), consent, now + life)
        self.access_tokens[access.text] = access
        response: dict[str, object] = {
            "access_token": access.text,
            "expires_in": self.options.access_token_seconds,
            "token_type": "Bearer",
            "scope": " ".join(consent.scopes),
        }
        if consent.is_openid:
            self.id_tokens.append(self._sign(_id_claims(consent, now)))
            response = {"id_token": self.id_tokens[-1], **response}
        if consent.is_offline:
            response["refresh_token"] = self._issue_refresh(consent, now)
        return response

    def _issue_refresh(self, consent: Consent, now: datetime) -> str:
        text = token_urlsafe(32)
        expires_at = now + timedelta(days=self.options.refresh_token_days)
        self.refresh_tokens[text] = RefreshToken(text, consent, now, expires_at)
        return text

    def _sign(self, claims: dict[str, object]) -> str:
        return jwt.encode(claims, self._key, algorithm="HS256")


def _code_challenge_of(verifier: str | None) -> str:
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
