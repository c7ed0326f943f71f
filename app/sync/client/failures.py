"""Troubles: what a person reads about an organisation whose pull ended with an error."""

from collections.abc import Sequence
from datetime import datetime

from app.connections.tenants import Trouble
from app.connections.tokens import GrantUnusable
from app.connector import AppRejected, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing
from app.crypto import SealBroken
from app.sync.client.rate_limiter import Paused

# What needs a hand comes before what passes by itself.
GRAVITY = (GrantUnusable, OrganisationForbidden, NotFound, PermissionMissing, AppRejected, ConnectorError, Paused)
GONE = (
    "removed",
    "tenant_removed",
    "Somebody de-selected this organisation on the vendor's side. Disconnect and reconnect to refresh the list.",
)
REMOVED = Trouble(*GONE)

FORBIDDEN = ("forbidden", "tenant_forbidden", "It no longer grants access: re-authorise it, or pick another.")
WORDS = (
    (GrantUnusable, ("failing", "reconnect_required", "Disconnect and connect again.")),
    (OrganisationForbidden, FORBIDDEN),
    (NotFound, GONE),
    (PermissionMissing, ("failing", "needs_permission", "{detail}")),
    (AppRejected, ("failing", "app_rejected", "{detail}")),
    (SealBroken, ("failing", "encryption_key_missing", "{detail}")),
    (ConnectorError, ("failing", "xero_unavailable", "{detail} We keep trying at every tick.")),
)
DEFECT = ("failing", "internal_error", "Something broke here; the log says what. The next tick tries again.")


def gravest(errors: Sequence[Exception]) -> Exception:
    """Return the error a person must know of first."""
    return min(errors, key=_rank)


def _rank(error: Exception) -> int:
    return next((rank for rank, kind in enumerate(GRAVITY) if isinstance(error, kind)), len(GRAVITY))


def describe(error: Exception, now: datetime) -> Trouble:
    if isinstance(error, Paused):
        return _describe_pause(error, now)
    health, code, text = next((words for kind, words in WORDS if isinstance(error, kind)), DEFECT)
    return Trouble(health, code, text.format(detail=error))


def _describe_pause(error: Paused, now: datetime) -> Trouble:
    until = error.until(now)
    if error.reason == "day_share":
        text = "It has used its share of today's calls. The rest is kept for webhooks; we continue by ourselves."
        return Trouble("paused", "rate_limited_day", text, until)
    if error.reason == "day":
        text = "The daily limit is reached. We continue by ourselves."
        return Trouble("rate_limited", "rate_limited_day", text, until)
    return Trouble("rate_limited", "rate_limited_minute", "A rate limit is reached. We continue by ourselves.", until)
