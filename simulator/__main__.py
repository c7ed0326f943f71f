"""`python -m simulator`: runs the pretend Xero in a process of its own."""

import argparse
import os
import signal
import sys
import threading
from typing import Any

from simulator.main import serve
from simulator.options import SimulatorOptions


def main(arguments: list[str] | None = None) -> None:
    chosen = vars(_parser().parse_args(arguments))
    host, port, guarded = chosen.pop("host"), chosen.pop("port"), chosen.pop("until_stdin_closes")
    if guarded:
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    serve(host, port, SimulatorOptions(**_renamed(chosen)))


def _parser() -> argparse.ArgumentParser:
    usual = SimulatorOptions()
    parser = argparse.ArgumentParser("python -m simulator", description="A pretend Xero on one port.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one; the first line printed names it")
    for name in ("organisations", "practices", "contacts", "invoices", "payments", "credit_notes", "seed"):
        _option(parser, name, int, usual)
    for name in ("client_id", "client_secret", "webhook_key", "webhook_url"):
        _option(parser, name, str, usual)
    for name in ("latency_ms", "clock_rate"):
        _option(parser, name, float, usual)
    parser.add_argument("--auto-consent", action="store_true", help="allow every organisation without asking")
    parser.add_argument("--granular-only", action="store_true", help="an app made on or after 2 March 2026")
    parser.add_argument("--no-limits", action="store_true", help="no rate limits")
    parser.add_argument("--until-stdin-closes", action="store_true", help="end when whoever started this has ended")
    return parser


def _option(parser: argparse.ArgumentParser, name: str, kind: type, usual: SimulatorOptions) -> None:
    default = getattr(usual, name)
    parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=f"default {default}")


def _renamed(chosen: dict[str, Any]) -> dict[str, Any]:
    chosen["app_may_ask_broad_scopes"] = not chosen.pop("granular_only")
    chosen["limits_enabled"] = not chosen.pop("no_limits")
    return chosen


def _end_with_stdin() -> None:
    """A parent that is killed cannot stop us, but its end of our standard input closes."""
    while sys.stdin.buffer.read(1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
