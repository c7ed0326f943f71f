"""What a benchmark found: repeated figures of ours beside those of a peer or a floor, and what they are judged by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import median, quantiles

from typing_extensions import override

MILLI = 1000.0
WHOLE_NUMBERS_FROM = 100
ONE_DECIMAL_FROM = 10


class Relation(StrEnum):
    """How the figure that is judged follows from ours and the peer's: ours by theirs, ours less theirs, or ours."""

    RATIO = "ratio"
    DIFFERENCE = "difference"
    ITSELF = "itself"


@dataclass(frozen=True, slots=True)
class Samples:
    """The figures of one measurement's repetitions; `unit` is for people, and "s" stands for seconds."""

    values: tuple[float, ...]
    unit: str

    @classmethod
    def of(cls, values: Iterable[float], unit: str) -> "Samples":
        """Return the samples of at least one repetition."""
        found = tuple(values)
        if not found:
            raise ValueError("a measurement needs at least one repetition")
        return cls(found, unit)

    @property
    def median(self) -> float:
        return median(self.values)

    @override
    def __str__(self) -> str:
        """Return the median, and where they differ the least and the greatest, such as `9.10 ms (8.80-12.0)`."""
        return format_spread(self.median, self.values, self.unit)


@dataclass(frozen=True, slots=True)
class Target:
    """What the judged figure must reach, and what it should; a goal of None is no other than `must`."""

    must: float
    goal: float | None = None
    is_higher_better: bool = True

    def is_reached(self, figure: float, bar: float) -> bool:
        return figure >= bar if self.is_higher_better else figure <= bar

    def judge(self, figure: float) -> str:
        """Return `goal met`, `met`, or by how much the figure falls short of `must`."""
        if self.goal is not None and self.is_reached(figure, self.goal):
            return "goal met"
        if self.is_reached(figure, self.must):
            return "met"
        worse, better = (self.must, figure) if self.is_higher_better else (figure, self.must)
        if better <= 0:
            return f"NOT met: {format_figure(figure, '')} instead of {format_figure(self.must, '')}"
        return f"NOT met: by a factor of {worse / better:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the table.

    Attributes:
        row: the name by which `ONLY` picks the benchmark.
        what: what was measured, for people.
        ours: the service's figures.
        beside: the name of the peer or floor; empty where the figure stands for itself.
        theirs: its figures from the same run.
        relation: how the judged figure follows from the two.
        target: what it is judged by; None where it is shown only.
        is_inverted: whether the ratio is theirs by ours, for durations where "times as fast" is asked for.
        our_cpu: seconds of processor time of the service's processes in each repetition; empty where not measured.
        their_cpu: the same of the peer's.
        note: what a reader has to know of the figures.
    """

    row: str
    what: str
    ours: Samples
    beside: str = ""
    theirs: Samples | None = None
    relation: Relation = Relation.RATIO
    target: Target | None = None
    is_inverted: bool = False
    our_cpu: tuple[float, ...] = ()
    their_cpu: tuple[float, ...] = ()
    note: str = ""

    @property
    def figures(self) -> Samples:
        """The judged figure of each repetition, where both have as many, else that of the two medians.

        Its median is that of `ours` related to that of `theirs`; see `figure`.
        """
        if self.theirs is None or self.relation is Relation.ITSELF:
            return self.ours
        if len(self.ours.values) != len(self.theirs.values):
            return Samples((self.figure,), self._unit)
        pairs = zip(self.ours.values, self.theirs.values, strict=True)
        return Samples.of((self._relate(ours, theirs) for ours, theirs in pairs), self._unit)

    @property
    def figure(self) -> float:
        """The judged figure, of the medians."""
        if self.theirs is None or self.relation is Relation.ITSELF:
            return self.ours.median
        return self._relate(self.ours.median, self.theirs.median)

    @property
    def verdict(self) -> str:
        """What the table says in its last column."""
        return self.target.judge(self.figure) if self.target else "shown only"

    @property
    def cpu_ratio(self) -> float | None:
        """The ratio of processor times, of the medians, the same way round as that of the figures where it is inverted.

        None where either was not measured.
        """
        if not self.our_cpu or not self.their_cpu:
            return None
        ours, theirs = median(self.our_cpu), median(self.their_cpu)
        numerator, denominator = (theirs, ours) if self.is_inverted else (ours, theirs)
        return numerator / denominator if denominator else None

    @property
    def _unit(self) -> str:
        return "x" if self.relation is Relation.RATIO else self.ours.unit

    def _relate(self, ours: float, theirs: float) -> float:
        if self.relation is Relation.DIFFERENCE:
            return ours - theirs
        numerator, denominator = (theirs, ours) if self.is_inverted else (ours, theirs)
        return numerator / denominator if denominator else float("inf")


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile from 1 to 99 of at least two values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def format_spread(middle: float, values: Sequence[float], unit: str) -> str:
    """Return a figure with its unit, and where the values differ the least and the greatest of them."""
    scale, unit = _readable(middle, unit)
    low, high = (_format_number(scale * value) for value in (min(values), max(values)))
    text = _format_number(scale * middle) + _with_separator(unit)
    return text if low == high else f"{text} ({low}-{high})"


def format_figure(value: float, unit: str) -> str:
    """Return a figure with its unit for people; seconds below one as milliseconds."""
    return format_spread(value, [value], unit)


def _readable(value: float, unit: str) -> tuple[float, str]:
    """Return the factor and the unit in which a figure of this size is read easily."""
    return (MILLI, "ms") if unit == "s" and abs(value) < 1 else (1, unit)


def _format_number(value: float) -> str:
    if abs(value) >= WHOLE_NUMBERS_FROM or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= ONE_DECIMAL_FROM else f"{value:.2f}"


def _with_separator(unit: str) -> str:
    return unit if unit.startswith("/") or not unit else f" {unit}"
