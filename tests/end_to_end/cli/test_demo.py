"""The demo, as a newcomer runs it."""

import os
import signal
import subprocess
import sys

from tests.support.paths import ROOT


def start(tmp_path, *words):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "160"}
    command = [sys.executable, "-m", "app.cli.commands", "demo", *words]
    return subprocess.Popen(  # noqa: S603 - our own words
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def read_until(process, words):
    seen = ""
    for line in process.stdout:
        seen += line
        if words in line:
            break
    return seen


def test_the_demo_shows_the_main_job_survives_a_kill_and_starts_again(tmp_path):
    killed = start(tmp_path)
    first = read_until(killed, "Token ")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert "succeeded in" in first, first

    again = start(tmp_path, "--once")
    second, _ = again.communicate(timeout=120)

    assert again.returncode == 0, second
    for words in (
        "contacts",
        "invoices",
        "credit memos",
        "payments",
        "after the webhook",
        "healed",
        "in Xero",
    ):
        assert words in second
    assert second.count("✓ Tasman IT") >= 2
    assert "; 0 of the rows are new" not in first
    assert "; 0 of the rows are new" in second, "the data of the killed demo should still be there"
