"""The commands as an operator meets them."""

import asyncio
import json
import os
import subprocess
import sys

import jwt
import pytest
from pydantic import SecretStr

from app.cli.commands import _rotate
from app.settings import Settings
from tests.support.paths import ROOT
from tests.support.service import ENCRYPTION_KEYS, open_harness

ANOTHER = "newer:" + "QkJC" * 10 + "QkI="


def run(*words, cwd, **environment):
    command = [sys.executable, "-m", "app.cli.commands", *words]
    clean = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **environment}
    return subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603 - our own words


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SYNC_INTERVAL_SECONDS": "soon"}, "SYNC_INTERVAL_SECONDS"),
        ({"DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/x"}, "ENCRYPTION_KEYS is not set"),
        (
            {"DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/x?ssl=disable", "ENCRYPTION_KEYS": ENCRYPTION_KEYS},
            "AUTH_JWT_SECRET or AUTH_JWKS_URL must be set",
        ),
    ],
    ids=["wrong value", "no keys", "no secret"],
)
def test_a_wrong_setting_ends_the_start_with_one_sentence(tmp_path, environment, sentence):
    ended = run("serve", cwd=tmp_path, **environment)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_database_that_is_away_is_one_sentence_too(tmp_path):
    away = {
        "DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/x?ssl=disable",
        "ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        "AUTH_JWT_SECRET": "s" * 32,
    }
    ended = run("migrate", cwd=tmp_path, **away)
    assert ended.returncode == 2
    assert "PostgreSQL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_minted_token_carries_what_was_asked_for(tmp_path):
    ended = run("token", "--role", "analyst", "--subject", "ann", "--hours", "2", cwd=tmp_path)
    secret = (tmp_path / ".data" / "auth_jwt_secret").read_text()
    claims = jwt.decode(ended.stdout.strip(), secret, algorithms=["HS256"], audience="vectis-billing")
    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("ann", "analyst", 7200)
    assert (tmp_path / ".data" / "auth_jwt_secret").stat().st_mode & 0o077 == 0


def test_an_unknown_role_is_refused(tmp_path):
    assert run("token", "--role", "owner", cwd=tmp_path).returncode == 2


def test_the_schema_is_printed_without_a_database(tmp_path):
    ended = run("openapi", cwd=tmp_path)
    schema = json.loads(ended.stdout)
    assert "/api/integrations/xero/callback" in schema["paths"]
    assert not (tmp_path / ".data").exists()


def test_the_pretend_xero_has_help_of_its_own(tmp_path):
    assert "--auto-consent" in run("simulator", "--help", cwd=tmp_path).stdout


async def test_keys_are_rotated_and_the_old_one_may_go(dsn):
    async with open_harness(dsn, xero_webhook_key=None) as harness:
        await harness.connect()
        await harness.call("PUT", "/api/integrations/xero/webhook-key", json={"signing_key": "k"})
    both = Settings.model_construct(
        database_url=SecretStr(dsn), encryption_keys=SecretStr(f"{ANOTHER},{ENCRYPTION_KEYS}")
    )
    assert (await _rotate(both)).startswith("3 of 3 secrets")
    assert (await _rotate(both)).startswith("0 of 3 secrets")
    async with open_harness(dsn, encryption_keys=SecretStr(ANOTHER)) as harness:
        [grant] = await harness.query("SELECT id FROM grants")
        assert await asyncio.wait_for(harness.engine.tokens.access(grant["id"]), 10)
