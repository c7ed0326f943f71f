"""A grant as it is read for a call: with its tokens decrypted, and whether they can be used or must be refreshed."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text

from app.connections.grants import access_token_associated_data, refresh_token_associated_data
from app.connector import ConnectorError, VendorUnavailable
from app.crypto import SealBroken, Sealer

# A token is refreshed this long before it expires.
REFRESH_MARGIN = timedelta(minutes=5)
READ_GRANT = text("""
SELECT id, version, state, reason, access_token_sealed, access_expires_at, refresh_token_sealed, next_refresh_at,
       refusals, wall_clock() AS now
FROM grants WHERE id = :grant_id
""")


class GrantUnusable(ConnectorError):
    """The grant's tokens cannot be used any more: a person must connect again. No call was made."""


class TokensUnreadable(GrantUnusable):
    """The grant's refresh token cannot be decrypted, which a person repairs with the right key or a new consent."""


@dataclass(frozen=True, slots=True)
class DecryptedGrant:
    """A grant as it was read, with its tokens decrypted.

    Attributes:
        access_token: empty where it cannot be decrypted, and then neither fresh nor usable.
        refresh_problem: why the refresh token cannot be decrypted; None where it can.
        is_fresh: the access token is good for longer than `REFRESH_MARGIN`.
        is_usable: the access token has not expired.
        next_refresh_at: the earliest instant of the next refresh after a failed one; None after a good one.
        is_backing_off: the last refresh failed, and it is too early for another.
        has_failed: since the last good refresh one has failed although it was tried again.
    """

    id: UUID
    version: int
    state: str
    reason: str | None
    access_token: str
    refresh_token: str
    is_fresh: bool
    is_usable: bool
    next_refresh_at: datetime | None
    is_backing_off: bool
    has_failed: bool
    refresh_problem: str | None = None

    def needs_refresh(self, rejected: str | None) -> bool:
        """Say whether no token is left to work with: it has expired, or it is the one the vendor has refused."""
        return not self.is_usable or self.access_token == rejected

    def use_without_refresh(self, rejected: str | None) -> str:
        """Return the access token where it is good although it cannot be refreshed now.

        Raises:
            TokensUnreadable: the refresh token cannot be decrypted.
            VendorUnavailable: the last refresh failed a moment ago.
        """
        if not self.needs_refresh(rejected):
            return self.access_token
        if self.refresh_problem:
            raise TokensUnreadable(self.refresh_problem)
        raise VendorUnavailable("The last token refresh failed; the next try is in a moment.")


def decrypt_grant(grant: Row[Any], sealer: Sealer) -> DecryptedGrant:
    """Return a row of `READ_GRANT` with its tokens decrypted."""
    now = grant.now
    access_token = sealer.try_open(grant.access_token_sealed, access_token_associated_data(grant.id))
    # An access token that cannot be decrypted is refreshed like one that has expired.
    expires_at = grant.access_expires_at if access_token and grant.access_expires_at else now
    refresh_token, problem = _open_refresh_token(grant, sealer)
    return DecryptedGrant(
        id=grant.id,
        version=grant.version,
        state=grant.state,
        reason=grant.reason,
        access_token=access_token or "",
        refresh_token=refresh_token,
        is_fresh=expires_at - REFRESH_MARGIN > now,
        is_usable=expires_at > now,
        next_refresh_at=grant.next_refresh_at,
        is_backing_off=grant.next_refresh_at is not None and grant.next_refresh_at > now,
        has_failed=grant.refusals > 0,
        refresh_problem=problem,
    )


def _open_refresh_token(grant: Row[Any], sealer: Sealer) -> tuple[str, str | None]:
    """Return the refresh token and None, or an empty text and why it cannot be decrypted."""
    try:
        return sealer.open(grant.refresh_token_sealed, refresh_token_associated_data(grant.id)), None
    except SealBroken as error:
        return "", f"{error} Put the right key back and restart, or connect again."
