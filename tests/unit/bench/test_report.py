"""The table and the JSON hold every comparison with its verdict."""

import json

from bench.report import render_json, render_table, summarise_verdicts
from bench.result import Comparison, Relation, Samples, Target

LOAD = Comparison(
    row="first-load",
    what="first load",
    ours=Samples.of([4000, 5000], "rows/s"),
    beside="the loop",
    theirs=Samples.of([18_000, 18_000], "rows/s"),
    target=Target(0.8, 1.3),
    our_cpu=(3.0, 3.2),
    their_cpu=(1.0, 1.1),
    note="Limits are lifted.",
)
WRITTEN = Comparison(
    row="re-read",
    what="rows written",
    ours=Samples.of([0], "rows"),
    relation=Relation.ITSELF,
    target=Target(0, is_higher_better=False),
    note="Limits are lifted.",
)


def test_the_table_is_aligned_and_shows_figure_spread_targets_and_verdict():
    lines = render_table([LOAD, WRITTEN]).splitlines()

    assert lines[2].split("  ")[0] == "first load [1]"
    for text in ("4,500 rows/s", "0.25 x (0.22-0.28)", ">= 0.80 x", ">= 1.30 x", "NOT met: by a factor of 3.20"):
        assert text in lines[2]
    assert "its processor time" in lines[3]
    assert "2.95 x" in lines[3]
    assert lines[4].endswith("met")
    column = lines[0].index("verdict")
    assert lines[2][column:].startswith("NOT")
    assert lines[4][column:] == "met"


def test_a_note_is_printed_once_below_the_table():
    assert render_table([LOAD, WRITTEN]).count("Limits are lifted.") == 1


def test_the_json_holds_the_repetitions_the_judged_figure_and_what_failed():
    document = json.loads(render_json([LOAD], {"webhooks": "no port"}, {"size": "quick"}))

    [comparison] = document["comparisons"]
    assert comparison["ours"] == {"values": [4000, 5000], "unit": "rows/s"}
    assert comparison["figure"] == 0.25
    assert comparison["verdict"].startswith("NOT met")
    assert document["failures"] == {"webhooks": "no port"}
    assert document["size"] == "quick"
    assert document["machine"]["cores"] >= 1


def test_the_last_sentence_counts_what_was_reached_and_what_failed():
    assert summarise_verdicts([LOAD, LOAD, WRITTEN], {"x": "y"}) == (
        "1 of 3 judged figures reach what they must; 1 could not be measured."
    )
