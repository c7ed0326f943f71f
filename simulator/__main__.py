"""`python -m simulator`: serves the simulator from the command line."""

import argparse
import os
import signal
import sys
import threading
from typing import Any

from simulator.main import serve
from simulator.options import SimulatorOptions


def main(arguments: list[str] | None = None) -> None:
    values = vars(_parser().parse_args(arguments))
    host, port, stops_with_parent = values.pop("host"), values.pop("port"), values.pop("until_stdin_closes")
    if stops_with_parent:
        threading.Thread(target=_exit_when_stdin_closes, daemon=True).start()
    serve(host, port, SimulatorOptions(**_to_option_names(values)))


def _parser() -> argparse.ArgumentParser:
    defaults = SimulatorOptions()
    parser = argparse.ArgumentParser("python -m simulator", description="Serves a simulated Xero on one port.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port; the first line printed names it")
    for name in ("organisations", "practices", "contacts", "invoices", "payments", "credit_notes", "seed"):
        _add_option(parser, name, int, defaults)
    for name in ("client_id", "client_secret", "webhook_key", "webhook_url"):
        _add_option(parser, name, str, defaults)
    for name in ("latency_ms", "clock_rate"):
        _add_option(parser, name, float, defaults)
    parser.add_argument(
        "--auto-consent", action="store_true", help="consent to every organisation without showing the login page"
    )
    parser.add_argument(
        "--granular-only",
        action="store_true",
        help="refuse the broad scopes, as for apps created on or after 2 March 2026",
    )
    parser.add_argument("--no-limits", action="store_true", help="enforce no rate limits")
    parser.add_argument(
        "--until-stdin-closes",
        action="store_true",
        help="exit when standard input closes, as it does when the parent process ends",
    )
    return parser


def _add_option(parser: argparse.ArgumentParser, name: str, kind: type, defaults: SimulatorOptions) -> None:
    default = getattr(defaults, name)
    parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"default {default}")


def _to_option_names(values: dict[str, Any]) -> dict[str, Any]:
    values["app_may_ask_broad_scopes"] = not values.pop("granular_only")
    values["limits_enabled"] = not values.pop("no_limits")
    return values


def _exit_when_stdin_closes() -> None:
    """Stop this process when its standard input closes, which happens even if the parent process is killed."""
    # Read without Python's buffer: its lock could not be taken at exit while this thread waits in it.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
