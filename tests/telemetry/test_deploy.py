"""The dashboard for Grafana and the alerts for Prometheus ask only for what there is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from aq.outcome import AttemptStatus, ErrorType
from aq.task import FailureReason
from aq.telemetry.catalogue import CATALOGUE, Kind, Metric
from aq.telemetry.metrics import NONE, STATES
from aq.totals import ERRORS
from tests.engine.support import up
from tests.telemetry.scrape import scraped
from tests.telemetry.test_metrics import PAGE

DEPLOY: Final = PAGE.parent.parent / "deploy"
DASHBOARD: Final[dict[str, Any]] = json.loads((DEPLOY / "grafana/aq.json").read_text())
ALERTS: Final[list[dict[str, Any]]] = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
FUNCTIONS: Final = {
    *("sum", "max", "min", "by", "on", "unless", "ignoring", "up", "rate", "increase", "changes", "abs"),
    "histogram_quantile",
}
OF_PROMETHEUS: Final = {"instance", "job", "up"}
VARIABLE: Final = "a variable of the dashboard"
VALUES: Final[dict[tuple[str, str], set[str]]] = {
    ("aq_attempts_total", "status"): {*AttemptStatus},
    ("aq_attempts_total", "error_type"): {NONE, *ErrorType},
    ("aq_callback_attempts_total", "status"): {*AttemptStatus},
    ("aq_tasks_finished_total", "status"): {"completed", "failed"},
    ("aq_tasks_finished_total", "reason"): {"ok", *FailureReason},
    ("aq_tasks", "state"): {*STATES},
    ("aq_storage_errors_total", "kind"): {*ERRORS},
    ("aq_http_requests_total", "status"): {"500", "503"},
}
"""What a label may be, where an expression names a value."""


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def expressions() -> Iterator[tuple[str, str]]:
    """(where, expression)."""
    for panel in panels():
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            assert asked[2] == variable["name"]
            yield VARIABLE, f"max by ({asked[2]}) ({asked[1]})"
    for note in DASHBOARD["annotations"]["list"]:
        yield note["name"], note["expr"]
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]


def metric_of(name: str) -> Metric | None:
    """The metric that a series belongs to: of a histogram there are three."""
    for metric in CATALOGUE:
        ends = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        if name in [metric.name + end for end in ends]:
            return metric
    return None


@pytest.mark.parametrize(("where", "expression"), [*expressions()], ids=lambda it: it[:40])
async def test_an_expression_asks_for_what_there_is(where: str, expression: str) -> None:
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")
    series = re.findall(r"\b(aq_\w+|process_\w+|up\b)(?:\{(.*?)\})?(\[)?", expression)
    assert series
    labels: set[str] = set()
    for name, matchers, ranged in series:
        if not name.startswith("aq_"):
            async with up() as engine:
                assert name.removesuffix("_total") in [*OF_PROMETHEUS, *(await scraped(engine)).families]
            continue
        metric = metric_of(name)
        assert metric is not None, name
        labels |= {*metric.labels, *(["le"] if metric.kind is Kind.HISTOGRAM else [])}
        if metric.kind is not Kind.GAUGE and where != VARIABLE:
            assert ranged, f"{name} only rises: ask for its rate"
        for label, how, value in re.findall(r'(\w+)(!?=~?)"(.*?)"', matchers):
            assert label in {*metric.labels, *OF_PROMETHEUS}, (name, label)
            if not value.startswith("$"):
                known = VALUES[metric.name, label]
                assert any(re.fullmatch(value, it) for it in known), (name, how, value)
    grouped = re.findall(r"\b(?:by|on|ignoring) \((.*?)\)", expression)
    for label in re.split(r", ?", ", ".join(grouped)) if grouped else []:
        assert label in labels | OF_PROMETHEUS, label


@pytest.mark.parametrize(("where", "expression"), [*expressions()], ids=lambda it: it[:40])
def test_an_expression_has_no_word_that_is_not_known(where: str, expression: str) -> None:
    bare = re.sub(r"(?<=\b(by|on)) \(.*?\)|(?<=ignoring) \(.*?\)", " ", expression)
    bare = re.sub(r"\{.*?\}|\[.*?\]|\b(?:aq|process)_\w+", " ", bare)
    assert set(re.findall(r"[a-z_]+", bare)) <= FUNCTIONS


def test_the_dashboard_is_whole() -> None:
    """Each panel has an id of its own, a data source that is chosen, and a place that no other has."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) > 20
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for panel in panels():
        assert {panel["datasource"]["uid"], *(it["datasource"]["uid"] for it in panel["targets"])} == {
            "${datasource}"
        }
        assert panel["title"]


def test_the_dashboard_begins_with_lateness() -> None:
    assert "aq_task_lateness_seconds" in next(panels())["targets"][0]["expr"]


def test_each_alert_says_what_is_wrong_and_how_bad_it_is() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS) > 9
    for rule in ALERTS:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        grouped = re.findall(r"by \((.*?)\)", rule["expr"])
        metric = metric_of(re.findall(r"aq_\w+|$", rule["expr"])[0])
        there = {*metric.labels, "instance"} if metric else {"instance"}
        assert told <= (set(grouped[0].split(", ")) if grouped else there), rule["alert"]


def test_the_page_names_each_alert() -> None:
    page = PAGE.read_text()
    assert [rule["alert"] for rule in ALERTS if f"`{rule['alert']}`" not in page] == []
