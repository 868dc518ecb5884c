"""The shipped policy against what an H100 measured: a change of facts or rules must not make it pick slow kernels.

The measurements come with the documentation (docs/benchmarks.md); nothing is measured here.
"""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from layerzero.check import load_text, require
from layerzero.perf.database import Database, machines
from layerzero.perf.grids import GRIDS
from layerzero.perf.report import median, percentile_95, regrets, totals
from layerzero.perf.survey import Decider, Sample, survey
from layerzero.semantics.environment import Environment


def samples(root: Path, tmp_path: Path, run: str, grid: str, graph: bool) -> list[Sample]:
    kept = root / "docs" / "benchmarks" / f"h100-{run}.sqlite"
    file = Path(shutil.copy(kept, tmp_path))
    notes = json.loads(Path(f"{kept}.environment.json").read_text())
    environment = Environment(packages=notes["packages"], no_adapter=notes["no_adapter"], today=date(2026, 11, 25))
    info = next(one for one in machines(file) if one.digest == notes["digest"])
    decider = Decider(require(load_text("", name="<shipped>")), environment)
    grids = [one.on(notes["device"], (False, True)) for one in GRIDS[grid]()]
    with Database(file, info) as database:
        found = survey(decider, database, grids)
    return [sample for sample in found if bool(sample.fields.get("graph_capture")) == graph]


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("grid", ["standard", "held_out"])
@pytest.mark.parametrize("run", ["a", "b"])
def test_the_pick_is_nearly_always_among_the_fastest(root: Path, tmp_path: Path, run: str, grid: str, graph: bool):
    found = regrets(samples(root, tmp_path, run, grid, graph))
    middle, high = median(found), percentile_95(found)
    assert len(found) >= 16 and middle is not None and high is not None
    assert middle <= 1.05 and high <= 1.25
    assert all(one.ratio is not None and one.ratio <= 1.5 for one in found)


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("grid", ["standard", "held_out"])
@pytest.mark.parametrize("run", ["a", "b"])
def test_no_single_backend_is_better_in_all(root: Path, tmp_path: Path, run: str, grid: str, graph: bool):
    of = totals(samples(root, tmp_path, run, grid, graph))
    assert of.best_backend is not None
    assert of.policy_us < of.best_backend[1] and of.policy_us < of.plain_us
