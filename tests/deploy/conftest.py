"""The files of the example deployment, and the names of the metrics that a process exports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from layerzero.telemetry.exporters import PrometheusExporter
from tests.unit.telemetry.watched import Watched


@pytest.fixture(scope="session")
def manifests(root: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((root / "deploy" / "kubernetes" / "layerzero.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def exported() -> dict[str, frozenset[str]]:
    """Sample name -> its labels, of a process that has seen calls, a failure and an experiment's arms."""
    bench = Watched("experiment half on tenant { arm control 50% arm other 50% { boost fast.two by 3 } }")
    exporter = PrometheusExporter(bench.feed)
    bench.broken("fast.one")
    for number in range(8):
        with bench.experiments.request({"tenant": f"t-{number}"}):
            bench.call(1)
    found = {}
    suffixes = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    for family in exporter.metrics.families():
        for suffix in suffixes[family.kind]:
            labels = frozenset(family.labels) | ({"le"} if suffix == "_bucket" else set())
            found[family.name + suffix] = labels
    text = exporter.export()
    exporter.close()
    assert [name for name in found if name.removesuffix("_total") not in text] == []
    return found
