"""`make bench`: measures every row, prints the table with what each must reach, and writes it as JSON.

`QUICK=1` measures smaller sizes in minutes; `ONLY=webhooks,tick` measures some rows.
"""

import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from bench.context import Bench, tell
from bench.database import run_postgres
from bench.report import render_json, render_table, summarise_verdicts
from bench.result import Comparison
from bench.rows import (
    alerts,
    capacity,
    decoding,
    fairness,
    first_load,
    freshness,
    memory,
    paced_load,
    quiet_tick,
    re_read,
    replicas,
    summaries,
    tick_growth,
    webhooks,
)
from bench.sizes import FULL, QUICK

RESULTS = Path(".data/bench")
Measure = Callable[[Bench], Awaitable[list[Comparison]]]
MODULES = (
    first_load,
    paced_load,
    re_read,
    webhooks,
    freshness,
    summaries,
    alerts,
    quiet_tick,
    tick_growth,
    memory,
    replicas,
    capacity,
    fairness,
    decoding,
)
ROWS: Mapping[str, Measure] = {module.NAME: module.measure for module in MODULES}


async def main(only: Sequence[str], *, is_quick: bool) -> int:
    """Measure the rows, print and store what was found; return 1 when one could not be measured, else 0."""
    comparisons: list[Comparison] = []
    failures: dict[str, str] = {}
    async with run_postgres() as postgres, aclosing(Bench(QUICK if is_quick else FULL, postgres)) as bench:
        for name in only or ROWS:
            started = time.perf_counter()
            tell(f"{name} ...")
            try:
                comparisons += await ROWS[name](bench)
            except Exception as error:  # noqa: BLE001 - one row that fails must not lose the others; it is reported
                traceback.print_exc()
                failures[name] = f"{type(error).__name__}: {error}"
            tell(f"{name}: {time.perf_counter() - started:.0f} s")
    _print(comparisons, failures)
    _store(render_json(comparisons, failures, {"size": "quick" if is_quick else "full", "rows": list(only or ROWS)}))
    return int(bool(failures))


def _print(comparisons: Sequence[Comparison], failures: Mapping[str, str]) -> None:
    lines = [render_table(comparisons), *(f"{name} could not be measured: {text}" for name, text in failures.items())]
    print("\n".join([*lines, summarise_verdicts(comparisons, failures)]))  # noqa: T201 - what the command is for


def _store(document: str) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(document, encoding="utf-8")
    tell(f"stored in {path}")


def _names(given: str) -> list[str]:
    """Return the names of the rows to measure. Raises SystemExit for one that there is not."""
    names = [name for name in given.replace(",", " ").split() if name]
    if unknown := sorted(set(names) - set(ROWS)):
        sys.exit(f"ONLY: there is no row {', '.join(unknown)}; the rows are {', '.join(ROWS)}.")
    return names


if __name__ == "__main__":
    sys.exit(uvloop.run(main(_names(os.environ.get("ONLY", "")), is_quick=bool(os.environ.get("QUICK")))))
