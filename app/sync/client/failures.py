"""What a person reads about a tenant whose pull ended with an error: health, reason code and message per exception."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.connections.decrypted_grant import GrantUnusable, TokensUnreadable
from app.connections.states import ReasonCode, TenantHealth
from app.connections.tenants import TenantProblem
from app.connector import AppRejected, ConnectorError, NotFound, OrganisationForbidden, PermissionMissing
from app.sync.client.rate_limiter import Paused

# What needs a person comes before what passes by itself.
SEVERITY_ORDER = (
    GrantUnusable,
    OrganisationForbidden,
    NotFound,
    PermissionMissing,
    AppRejected,
    ConnectorError,
    Paused,
)
TENANT_REMOVED = TenantProblem(
    TenantHealth.REMOVED,
    ReasonCode.TENANT_REMOVED,
    "Nobody who connected has access to this organisation any more. Connect again to refresh the list.",
)
TENANT_FORBIDDEN = TenantProblem(
    TenantHealth.FORBIDDEN, ReasonCode.TENANT_FORBIDDEN, "It no longer grants access: re-authorise it, or pick another."
)
# The first class that matches applies; `{detail}` is the exception's own sentence.
MESSAGES: tuple[tuple[type[Exception], TenantProblem], ...] = (
    (TokensUnreadable, TenantProblem(TenantHealth.FAILING, ReasonCode.ENCRYPTION_KEY_MISSING, "{detail}")),
    (
        GrantUnusable,
        TenantProblem(TenantHealth.FAILING, ReasonCode.RECONNECT_REQUIRED, "Connect again."),
    ),
    (OrganisationForbidden, TENANT_FORBIDDEN),
    (NotFound, TENANT_REMOVED),
    (PermissionMissing, TenantProblem(TenantHealth.FAILING, ReasonCode.NEEDS_PERMISSION, "{detail}")),
    (AppRejected, TenantProblem(TenantHealth.FAILING, ReasonCode.APP_REJECTED, "{detail}")),
    (
        ConnectorError,
        TenantProblem(TenantHealth.FAILING, ReasonCode.VENDOR_UNAVAILABLE, "{detail} We keep trying at every tick."),
    ),
)
UNEXPECTED = TenantProblem(
    TenantHealth.FAILING,
    ReasonCode.INTERNAL_ERROR,
    "Something broke here; the log says what. The next tick tries again.",
)


def most_severe(errors: Sequence[Exception]) -> Exception:
    """Return the error that a person must be shown first."""
    return min(errors, key=_severity_rank)


def _severity_rank(error: Exception) -> int:
    ranks = (rank for rank, kind in enumerate(SEVERITY_ORDER) if isinstance(error, kind))
    return next(ranks, len(SEVERITY_ORDER))


def describe_failure(error: Exception, now: datetime) -> TenantProblem:
    """Return what to show for an error that ended a pull, or for a pause that it waits out."""
    if isinstance(error, Paused):
        return _describe_pause(error, now)
    problem = next((problem for kind, problem in MESSAGES if isinstance(error, kind)), UNEXPECTED)
    return replace(problem, message=problem.message.format(detail=error))


def _describe_pause(error: Paused, now: datetime) -> TenantProblem:
    until = error.until(now)
    if error.reason == "day_share":
        text = "It has used its share of today's calls. The rest is kept for webhooks; we continue by ourselves."
        return TenantProblem(TenantHealth.PAUSED, ReasonCode.RATE_LIMITED_DAY, text, until)
    if error.reason == "day":
        text = "The daily limit is reached. We continue by ourselves."
        return TenantProblem(TenantHealth.RATE_LIMITED, ReasonCode.RATE_LIMITED_DAY, text, until)
    text = "A rate limit is reached. We continue by ourselves."
    return TenantProblem(TenantHealth.RATE_LIMITED, ReasonCode.RATE_LIMITED_MINUTE, text, until)


def describe_missing_rows(missing_rows: int) -> str:
    """Return what to show of rows that the vendor counts and does not deliver."""
    return (
        f"{missing_rows} records that the vendor counts did not come and are missing here. We ask for them again at the"
        " next syncs and in the nightly comparison."
    )


def describe_gaps(missing_rows: int, quarantined: int) -> str | None:
    """Return what to show of rows that are not mirrored although a sync came to its end; None without any."""
    texts = [describe_missing_rows(missing_rows)] if missing_rows else []
    if quarantined:
        texts.append(f"{quarantined} records could not be read and need a look. Everything else is up to date.")
    return " ".join(texts) or None
