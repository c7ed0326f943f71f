"""Alerting rules, dashboard and docs/operations.md agree with each other and with the metrics of the service."""

import json
import re
import shutil
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.api.metrics import Metrics
from app.connections.states import BannerCode
from tests.support.paths import ROOT

RULES = ROOT / "ops" / "alerts.yml"
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
PANELS = json.loads((ROOT / "ops" / "grafana-dashboard.json").read_text())["panels"]
PANEL_EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel.get("targets", [])]
EXPRESSIONS = sorted({alert["expr"] for alert in ALERTS}.union(PANEL_EXPRESSIONS))
GUIDE = (ROOT / "docs" / "operations.md").read_text()
PROMTOOL = shutil.which("promtool")

# Prometheus itself records it for each scrape.
OF_PROMETHEUS = {"up"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
# What of an expression names no metric: texts, label matchers, ranges, and the labels of a grouping.
NO_METRICS = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)')
NAME = re.compile(r"\b[a-z_:][a-z0-9_:]*\b(?!\s*\()")
OPERATORS = {"and", "or", "unless", "by", "without", "on", "ignoring"}


def metric_names(expression):
    """Return the names of an expression that are neither a function nor an operator."""
    text = re.sub(r'"[^"]*"', "", expression)
    return set(NAME.findall(NO_METRICS.sub(" ", text))) - OPERATORS


def test_the_metrics_of_an_expression_are_found():
    expression = 'sum by (le) (rate(a_total{status=~"5.."}[5m])) / max(b{c="}"}) > 0.05 and absent(d)'
    assert metric_names(expression) == {"a_total", "b", "d"}


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
def test_every_metric_of_an_alert_or_a_panel_exists(expression):
    families = text_string_to_metric_families(Metrics().render().decode())
    exposed = {family.name + suffix for family in families for suffix in SUFFIXES[family.type]}
    names = metric_names(expression)
    assert names
    assert names <= exposed | OF_PROMETHEUS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_every_alert_says_what_happened_and_links_to_what_to_do(alert):
    notes = alert["annotations"]
    assert alert["labels"]["severity"] in {"warning", "critical"}
    assert notes["summary"]
    assert notes["description"].endswith(".")
    assert notes["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
    # GitHub makes the anchor of a heading from its lower-case text.
    assert f"\n### {alert['alert']}\n" in GUIDE


def test_the_guide_explains_no_alert_that_does_not_exist():
    assert re.findall(r"^### (Billing\w+)$", GUIDE, re.MULTILINE) == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("code", BannerCode)
def test_the_guide_explains_every_banner_of_the_console(code):
    assert re.search(rf"^\| (?:`\w+`, )*`{code}`[^|]*\| .+ \| .+ \|$", GUIDE, re.MULTILINE)


def test_every_request_that_the_guide_names_exists():
    paths = json.loads((ROOT / "openapi" / "openapi.json").read_text())["paths"]
    named = re.findall(r"`(GET|POST|PUT) (/api/[^`?]+)(?:\?([^`]*))?`", GUIDE)
    assert named
    for method, path, query in named:
        parameters = paths[path][method.lower()].get("parameters", [])
        assert {pair.partition("=")[0] for pair in query.split("&") if pair} <= {one["name"] for one in parameters}


def test_the_panels_of_the_dashboard_have_ids_and_places_of_their_own():
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    taken = [cell for panel in PANELS for cell in cells(panel["gridPos"])]
    assert len(set(taken)) == len(taken)


def cells(place):
    columns = range(place["x"], place["x"] + place["w"])
    return [(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])]


# The tests above read the rules without it, so that a machine that lacks it still finds a wrong metric or heading.
@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed; Debian's package prometheus has it.")
def test_promtool_accepts_the_rules():
    checked = subprocess.run(  # noqa: S603 - a fixed command
        [str(PROMTOOL), "check", "rules", str(RULES)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
