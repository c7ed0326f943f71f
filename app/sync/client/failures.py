"""Troubles: what a person reads about an organisation whose pull ended with an error."""

from collections.abc import Sequence
from datetime import datetime

from app.connections.tenants import TenantProblem
from app.connections.tokens import GrantUnusable
from app.connector import AppRejected, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing
from app.crypto import SealBroken
from app.sync.client.rate_limiter import Paused

# What needs a hand comes before what passes by itself.
SEVERITY_ORDER = (
    GrantUnusable,
    OrganisationForbidden,
    NotFound,
    PermissionMissing,
    AppRejected,
    ConnectorError,
    Paused,
)
TENANT_REMOVED_MESSAGE = (
    "removed",
    "tenant_removed",
    "Somebody de-selected this organisation on the vendor's side. Disconnect and reconnect to refresh the list.",
)
TENANT_REMOVED = TenantProblem(*TENANT_REMOVED_MESSAGE)

FORBIDDEN = ("forbidden", "tenant_forbidden", "It no longer grants access: re-authorise it, or pick another.")
MESSAGES = (
    (GrantUnusable, ("failing", "reconnect_required", "Disconnect and connect again.")),
    (OrganisationForbidden, FORBIDDEN),
    (NotFound, TENANT_REMOVED_MESSAGE),
    (PermissionMissing, ("failing", "needs_permission", "{detail}")),
    (AppRejected, ("failing", "app_rejected", "{detail}")),
    (SealBroken, ("failing", "encryption_key_missing", "{detail}")),
    (ConnectorError, ("failing", "xero_unavailable", "{detail} We keep trying at every tick.")),
)
DEFECT = ("failing", "internal_error", "Something broke here; the log says what. The next tick tries again.")


def most_severe(errors: Sequence[Exception]) -> Exception:
    """Return the error a person must know of first."""
    return min(errors, key=_rank)


def _rank(error: Exception) -> int:
    return next((rank for rank, kind in enumerate(SEVERITY_ORDER) if isinstance(error, kind)), len(SEVERITY_ORDER))


def describe_failure(error: Exception, now: datetime) -> TenantProblem:
    if isinstance(error, Paused):
        return _describe_pause(error, now)
    health, code, text = next((words for kind, words in MESSAGES if isinstance(error, kind)), DEFECT)
    return TenantProblem(health, code, text.format(detail=error))


def _describe_pause(error: Paused, now: datetime) -> TenantProblem:
    until = error.until(now)
    if error.reason == "day_share":
        text = "It has used its share of today's calls. The rest is kept for webhooks; we continue by ourselves."
        return TenantProblem("paused", "rate_limited_day", text, until)
    if error.reason == "day":
        text = "The daily limit is reached. We continue by ourselves."
        return TenantProblem("rate_limited", "rate_limited_day", text, until)
    return TenantProblem(
        "rate_limited", "rate_limited_minute", "A rate limit is reached. We continue by ourselves.", until
    )
