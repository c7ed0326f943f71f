"""The demo command in a process of its own."""

import os
import signal
import subprocess

from tests.support.commands import command_environment, command_line


def start_demo(tmp_path, *arguments):
    environment = command_environment(COLUMNS="160")
    command = command_line("demo", *arguments)
    # In a group of its own, to which Ctrl-C can be sent as a terminal sends it.
    return subprocess.Popen(  # noqa: S603 - fixed arguments
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def read_until(process, text):
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            break
    return output


def test_the_demo_shows_the_main_job_continues_on_its_data_after_a_kill_and_ends_with_a_sentence(tmp_path):
    killed = start_demo(tmp_path)
    first = read_until(killed, "Token ")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert "succeeded in" in first, first

    again = start_demo(tmp_path, "--once")
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
    assert (" 0 stale" in first, "earlier demo" in first) == (True, False)
    assert "earlier demo" in second, "the demo should say why the rows of a simulator started again are stale"
    assert "; 0 of the rows are new" not in first
    assert "; 0 of the rows are new" in second, "the data of the killed demo should still be there"

    # In the same test, because two demos that start at the same moment may choose the same port.
    stopped = start_demo(tmp_path)
    shown = read_until(stopped, "2. Connect")
    assert "Embedded PostgreSQL started" in shown
    os.killpg(stopped.pid, signal.SIGINT)
    rest, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 0
    assert "Traceback" not in shown + rest
    assert rest.splitlines()[-1].startswith("The demo has ended")
