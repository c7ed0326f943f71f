"""The pretend Xero's own clock: the given one, moved forward or made to run faster."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Reads `source`, runs `rate` times as fast from the moment it was made, and can be advanced."""

    def __init__(self, source: Callable[[], datetime] = utc_now, rate: float = 1) -> None:
        self._source = source
        self._rate = rate
        self._origin = source()
        self._offset = timedelta()

    def now(self) -> datetime:
        return self._origin + (self._source() - self._origin) * self._rate + self._offset

    def now_ms(self) -> int:
        """Milliseconds since 1970, the unit of every stamp in the books."""
        return to_ms(self.now())

    def today_ms(self) -> int:
        """Midnight UTC of the current date."""
        return self.now_ms() // DAY_MS * DAY_MS

    def advance(self, seconds: float) -> None:
        """Jump forward (or, with a negative number, back)."""
        self._offset += timedelta(seconds=seconds)

    def run_at(self, rate: float) -> None:
        """Change the speed from now on without a jump."""
        self._offset += self.now() - self._offset - self._source()
        self._origin = self._source()
        self._rate = rate


def to_ms(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def from_ms(stamp: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=stamp)


def iso(stamp: int) -> str:
    """An instant of the books as RFC 3339 with milliseconds."""
    return from_ms(stamp).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_date(stamp: int) -> str:
    return from_ms(stamp).date().isoformat()
