"""Rules and dashboard speak of metrics that a process really exports, and promtool agrees with the rules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

SCRAPED = {"job", "instance"}
NAME = re.compile(r"\blayerzero_\w+")
WORDS = re.compile(r"(?:by|without) \(([^)]*)\)|([a-z_]+)=~?\"")


@pytest.fixture(scope="module")
def rules(root: Path) -> list[dict[str, Any]]:
    text = (root / "deploy" / "prometheus" / "rules.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def dashboard(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "deploy" / "grafana" / "layerzero.json").read_text(encoding="utf-8"))
    return found


def strange(query: str, exported: dict[str, frozenset[str]]) -> list[str]:
    """The metrics of a query that no process exports, and the labels that none of its metrics has."""
    names = set(NAME.findall(query))
    known = SCRAPED.union(*(exported.get(name, frozenset()) for name in names))
    labels = {word.strip() for by, one in WORDS.findall(query) for word in (by or one).split(",")}
    return sorted((names - exported.keys()) | (labels - known))


def test_rules_read_what_is_exported(rules: list[dict[str, Any]], exported: dict[str, frozenset[str]]) -> None:
    records = [rule["record"] for rule in rules if "record" in rule]
    for rule in rules:
        query = rule["expr"]
        assert strange(query, exported) == [], query
        assert NAME.search(query) or any(record in query for record in records), query


def test_the_dashboard_reads_what_is_exported(dashboard: dict[str, Any], exported: dict[str, frozenset[str]]) -> None:
    queries = list(dashboard_queries(dashboard))
    assert len(queries) > 12
    for query in queries:
        assert strange(query, exported) == [], query


def dashboard_queries(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (one["expr"] for one in dashboard["annotations"]["list"])


def test_every_metric_is_shown_or_watched(
    rules: list[dict[str, Any]], dashboard: dict[str, Any], exported: dict[str, frozenset[str]]
) -> None:
    read = " ".join([*(rule["expr"] for rule in rules), *dashboard_queries(dashboard)])
    families = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in exported}
    # Of single calls inside an arm the requests of the arm tell more; each change of a breaker is its state's.
    left = {name for name in families if not re.search(rf"\b{name}(_bucket|_total)?\b", read)}
    assert left == {
        "layerzero_arm_calls", "layerzero_arm_call_errors", "layerzero_arm_call_seconds", "layerzero_breaker_changes"
    }  # fmt: skip


def test_the_dashboard_is_whole(dashboard: dict[str, Any]) -> None:
    variables = {one["name"] for one in dashboard["templating"]["list"]}
    text = json.dumps(dashboard)
    assert set(re.findall(r"\$\{?(\w+)", text)) - {"__all"} == variables
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
            assert label == variable["name"] and metric.startswith("layerzero_")
    boxes = [tuple(panel["gridPos"][side] for side in "xywh") for panel in dashboard["panels"]]
    for number, (x, y, w, h) in enumerate(boxes):
        assert x + w <= 24
        for a, b, c, d in boxes[number + 1 :]:
            assert x + w <= a or a + c <= x or y + h <= b or b + d <= y, "two panels overlap"


def test_a_metric_that_nobody_exports_is_found(exported: dict[str, frozenset[str]]) -> None:
    assert strange('rate(layerzero_decisions_total{kernel="k"}[5m])', exported) == []
    assert strange("layerzero_decisions", exported) == ["layerzero_decisions"]
    assert strange("sum by (kernel, tenant) (layerzero_decisions_total)", exported) == ["tenant"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool here (.ci/debian-packages)")
@pytest.mark.parametrize("words", [["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]])
def test_promtool_agrees(words: list[str], root: Path) -> None:
    done = subprocess.run(
        ["promtool", *words], cwd=root / "deploy" / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_test(rules: list[dict[str, Any]], root: Path) -> None:
    text = (root / "deploy" / "prometheus" / "rules_test.yml").read_text(encoding="utf-8")
    tested = {one["alertname"] for test in yaml.safe_load(text)["tests"] for one in test.get("alert_rule_test", ())}
    assert {rule["alert"] for rule in rules if "alert" in rule} == tested
