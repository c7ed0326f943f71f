"""The commands: exit status and output of each, run as an operator runs them."""

import json
import socket
import subprocess
from importlib.metadata import version

import jwt
import pytest

from tests.support.commands import command_environment, command_line
from tests.support.forked_process import run_command
from tests.support.service import ENCRYPTION_KEYS


def run(*arguments, cwd, **environment):
    return run_command(arguments, command_environment(**environment), cwd)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"SYNC_INTERVAL_SECONDS": "soon"}, "SYNC_INTERVAL_SECONDS"),
        (
            {"DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/x", "AUTH_JWT_SECRET": "s" * 32},
            "ENCRYPTION_KEYS is not set",
        ),
        (
            {"DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/x?ssl=disable", "ENCRYPTION_KEYS": ENCRYPTION_KEYS},
            "AUTH_JWT_SECRET or AUTH_JWKS_URL must be set",
        ),
    ],
    ids=["wrong value", "no keys", "no secret"],
)
def test_an_invalid_setting_is_reported_in_one_sentence(tmp_path, environment, sentence):
    finished = run("serve", cwd=tmp_path, **environment)
    assert finished.returncode == 2
    assert sentence in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_every_setting_that_cannot_be_used_is_told_in_a_line_of_its_own(tmp_path):
    finished = run("status", cwd=tmp_path, SYNC_INTERVAL_SECONDS="soon", LOG_LEVEL="loud", XERO_CLIENTID="x")
    assert finished.returncode == 2
    lines = finished.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["SYNC_INTERVAL_SECONDS", "LOG_LEVEL"]


def test_the_version_is_that_of_the_package(tmp_path):
    finished = run("--version", cwd=tmp_path)
    assert (finished.returncode, finished.stdout) == (0, f"vectis-xero {version('vectis-xero')}\n")


def test_a_port_in_use_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        finished = run("serve", "--port", port, cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"vectis-xero: Port {port} of 127.0.0.1 cannot be used (Address already in use")
    assert len(finished.stderr.strip().splitlines()) == 1


def test_an_unreachable_database_is_reported_without_a_traceback(tmp_path):
    environment = {
        "DATABASE_URL": "postgresql+asyncpg://127.0.0.1:1/x?ssl=disable",
        "ENCRYPTION_KEYS": ENCRYPTION_KEYS,
        "AUTH_JWT_SECRET": "s" * 32,
    }
    finished = run("migrate", cwd=tmp_path, **environment)
    assert finished.returncode == 2
    assert "PostgreSQL" in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_minted_token_has_the_requested_claims(tmp_path):
    finished = run("token", "--role", "analyst", "--subject", "ann", "--hours", "2", cwd=tmp_path)
    secret = (tmp_path / ".data" / "auth_jwt_secret").read_text()
    claims = jwt.decode(finished.stdout.strip(), secret, algorithms=["HS256"], audience="vectis-billing")
    assert (claims["sub"], claims["role"], claims["exp"] - claims["iat"]) == ("ann", "analyst", 7200)
    assert (tmp_path / ".data" / "auth_jwt_secret").stat().st_mode & 0o077 == 0


def test_a_minted_token_names_its_role_unless_a_subject_is_given(tmp_path):
    minted = run("token", "--role", "viewer", cwd=tmp_path).stdout.strip()
    assert jwt.decode(minted, options={"verify_signature": False})["sub"] == "operator-viewer"


def test_an_unknown_role_is_refused(tmp_path):
    assert run("token", "--role", "owner", cwd=tmp_path).returncode == 2


def test_the_schema_is_printed_without_a_database(tmp_path):
    """By a program that imports everything anew, as an operator's does."""
    command, variables = command_line("openapi"), command_environment()
    finished = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, timeout=60, check=True)  # noqa: S603 - constants
    schema = json.loads(finished.stdout)
    assert "/api/integrations/xero/callback" in schema["paths"]
    assert not (tmp_path / ".data").exists()


def test_the_simulator_command_passes_its_options_on(tmp_path):
    assert "--auto-consent" in run("simulator", "--help", cwd=tmp_path).stdout
