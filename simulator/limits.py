"""Xero's rate limits: concurrent calls, calls per minute and day of each tenant, calls per minute of the whole app."""

from dataclasses import dataclass, field
from math import ceil

from simulator.clock import DAY_MS, Clock
from simulator.options import SimulatorOptions
from simulator.wire.errors import LimitProblem

MINUTE_MS = 60_000
_APP = "app"


@dataclass(slots=True)
class Window:
    """A fixed window of `length` milliseconds that starts at `offset`, and the calls counted in it."""

    length: int
    offset: int
    number: int = -1
    used: int = 0

    def advance_to(self, now: int) -> "Window":
        """Reset the count if a new window has begun by `now`."""
        number = (now - self.offset) // self.length
        if number != self.number:
            self.number, self.used = number, 0
        return self

    def seconds_left(self, now: int) -> int:
        """Return the whole seconds until the next window begins, at least 1."""
        end = (self.number + 1) * self.length + self.offset
        return max(1, ceil((end - now) / 1000))


@dataclass(slots=True)
class Limits:
    """Counts calls and decides which are over a limit.

    As at Xero, the windows of different tenants begin at different times.
    """

    clock: Clock
    options: SimulatorOptions
    _windows: dict[tuple[str, int], Window] = field(default_factory=dict)

    def admit(self, tenant_id: str, in_flight: int) -> tuple[LimitProblem, int | None] | None:
        """Count a call and return None, or return the exceeded limit and the seconds of its Retry-After.

        A refused call is not counted.
        """
        if not self.options.limits_enabled:
            return None
        now = self.clock.now_ms()
        if in_flight > self.options.concurrent_limit:
            return "concurrent", None
        day, minute, app = self._windows_of(tenant_id, now)
        if day.used >= self.options.day_limit:
            return "day", day.seconds_left(now)
        if minute.used >= self.options.minute_limit:
            return "minute", minute.seconds_left(now)
        if app.used >= self.options.app_minute_limit:
            return "appminute", None
        for window in (day, minute, app):
            window.used += 1
        return None

    def headers(self, tenant_id: str) -> list[tuple[str, str]]:
        """Return the headers of every accounting response that state the remaining calls."""
        day, minute, app = self._windows_of(tenant_id, self.clock.now_ms())
        return [
            ("X-DayLimit-Remaining", str(max(0, self.options.day_limit - day.used))),
            ("X-MinLimit-Remaining", str(max(0, self.options.minute_limit - minute.used))),
            ("X-AppMinLimit-Remaining", str(max(0, self.options.app_minute_limit - app.used))),
        ]

    def add_usage(self, tenant_id: str, *, day: int = 0, minute: int = 0) -> None:
        """Count calls that were never made, so that a test reaches a limit at once."""
        windows = self._windows_of(tenant_id, self.clock.now_ms())
        windows[0].used += day
        windows[1].used += minute

    def reset(self) -> None:
        """Forget all counted calls."""
        self._windows = {}

    def _windows_of(self, tenant_id: str, now: int) -> tuple[Window, Window, Window]:
        return (
            self._window(tenant_id, DAY_MS).advance_to(now),
            self._window(tenant_id, MINUTE_MS).advance_to(now),
            self._window(_APP, MINUTE_MS).advance_to(now),
        )

    def _window(self, name: str, length: int) -> Window:
        window = self._windows.get((name, length))
        if window is None:
            offset = sum(name.encode()) * 7919 % length
            window = self._windows[name, length] = Window(length, offset)
        return window
