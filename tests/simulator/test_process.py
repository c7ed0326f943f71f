"""`python -m simulator`: the address it prints, its options, and that it exits with its parent."""

import subprocess
import sys
from contextlib import contextmanager

import httpx
import pytest


def wait_for_exit(process: subprocess.Popen[str]) -> None:
    """Wait for a process to exit; kill it and fail if it does not, so that it cannot disturb later tests."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@contextmanager
def run_simulator(*arguments: str):
    """Run the simulator in a separate process until its standard input is closed."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--until-stdin-closes", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own module
        assert process.stdin
        assert process.stdout
        try:
            yield process, process.stdout.readline()
        finally:
            process.stdin.close()
            wait_for_exit(process)


def test_it_prints_its_address_and_takes_its_options():
    sizes = ["--organisations", "1", "--contacts", "5", "--invoices", "12", "--payments", "4", "--credit-notes", "2"]
    with run_simulator(*sizes, "--seed", "7", "--client-id", "ME", "--granular-only", "--no-limits") as (_, line):
        start, _, url = line.strip().rpartition(" ")
        assert start == "simulator listening on"
        assert url.startswith("http://127.0.0.1:")
        (organisation, _) = httpx.get(f"{url}/_control/tenants").json()
        assert [organisation[name] for name in ("contacts", "invoices", "payments", "credit_notes")] == [5, 12, 4, 2]
        options = httpx.get(f"{url}/_control/options").json()
        assert (options["seed"], options["client_id"]) == (7, "ME")
        assert (options["app_may_ask_broad_scopes"], options["limits_enabled"]) == (False, False)
        assert options["auto_consent"] is False


def test_it_exits_when_its_standard_input_closes():
    with run_simulator("--invoices", "1", "--payments", "0") as (process, line):
        assert line
        process.stdin.close()
        wait_for_exit(process)
        with pytest.raises(httpx.ConnectError):
            httpx.get(line.split()[-1])


def test_a_port_in_use_is_an_error_and_prints_no_address():
    with run_simulator("--invoices", "1", "--payments", "0") as (_, line):
        port = line.strip().rpartition(":")[2]
        command = [sys.executable, "-m", "simulator", "--port", port]
        second = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603 - as above
        assert second.returncode != 0
        assert second.stdout == ""
        assert port in second.stderr
