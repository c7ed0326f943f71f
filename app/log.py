"""Logs: one line per event, UTC, with the ids of the request or run, and never a secret."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

SECRET_WORDS = ("token", "secret", "password", "authorization", "signature", "signing_key", "code_verifier", "cookie")
HARMLESS = frozenset({"fencing_token"})


def configure_logging(level: str, log_format: str | None) -> None:
    """Send our own and the libraries' records through one chain to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: `console`, `json`, or None for console on a terminal and JSON elsewhere.
    """
    as_text = log_format == "console" or (log_format is None and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if as_text else structlog.processors.JSONRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # httpx logs every request line at INFO, query and all; our own call records say more and leak less.
    for noisy in ("httpx", "httpcore", "apscheduler", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's own processor signature
    """Blank every value whose name says it is a secret, so that a careless log call leaks nothing."""
    for name in event:
        if name not in HARMLESS and any(word in name.lower() for word in SECRET_WORDS):
            event[name] = "[redacted]"
    return event
