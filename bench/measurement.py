"""One measurement beside another, and how measurements are taken."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement beside another. `better` says which way the ratio should go."""

    what: str
    ours: str
    beside: str
    theirs: str
    ratio: float
    better: str = "lower"


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return the seconds it took."""
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def usual(work: Callable[[], Awaitable[object]], times: int = 9) -> float:
    """Return the median of the seconds it took."""
    return median([await timed(work) for _ in range(times)])


async def p95(work: Callable[[int], Awaitable[object]], times: int) -> float:
    """Return the seconds that 95 of 100 took at most; `work` is given its number."""
    spent = []
    for number in range(times):
        began = time.perf_counter()
        await work(number)
        spent.append(time.perf_counter() - began)
    return quantiles(spent, n=20)[-1]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
