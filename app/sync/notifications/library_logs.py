"""What the libraries that send messages log: kept out of every log, and read only to find out why a message failed.

An address is a secret, and these libraries log whole addresses, or parts of them.
"""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from typing_extensions import override

LIBRARIES = ("apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib")


class _Capture(logging.Handler):
    """Keeps the records of a thread that asked for them, and drops all others.

    Apprise can collect them too, but it adds and removes a handler for each message, and Python may skip another
    thread's handler meanwhile. This one stays.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.of_thread = threading.local()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        kept: list[str] | None = getattr(self.of_thread, "kept", None)
        if kept is not None:
            kept.append(record.getMessage())


_CAPTURE = _Capture()


def silence_libraries() -> None:
    """Keep the records of these libraries out of every log. May be called again."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        # Without a handler of its own, a logger's records would reach Python's last resort, which prints them.
        logger.addHandler(_CAPTURE)


@contextmanager
def captured_warnings() -> Iterator[list[str]]:
    """Return the warnings that these libraries log in this thread. They may contain secrets."""
    kept: list[str] = []
    _CAPTURE.of_thread.kept = kept
    try:
        yield kept
    finally:
        _CAPTURE.of_thread.kept = None
