"""Parses the times given in control requests."""

from datetime import UTC, datetime

from simulator.clock import to_ms
from simulator.control.request import InvalidControlRequest


def parse_instant(text: object) -> int:
    """Return `2026-11-22T10:00:00.250Z` in milliseconds since 1970; without a zone it is UTC.

    Raises InvalidControlRequest.
    """
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise InvalidControlRequest(f"{text!r} is not an instant; give one such as 2026-11-22T10:00:00Z.") from error
    return to_ms(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
