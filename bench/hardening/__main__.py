"""`make hardening`: does to the service what hostile and heavy clients do, and prints a table of what it withstood."""

import asyncio
import sys

from rich.console import Console
from rich.table import Table

from bench.environment import free_port
from bench.hardening import connections, contention
from bench.hardening.result import Result
from bench.hardening.service import run_database, serve

TABLE_WIDTH = 150
SHUTDOWN_PROMISE_SECONDS = 5.0
LIMIT_SECONDS = 120


async def main() -> int:
    """Run every measurement and print the table; return 1 when a promise was not kept, else 0."""
    async with asyncio.timeout(LIMIT_SECONDS), run_database() as dsn:
        async with serve(dsn, free_port()) as served:
            results = [await connections.measure_headers(served)]
            results += [await contention.measure_flood(served), await contention.measure_deliveries(served)]
            results += await connections.measure_slow(served)
            results.append(_shutdown_result("SIGTERM: ended after", await served.stop()))
        results += await connections.measure_silent_sockets(dsn, free_port())
        async with serve(dsn, free_port(), "--workers", "2") as served:
            results.append(_shutdown_result("SIGTERM with two workers: ended after", await served.stop()))
    _print(results)
    return int(not all(result.is_kept for result in results))


def _shutdown_result(name: str, stopped: tuple[float, int]) -> Result:
    seconds, status = stopped
    is_kept = seconds <= SHUTDOWN_PROMISE_SECONDS and status == 0
    return Result(name, f"{seconds:.1f} s with status {status}", "at most 5 s, status 0", is_kept)


def _print(results: list[Result]) -> None:
    table = Table(title="What the service withstands, without a proxy", title_justify="left", header_style="dim")
    for column in ("what was done", "measured", "promised", ""):
        table.add_column(column)
    for result in results:
        table.add_row(result.name, result.measured, result.promise, "[green]✓[/]" if result.is_kept else "[red]✗[/]")
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
