"""Progress bars of a running sync, one per organisation and resource."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class ProgressBars:
    """Draws the progress of a run from its progress events.

    Args:
        console: where to draw; one that is no terminal gets a line per completed bar.
        tenant_names: the organisations' names by tenant id.
    """

    def __init__(self, console: Console, tenant_names: Mapping[str, str]) -> None:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("rows", style="dim"),
            TimeElapsedColumn(),
        )
        self._tenant_names = tenant_names
        self._bars: dict[tuple[str, str], TaskID] = {}
        self._progress = Progress(*columns, console=console)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def add_page(self, event: Mapping[str, Any]) -> None:
        """Advance the bar of a resource by a page.

        Args:
            event: the data of a progress event of kind `page`.
        """
        bar = self._bar_of(event)
        self._progress.advance(bar, event["rows"])
        if event["is_complete"]:
            completed = self._progress.tasks[self._progress.task_ids.index(bar)].completed
            self._progress.update(bar, total=completed or 1, completed=completed or 1)

    def _bar_of(self, event: Mapping[str, Any]) -> TaskID:
        key = (event["tenant_id"], event["resource"])
        if key not in self._bars:
            name = self._tenant_names.get(event["tenant_id"], event["tenant_id"])
            label = f"{name:<28} {event['resource'].replace('_', ' '):<13}"
            self._bars[key] = self._progress.add_task(label, total=event["row_estimate"])
        return self._bars[key]
