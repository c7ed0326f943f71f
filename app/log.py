"""Logging: one line per event, in UTC, with the ids of the request or run; values of secrets are redacted by name."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

# A field whose name contains one of these is redacted.
SECRET_NAME_PARTS = (
    "token",
    "secret",
    "password",
    "authorization",
    "signature",
    "signing_key",
    "code_verifier",
    "cookie",
)
# Fields whose name contains one of those parts although their value is no secret.
NOT_SECRET = frozenset({"fencing_token"})


def configure_logging(level: str, log_format: str | None) -> None:
    """Send the records of this package and of its libraries through the same processors to stderr.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        log_format: `console`, `json`, or None for `console` on a terminal and `json` elsewhere.
    """
    is_console = log_format == "console" or (log_format is None and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if is_console else structlog.processors.JSONRenderer()
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
    # httpx logs every request's URL with its query string at INFO. Our own records of calls contain more and leak less.
    for logger_name in ("httpx", "httpcore", "apscheduler", "uvicorn.access"):
        logging.getLogger(logger_name).setLevel(logging.WARNING)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:  # noqa: ANN401 - structlog's own processor signature
    """Replace every value whose name says it is a secret, so that no log call can leak one by mistake."""
    for name in event:
        if name not in NOT_SECRET and any(part in name.lower() for part in SECRET_NAME_PARTS):
            event[name] = "[redacted]"
    return event
