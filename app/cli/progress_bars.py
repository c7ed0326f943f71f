"""Progress bars of a running sync, one per organisation and resource."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressBars:
    """Draws the steps of a run as they are told.

    Args:
        console: where to draw; not a terminal gets a line per finished bar instead.
        names: organisations' names by id.
    """

    def __init__(self, console: Console, names: Mapping[str, str]) -> None:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("rows", style="dim"),
            TimeElapsedColumn(),
        )
        self._console = console
        self._names = names
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._progress = Progress(*columns, console=console)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def draw(self, step: Mapping[str, Any]) -> None:
        """Take a step of kind `page` in."""
        key = (step["tenant_id"], step["resource"])
        if key not in self._bars:
            name = self._names.get(step["tenant_id"], step["tenant_id"])
            label = f"{name:<28} {step['resource'].replace('_', ' '):<13}"
            self._bars[key] = self._progress.add_task(label, total=step["row_estimate"])
        bar = self._bars[key]
        self._progress.advance(bar, step["rows"])
        if step["is_complete"]:
            done = self._progress.tasks[self._progress.task_ids.index(bar)].completed
            self._progress.update(bar, total=done or 1, completed=done or 1)
