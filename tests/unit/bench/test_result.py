"""Ratios, spreads and verdicts are computed from the repetitions."""

import pytest

from bench.result import Comparison, Relation, Samples, Target, format_figure, percentile


def rates(*values):
    return Samples.of(values, "rows/s")


def seconds(*values):
    return Samples.of(values, "s")


def compare(ours, theirs=None, **more):
    return Comparison(row="r", what="w", ours=ours, theirs=theirs, **more)


def test_the_ratio_is_of_the_medians_and_its_spread_of_the_repetitions():
    compared = compare(rates(50, 10, 30), rates(100, 40, 60))

    assert compared.figure == 0.5
    assert compared.figures.values == (0.5, 0.25, 0.5)


def test_an_inverted_ratio_says_how_many_times_as_fast_a_duration_is():
    assert compare(seconds(0.5), seconds(10), is_inverted=True).figure == 20


def test_repetitions_that_do_not_pair_give_one_ratio():
    assert compare(seconds(3, 1, 2), seconds(4)).figures.values == (0.5,)


def test_a_difference_is_ours_less_theirs():
    compared = compare(seconds(0.75), seconds(0.5), relation=Relation.DIFFERENCE)

    assert compared.figure == 0.25
    assert compared.figures.unit == "s"


def test_a_figure_without_a_peer_stands_for_itself():
    compared = compare(Samples.of([0], "rows"), relation=Relation.ITSELF, target=Target(0, is_higher_better=False))

    assert compared.verdict == "met"


@pytest.mark.parametrize(
    ("figure", "target", "verdict"),
    [
        (1.4, Target(0.8, 1.3), "goal met"),
        (0.8, Target(0.8, 1.3), "met"),
        (0.25, Target(0.8, 1.3), "NOT met: by a factor of 3.20"),
        (2.9, Target(6, 3, is_higher_better=False), "goal met"),
        (6.0, Target(6, 3, is_higher_better=False), "met"),
        (9.0, Target(6, 3, is_higher_better=False), "NOT met: by a factor of 1.50"),
        (7.0, Target(0, is_higher_better=False), "NOT met: 7 instead of 0"),
        (0.0, Target(0.8), "NOT met: 0 instead of 0.80"),
    ],
)
def test_the_verdict_says_how_far_a_figure_is_from_what_it_must_reach(figure, target, verdict):
    assert target.judge(figure) == verdict


def test_without_a_target_a_figure_is_only_shown():
    assert compare(rates(1), rates(2)).verdict == "shown only"


def test_processor_time_is_compared_by_its_medians():
    assert compare(rates(1), rates(1), our_cpu=(3.0, 9.0, 6.0), their_cpu=(2.0,)).cpu_ratio == 3
    assert compare(rates(1), rates(1), our_cpu=(3.0,)).cpu_ratio is None
    assert compare(seconds(1), seconds(1), our_cpu=(2.0,), their_cpu=(8.0,), is_inverted=True).cpu_ratio == 4


def test_a_measurement_without_repetitions_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        Samples.of([], "s")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0091, "s", "9.10 ms"),
        (2.5, "s", "2.50 s"),
        (18_470.3, "rows/s", "18,470 rows/s"),
        (3290, "/s", "3,290/s"),
        (0.254, "x", "0.25 x"),
        (40, "", "40"),
    ],
)
def test_figures_are_formatted_with_their_unit(value, unit, text):
    assert format_figure(value, unit) == text


def test_samples_show_their_median_and_their_spread():
    assert str(rates(100, 300, 200)) == "200 rows/s (100-300)"
    assert str(rates(100)) == "100 rows/s"
    assert str(seconds(0.9, 1.2, 0.5)) == "900 ms (500-1,200)"


def test_percentiles_lie_within_the_values():
    assert percentile(range(1, 102), 95) == 96
