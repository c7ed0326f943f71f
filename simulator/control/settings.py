"""Control operations on the simulator itself: reset, options, clock and rate limits."""

from dataclasses import asdict, fields
from typing import Any

import msgspec

from simulator.clock import format_instant
from simulator.control.request import ControlRequest, InvalidControlRequest
from simulator.options import SimulatorOptions


class ClockChange(msgspec.Struct, forbid_unknown_fields=True):
    """A change of the clock: seconds to advance it by, and its new speed relative to real time."""

    advance_seconds: float = 0.0
    rate: float | None = None


class Usage(msgspec.Struct, forbid_unknown_fields=True):
    """Calls to count against a tenant's day and minute limits."""

    tenant_id: str
    day: int = 0
    minute: int = 0


async def reset_state(request: ControlRequest) -> object:
    """Reset the simulator, with its current options except for those in the body."""
    request.state.reset(merge_options(request.state.options, request.body))
    return asdict(request.state.options)


async def read_options(request: ControlRequest) -> object:
    """All options with their current values."""
    return asdict(request.state.options)


async def change_options(request: ControlRequest) -> object:
    """Change any option at once; row counts and the seed take effect at the next reset."""
    merged = merge_options(request.state.options, request.body)
    request.state.change_options(**{name: getattr(merged, name) for name in request.body})
    return asdict(request.state.options)


async def read_clock(request: ControlRequest) -> object:
    """The simulator's time."""
    return {"now": format_instant(request.state.clock.now_ms())}


async def change_clock(request: ControlRequest) -> object:
    """Advance the clock by `advance_seconds`, and run it `rate` times as fast from now on."""
    change = request.parse_body(ClockChange)
    if change.rate is not None:
        request.state.clock.set_rate(change.rate)
    request.state.clock.advance(change.advance_seconds)
    return await read_clock(request)


async def add_usage(request: ControlRequest) -> object:
    """Count calls that were never made, so that a tenant reaches its day or minute limit at once."""
    usage = request.parse_body(Usage)
    request.state.limits.add_usage(request.books(usage.tenant_id).tenant_id, day=usage.day, minute=usage.minute)
    return dict(request.state.limits.headers(usage.tenant_id))


async def reset_limits(request: ControlRequest) -> object:
    """Forget all calls counted against the limits."""
    request.state.limits.reset()
    return {}


def merge_options(options: SimulatorOptions, changes: dict[str, Any]) -> SimulatorOptions:
    """Return the options with these changes. Raises InvalidControlRequest for unknown names and invalid values."""
    unknown = set(changes) - {field.name for field in fields(options)}
    if unknown:
        names = ", ".join(sorted(unknown))
        raise InvalidControlRequest(f"There is no option {names}; GET /_control/options lists them.")
    try:
        return msgspec.convert(asdict(options) | changes, SimulatorOptions)
    except msgspec.ValidationError as error:
        raise InvalidControlRequest(f"This option does not fit: {error}.") from error
