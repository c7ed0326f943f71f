"""Reads instants that control requests name."""

from datetime import UTC, datetime

from simulator.clock import to_ms
from simulator.control.request import Refused


def parse_instant(text: object) -> int:
    """`2026-11-22T10:00:00.250Z` in milliseconds; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise Refused(f"{text!r} is not an instant; give one such as 2026-11-22T10:00:00Z.") from error
    return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
