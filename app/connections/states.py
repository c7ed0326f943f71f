"""States and codes of grants, connections and organisations: what the tables store and the API answers with."""

from enum import StrEnum


class GrantState(StrEnum):
    """Whether a grant's tokens may be used; `grants.state`."""

    ACTIVE = "active"
    RECONNECT_REQUIRED = "reconnect_required"
    DISCONNECTED = "disconnected"


class ConnectionState(StrEnum):
    """How far the set-up of a vendor has come, or what stops it."""

    NOT_CONFIGURED = "not_configured"
    NOT_CONNECTED = "not_connected"
    CHOOSE_TENANTS = "choose_tenants"
    CONNECTED = "connected"
    RECONNECT_REQUIRED = "reconnect_required"
    NEEDS_PERMISSION = "needs_permission"


class CredentialsSource(StrEnum):
    """Where the client id and secret in use come from."""

    ENVIRONMENT = "environment"
    API = "api"


class ConsentCode(StrEnum):
    """How a consent ended; the callback sends it to the frontend."""

    CONNECTED = "connected"
    DENIED = "denied"
    INVALID_STATE = "invalid_state"
    EXPIRED_STATE = "expired_state"
    EXCHANGE_FAILED = "exchange_failed"
    SCOPE_REFUSED = "scope_refused"
    MISSING_SCOPE = "missing_scope"
    MISSING_OFFLINE_ACCESS = "missing_offline_access"
    NO_TENANTS = "no_tenants"
    DIFFERENT_TENANTS = "different_tenants"


class TenantHealth(StrEnum):
    """How the sync of an organisation is doing; `tenants.health` stores those that a sync ends with."""

    NOT_SELECTED = "not_selected"
    FIRST_SYNC = "first_sync"
    HEALTHY = "healthy"
    SYNCING = "syncing"
    PARTIAL = "partial"
    RATE_LIMITED = "rate_limited"
    PAUSED = "paused"
    FORBIDDEN = "forbidden"
    REMOVED = "removed"
    FAILING = "failing"


class ReasonCode(StrEnum):
    """Why an organisation is not healthy; `tenants.reason_code`."""

    RATE_LIMITED_MINUTE = "rate_limited_minute"
    RATE_LIMITED_DAY = "rate_limited_day"
    TENANT_FORBIDDEN = "tenant_forbidden"
    TENANT_REMOVED = "tenant_removed"
    VENDOR_UNAVAILABLE = "xero_unavailable"  # the name the contract fixed, whatever the vendor
    PARTIAL_SYNC = "partial_sync"
    RECONNECT_REQUIRED = "reconnect_required"
    NEEDS_PERMISSION = "needs_permission"
    APP_REJECTED = "app_rejected"
    ENCRYPTION_KEY_MISSING = "encryption_key_missing"
    INTERNAL_ERROR = "internal_error"
    DATA_STALE = "data_stale"


class BannerCode(StrEnum):
    """What a banner is about."""

    TOKEN_EXPIRING_7D = "token_expiring_7d"  # noqa: S105 - a code, not a secret
    TOKEN_EXPIRING_2D = "token_expiring_2d"  # noqa: S105 - a code, not a secret
    RECONNECT_REQUIRED = "reconnect_required"
    NEEDS_PERMISSION = "needs_permission"
    RATE_LIMITED_MINUTE = "rate_limited_minute"
    RATE_LIMITED_DAY = "rate_limited_day"
    TENANT_FORBIDDEN = "tenant_forbidden"
    TENANT_REMOVED = "tenant_removed"
    VENDOR_UNAVAILABLE = "xero_unavailable"  # the name the contract fixed, whatever the vendor
    WEBHOOK_SIGNATURE_MISMATCH = "webhook_signature_mismatch"
    FIRST_SYNC = "first_sync"
    PARTIAL_SYNC = "partial_sync"
    ENCRYPTION_KEY_MISSING = "encryption_key_missing"
    SECRETS_UNREADABLE = "secrets_unreadable"
    DATA_STALE = "data_stale"
    WEBHOOK_EVENTS_GIVEN_UP = "webhook_events_given_up"
    NOTIFICATIONS_FAILING = "notifications_failing"


class Severity(StrEnum):
    """How urgent a banner is."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"
