"""The table of all comparisons: as aligned text for people, and as JSON for programs."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from bench.result import Comparison, Relation, Samples, format_figure, format_spread

HEADINGS = ("what", "ours", "beside", "its figure", "judged", "must reach", "goal", "verdict")
SEPARATOR = "  "


def render_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table: one line per comparison, a second one for processor time, and the notes below."""
    lines: list[tuple[str, ...]] = [HEADINGS]
    notes: dict[str, int] = {}
    for each in comparisons:
        mark = f" [{notes.setdefault(each.note, len(notes) + 1)}]" if each.note else ""
        lines.append(_main_line(each, mark))
        if each.our_cpu:
            lines.append(_cpu_line(each))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    rule = SEPARATOR.join("-" * width for width in widths)
    rows = [SEPARATOR.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    text = [rows[0].rstrip(), rule, *(row.rstrip() for row in rows[1:])]
    text += [f"[{number}] {note}" for note, number in notes.items()]
    return "\n".join(text)


def render_json(comparisons: Sequence[Comparison], failures: Mapping[str, str], facts: Mapping[str, object]) -> str:
    """Return everything that was measured, with what it was measured on.

    Args:
        comparisons: the lines of the table.
        failures: by the row's name, why it could not be measured.
        facts: what else a reader has to know, such as the size.
    """
    document = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "processor": _processor_name()},
        **facts,
        "comparisons": [_to_json(each) for each in comparisons],
        "failures": dict(failures),
    }
    return json.dumps(document, indent=2)


def _to_json(each: Comparison) -> dict[str, object]:
    fields = asdict(each)
    judged = {"figure": each.figure, "figures": each.figures.values, "cpu_ratio": each.cpu_ratio}
    return {**fields, **judged, "verdict": each.verdict}


def _main_line(each: Comparison, mark: str) -> tuple[str, ...]:
    theirs = "" if each.theirs is None else str(each.theirs)
    judged = _format_judged(each)
    return (each.what + mark, str(each.ours), each.beside, theirs, judged, *_targets(each), each.verdict)


def _cpu_line(each: Comparison) -> tuple[str, ...]:
    theirs = str(Samples(each.their_cpu, "s")) if each.their_cpu else ""
    ratio = "" if each.cpu_ratio is None else format_figure(each.cpu_ratio, "x")
    return ("  its processor time", str(Samples(each.our_cpu, "s")), "", theirs, ratio, "", "", "")


def _format_judged(each: Comparison) -> str:
    """Return the figure of the medians with the spread of the repetitions."""
    if each.theirs is None or each.relation is Relation.ITSELF:
        return ""
    return format_spread(each.figure, each.figures.values, each.figures.unit)


def _targets(each: Comparison) -> tuple[str, str]:
    if each.target is None:
        return "", ""
    sign = ">=" if each.target.is_higher_better else "<="
    unit = each.figures.unit
    goal = "" if each.target.goal is None else f"{sign} {format_figure(each.target.goal, unit)}"
    return f"{sign} {format_figure(each.target.must, unit)}", goal


def _processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def summarise_verdicts(comparisons: Sequence[Comparison], failures: Mapping[str, str]) -> str:
    """Return one sentence with how many of the judged comparisons reached what they must."""
    judged = [each for each in comparisons if each.target]
    missed = [each for each in judged if each.verdict.startswith("NOT")]
    failed = f"; {len(failures)} could not be measured" if failures else ""
    return f"{len(judged) - len(missed)} of {len(judged)} judged figures reach what they must{failed}."
