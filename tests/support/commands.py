"""Runs the commands of `vectis-xero` as an operator does, in processes of their own."""

import os
import sys

from tests.support.paths import ROOT
from tests.support.service import JWT_SECRET


def command_line(*arguments: str) -> list[str]:
    """Return the command with these arguments, from this checkout."""
    return [sys.executable, "-m", "app.cli.commands", *arguments]


def command_environment(**variables: str) -> dict[str, str]:
    """Return these variables and what every process needs; nothing else of the present environment reaches it."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **variables}


def settings_environment(dsn: str, encryption_keys: str, **variables: str) -> dict[str, str]:
    """Return the environment of a command that needs complete settings; more variables may be added."""
    settings = {"DATABASE_URL": dsn, "ENCRYPTION_KEYS": encryption_keys, "AUTH_JWT_SECRET": JWT_SECRET}
    return command_environment(**settings, **variables)
