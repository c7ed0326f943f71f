"""The simulator's clock, which can be advanced or run faster than real time, and conversions of its times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """Returns the time of `source`, running `rate` times as fast since its creation; `advance` moves it."""

    def __init__(self, source: Callable[[], datetime] = utc_now, rate: float = 1) -> None:
        self._source = source
        self._rate = rate
        self._origin = source()
        self._offset = timedelta()

    def now(self) -> datetime:
        return self._origin + (self._source() - self._origin) * self._rate + self._offset

    def now_ms(self) -> int:
        """Return the milliseconds since 1970, the unit of every time in the books."""
        return to_ms(self.now())

    def today_ms(self) -> int:
        """Return midnight UTC of the current date, in milliseconds since 1970."""
        return self.now_ms() // DAY_MS * DAY_MS

    def advance(self, seconds: float) -> None:
        """Move the clock forward or, with a negative number, back."""
        self._offset += timedelta(seconds=seconds)

    def set_rate(self, rate: float) -> None:
        """Change the speed; the current time stays the same."""
        self._offset += self.now() - self._offset - self._source()
        self._origin = self._source()
        self._rate = rate


def to_ms(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def from_ms(timestamp_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp_ms)


def format_instant(timestamp_ms: int) -> str:
    """Return a time of the books as RFC 3339 with milliseconds."""
    return from_ms(timestamp_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def format_date(timestamp_ms: int) -> str:
    """Return the UTC date of a time of the books as `YYYY-MM-DD`."""
    return from_ms(timestamp_ms).date().isoformat()
