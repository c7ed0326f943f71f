"""The service's settings, read from the environment into one frozen class; none are read at import."""

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from app.database_url import Pooler, parse_database_url
from app.setting_problems import describe_error, describe_unknown_names

Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#]+[^\s?#]*$")]
KEY_BYTES = 32


class SettingsError(RuntimeError):
    """Settings that cannot be used; the message has one line per variable, a sentence that names it."""


class SecretFileSource(PydanticBaseSettingsSource):
    """Reads secrets from the files that `NAME_FILE` names: a mounted file is not seen in the process environment."""

    @override
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{field_name.upper()}_FILE") if _is_secret(field) else None
        if not path:
            return None, field_name, False
        try:
            return Path(path).read_text(encoding="utf-8").strip(), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{field_name.upper()}_FILE names {path}, which cannot be read: {error}.") from error

    @override
    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


class Settings(BaseSettings):
    """Every setting of the service; a field's name in capitals is its environment variable.

    Fields that begin with a vendor's name are that vendor's own; `app.main` hands each vendor its part and checks
    against the vendor's profile what depends on it.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_file=".env", extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    database_url: SecretStr | None = None
    database_pooler: Pooler = Pooler.NONE
    data_dir: Path = Path(".data")
    public_url: Url = "http://localhost:8000"
    frontend_url: Url | None = None
    encryption_keys: SecretStr | None = None
    auth_jwt_secret: SecretStr | None = None
    auth_jwks_url: Url | None = None
    auth_jwt_audience: str = "vectis-billing"

    xero_client_id: str | None = None
    xero_client_secret: SecretStr | None = None
    xero_webhook_key: SecretStr | None = None
    xero_webhook_key_previous: SecretStr | None = None
    xero_scope_set: str = "broad"
    xero_login_url: Url = "https://login.xero.com"
    xero_identity_url: Url = "https://identity.xero.com"
    xero_api_url: Url = "https://api.xero.com"
    xero_requests_per_minute: int = Field(30, ge=1)
    xero_daily_cap: int = Field(5000, ge=1)
    xero_daily_cap_pause_at: float = Field(0.9, gt=0, le=1)
    xero_app_requests_per_minute: int = Field(9000, ge=1)
    xero_concurrent_requests: int = Field(4, ge=1)
    xero_page_size: int = Field(1000, ge=1)
    xero_webhook_ack: Literal["stored", "empty"] = "stored"

    sync_interval_seconds: int = Field(900, ge=1)
    billing_timezone: str = "UTC"
    service_gap_days: int = Field(35, ge=1)
    overdue_grace_days: int = Field(0, ge=0)
    overdue_critical_days: int = Field(30, ge=1)
    # A vendor delivers an event again for up to 31 days; by its row it is known to have come before.
    webhook_event_days: int = Field(90, ge=45)
    scheduler_enabled: bool = True
    notify_urls: SecretStr | None = None
    max_connections: int = Field(1000, ge=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] | None = None

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, SecretFileSource(settings_cls), dotenv_settings, file_secret_settings

    @field_validator("database_url")
    @classmethod
    def _validate_database_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            parse_database_url(value.get_secret_value())
        return value

    @field_validator("public_url", "frontend_url", "xero_login_url", "xero_identity_url", "xero_api_url")
    @classmethod
    def _remove_trailing_slash(cls, value: str | None) -> str | None:
        return value.rstrip("/") if value else value

    @field_validator("billing_timezone")
    @classmethod
    def _validate_timezone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError("must be an IANA time zone such as Pacific/Auckland") from error
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _validate_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            parse_keys(value.get_secret_value())
        return value

    @field_validator("auth_jwt_secret")
    @classmethod
    def _validate_secret_length(cls, value: SecretStr | None) -> SecretStr | None:
        if value and len(value.get_secret_value().encode()) < KEY_BYTES:
            raise ValueError("must be at least 32 bytes long")
        return value

    def redirect_uri(self, vendor: str) -> str:
        """Return where a vendor sends the browser back to after a consent."""
        return f"{self.public_url}/api/integrations/{vendor}/callback"

    def webhook_url(self, vendor: str) -> str:
        """Return where a vendor delivers its webhooks to."""
        return f"{self.public_url}/api/webhooks/{vendor}"

    @property
    def return_url(self) -> str:
        """The frontend's URL, where the browser is sent to after a consent."""
        return self.frontend_url or f"{self.public_url}/console"


# Checks settings against what only others know, and returns a sentence for each that cannot be used.
SettingsCheck: TypeAlias = Callable[[Settings], Iterable[str]]


def load_settings(overrides: Mapping[str, Any] | None = None, checks: Iterable[SettingsCheck] = ()) -> Settings:
    """Read the settings from the environment.

    Raises:
        SettingsError: variables have values that cannot be used; the message names all of them.
    """
    given, problems = dict(overrides or {}), []
    try:
        settings = Settings(**given)
    except ValidationError as error:
        found = error.errors()
        problems = [describe_error(each, _is_secret_name) for each in found]
        # The others are checked beside the defaults of those that are wrong, so that all problems are told at once.
        wrong = {str(each["loc"][0]) for each in found if each["loc"]}
        settings = Settings(**{**given, **{name: Settings.model_fields[name].default for name in wrong}})
    problems += [problem for check in checks for problem in check(settings)]
    if problems:
        raise SettingsError("\n".join(dict.fromkeys(problems)))
    return settings


def find_unknown_settings() -> list[str]:
    """Return a sentence about each variable, of the environment or of `.env`, that was meant for us and is unknown."""
    names = {name.upper() for name in Settings.model_fields}
    secrets = {f"{name.upper()}_FILE" for name in Settings.model_fields if _is_secret_name(name)}
    return describe_unknown_names([*os.environ, *dotenv_values(".env")], names | secrets)


def parse_keys(text: str) -> dict[str, bytes]:
    """Parse `id:base64(32 bytes)`, comma separated and newest first, into keys by id in that order.

    Raises:
        ValueError: an entry is not of that form.
    """
    keys: dict[str, bytes] = {}
    for entry in text.split(","):
        key_id, separator, encoded = entry.strip().partition(":")
        try:
            key = base64.b64decode(encoded, validate=True)
        except binascii.Error:
            key = b""
        if not (separator and key_id.isalnum() and len(key) == KEY_BYTES) or key_id in keys:
            raise ValueError("must be id:base64(32 bytes), comma separated, newest first, each id once")
        keys[key_id] = key
    return keys


def _is_secret(field: FieldInfo) -> bool:
    return "SecretStr" in str(field.annotation)


def _is_secret_name(name: str) -> bool:
    return name not in Settings.model_fields or _is_secret(Settings.model_fields[name])
