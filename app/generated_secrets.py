"""The secrets of a trial on the embedded PostgreSQL: generated in `DATA_DIR` where the environment sets none."""

import base64
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from app.settings import KEY_BYTES, Settings


def generate_secrets(settings: Settings, dsn: str) -> Settings:
    """Return settings with the embedded database's DSN, and with those secrets generated that are not set."""

    def make_key() -> str:
        return f"dev:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"

    made: dict[str, Any] = {"database_url": SecretStr(dsn)}
    if settings.encryption_keys is None:
        made["encryption_keys"] = SecretStr(_read_or_generate(settings.data_dir / "encryption_keys", make_key))
    if settings.auth_jwt_secret is None and settings.auth_jwks_url is None:
        made["auth_jwt_secret"] = SecretStr(generated_jwt_secret(settings.data_dir))
    return settings.model_copy(update=made)


def generated_jwt_secret(data_dir: Path) -> str:
    """Return the secret that a trial's tokens are signed with, generating it at the first call."""
    return _read_or_generate(data_dir / "auth_jwt_secret", lambda: secrets.token_urlsafe(KEY_BYTES))


def _read_or_generate(path: Path, make: Callable[[], str]) -> str:
    """Return the file's content, generating the file when it does not exist; of simultaneous processes, one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(make(), encoding="utf-8")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return path.read_text(encoding="utf-8")
