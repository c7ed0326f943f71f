"""Progress bars of a running sync: one for all organisations, and one for each of the few that are shown running."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

# Organisations shown at a time: more would scroll by unread, and drawing them would take longer than syncing them.
MOST_RUNNING = 8
DRAWINGS_PER_SECOND = 4


class ProgressBars:
    """Draws the progress of a run from its progress events.

    Args:
        console: where to draw; one that is no terminal gets the bars once, when the run has ended.
        tenant_names: the organisations' names by tenant id.
        organisations: how many the run covers.
    """

    def __init__(self, console: Console, tenant_names: Mapping[str, str], organisations: int) -> None:
        columns = (
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}", justify="left"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}", style="dim"),
            TimeElapsedColumn(),
        )
        self._tenant_names = tenant_names
        self._finished: set[str] = set()
        self._bars: dict[str, TaskID] = {}
        # By organisation and resource: the rows of its first pull, as the vendor counts them.
        self._estimates: dict[str, dict[str, int]] = defaultdict(dict)
        self._progress = Progress(*columns, console=console, refresh_per_second=DRAWINGS_PER_SECOND)
        self._overall = self._progress.add_task(f"{'All':<28}", total=organisations, unit="organisations")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def shown(self) -> list[str]:
        """The tenant ids of the organisations that have a bar of their own."""
        return list(self._bars)

    def add_page(self, event: Mapping[str, Any]) -> None:
        """Advance the bar of an organisation by a page, if it has one or fewer than `MOST_RUNNING` have.

        Args:
            event: the data of a progress event of kind `page`.
        """
        tenant_id = event["tenant_id"]
        if tenant_id in self._finished:
            return
        if tenant_id not in self._bars and len(self._bars) < MOST_RUNNING:
            name = self._tenant_names.get(tenant_id, tenant_id)
            self._bars[tenant_id] = self._progress.add_task(f"{name[:28]:<28}", total=None, unit="rows")
        if bar := self._bars.get(tenant_id):
            if event["row_estimate"]:
                self._estimates[tenant_id][event["resource"]] = event["row_estimate"]
            self._progress.update(bar, advance=event["rows"], total=sum(self._estimates[tenant_id].values()) or None)

    def finish(self, tenant_ids: Collection[str]) -> None:
        """Show that the run is done with these organisations, those told before included; their own bars end."""
        self._finished |= set(tenant_ids)
        for tenant_id in self._finished & self._bars.keys():
            self._progress.remove_task(self._bars.pop(tenant_id))
        self._progress.update(self._overall, completed=len(self._finished))
