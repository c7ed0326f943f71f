"""A clock for the simulator in tests."""

from datetime import UTC, datetime, timedelta


class ManualClock:
    """A clock that moves only when it is advanced."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
