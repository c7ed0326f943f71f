"""The result of a benchmark beside its baseline, and functions that measure durations in seconds."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a benchmark and of its baseline, formatted with their unit.

    `ratio` relates the two; `better` says whether a "lower" or a "higher" ratio is better.
    """

    benchmark: str
    result: str
    baseline: str
    baseline_result: str
    ratio: float
    better: str = "lower"


async def measure_seconds(operation: Callable[[], Awaitable[object]]) -> float:
    """Return the duration of one execution, in seconds."""
    started = time.perf_counter()
    await operation()
    return time.perf_counter() - started


async def measure_median(operation: Callable[[], Awaitable[object]], times: int = 9) -> float:
    """Return the median duration of several executions, in seconds."""
    return median([await measure_seconds(operation) for _ in range(times)])


async def measure_p95(operation: Callable[[int], Awaitable[object]], times: int) -> float:
    """Return the 95th percentile of the durations, in seconds; `operation` receives the number of the execution."""
    durations = []
    for number in range(times):
        started = time.perf_counter()
        await operation(number)
        durations.append(time.perf_counter() - started)
    return quantiles(durations, n=20)[-1]


def format_ms(seconds: float) -> str:
    """Return a duration in milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def format_rate(count: int, seconds: float, unit: str = "") -> str:
    """Return a count per second, such as `1,200 rows/s`."""
    return f"{count / seconds:,.0f} {unit}/s" if unit else f"{count / seconds:,.0f}/s"
