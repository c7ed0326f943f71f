"""Settings that the service can start with: checked against what vendors allow, and complete."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.connector import VendorProfile
from app.embedded_postgres import EmbeddedPostgres
from app.generated_secrets import generate_secrets
from app.settings import Settings, SettingsError, load_settings
from app.sync.notifications.addresses import AddressUnusable, NotifyAddress, parse_addresses
from app.xero.profile import XERO_PROFILE


def check_xero_settings(settings: Settings, profile: VendorProfile = XERO_PROFILE) -> Iterator[str]:
    """Yield what is wrong with the settings of Xero that depend on what Xero allows."""
    if settings.xero_scope_set not in profile.scope_sets:
        names = " or ".join(map(repr, profile.scope_sets))
        yield f"XERO_SCOPE_SET: must be {names}, and is {settings.xero_scope_set[:80]!r}."
    if settings.xero_page_size > profile.largest_page:
        yield f"XERO_PAGE_SIZE: must be at most {profile.largest_page}, and is '{settings.xero_page_size}'."


def check_addresses(settings: Settings) -> Iterator[str]:
    """Yield what is wrong with the addresses at which people are told."""
    try:
        read_addresses(settings)
    except SettingsError as error:
        yield str(error)


def check_required_settings(settings: Settings) -> Iterator[str]:
    """Yield what is missing; the embedded database brings it along."""
    if settings.database_url is None:
        return
    if settings.encryption_keys is None:
        yield "ENCRYPTION_KEYS is not set; with a DATABASE_URL of your own it is required."
    if settings.auth_jwt_secret is None and settings.auth_jwks_url is None:
        yield "AUTH_JWT_SECRET or AUTH_JWKS_URL must be set; without one nobody could sign in."


SETTINGS_CHECKS = (check_xero_settings, check_addresses, check_required_settings)


def read_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: some cannot be used, or are missing; the message names all of them.
    """
    return load_settings(overrides, SETTINGS_CHECKS)


def read_addresses(settings: Settings) -> list[NotifyAddress]:
    """Return the addresses at which people are told.

    Raises:
        SettingsError: one of them cannot be used; the message names its position and scheme.
    """
    try:
        return parse_addresses(settings.notify_urls.get_secret_value() if settings.notify_urls else "")
    except AddressUnusable as error:
        raise SettingsError(f"NOTIFY_URLS: {error}.") from None


@dataclass(frozen=True, slots=True)
class PreparedSettings:
    """Complete settings, and the function that stops what was started for them."""

    settings: Settings
    close: Callable[[], None]


def prepare_settings(settings: Settings) -> PreparedSettings:
    """Start the embedded PostgreSQL when no database is configured, and generate the secrets a trial needs.

    Args:
        settings: as `read_settings` returns them.
    """
    if settings.database_url is None:
        server = EmbeddedPostgres(settings.data_dir)
        dsn = server.start()
        return PreparedSettings(generate_secrets(settings, dsn), server.stop)
    return PreparedSettings(settings, lambda: None)
