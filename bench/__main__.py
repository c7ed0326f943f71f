"""`make bench`: runs all benchmarks and prints a table of the results, their baselines and the ratios."""

import asyncio

from rich.console import Console
from rich.table import Table

from bench import decoding, fairness, summary, sync, webhooks
from bench.environment import ROWS, run_service, run_simulator
from bench.measurement import Measurement

TABLE_WIDTH = 150


async def main() -> None:
    """Run the benchmarks of one organisation, then those of many, and print the results."""
    with run_simulator() as xero_url:
        async with run_service(xero_url) as service:
            [tenant_id] = await service.connect()
            measurements = [await decoding.measure(service, tenant_id), *await sync.measure(service, tenant_id)]
            measurements += [await webhooks.measure(service, tenant_id), await summary.measure(service)]
    measurements += await fairness.measure()
    _print(measurements)


def _print(measurements: list[Measurement]) -> None:
    title = f"One organisation with {ROWS:,} rows in the simulated Xero, bills among them"
    table = Table(title=title, title_justify="left", header_style="dim")
    for column in ("benchmark", "result", "baseline", "its result"):
        table.add_column(column)
    table.add_column("ratio", justify="right")
    for row in measurements:
        table.add_row(
            row.benchmark, row.result, row.baseline, row.baseline_result, f"{row.ratio:.2f} ({row.better} is better)"
        )
    # Printing at this width even into a pipe or a narrow terminal keeps each result on one line.
    Console(width=max(Console().width, TABLE_WIDTH)).print(table)


if __name__ == "__main__":
    asyncio.run(main())
