"""Progress bars: few however many organisations, and all of them counted."""

import io

from rich.console import Console

from app.cli.progress_bars import MOST_RUNNING, ProgressBars


def page(number, rows=10, resource="invoices", estimate=100):
    return {"tenant_id": f"t{number}", "resource": resource, "rows": rows, "row_estimate": estimate}


def test_only_so_many_organisations_are_drawn_and_the_next_one_takes_the_place_of_a_finished_one():
    bars = ProgressBars(Console(file=io.StringIO()), {}, 120)
    for number in range(120):
        bars.add_page(page(number))
    assert bars.shown == [f"t{number}" for number in range(MOST_RUNNING)]
    bars.finish(["t3", "t90"])
    bars.add_page(page(90))
    bars.add_page(page(100))
    assert bars.shown == [f"t{number}" for number in (0, 1, 2, 4, 5, 6, 7, 100)]


def test_an_organisations_bar_counts_the_rows_of_all_its_resources_and_all_are_counted_at_the_end():
    output = io.StringIO()
    bars = ProgressBars(Console(file=output, width=120, force_terminal=True), {"t1": "Tui Brewing"}, 2)
    with bars:
        bars.add_page(page(1, rows=10, estimate=100))
        bars.add_page(page(1, rows=7, resource="contacts", estimate=50))
        bars.add_page(page(1, rows=3, estimate=None))
    assert "Tui Brewing" in output.getvalue()
    assert "20/150" in output.getvalue()
    output.truncate(0)
    with bars:
        bars.finish(["t1", "t2"])
    assert "2/2" in output.getvalue()
