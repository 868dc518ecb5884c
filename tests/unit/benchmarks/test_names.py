"""A script's folder comes first where modules are looked for: none of them may hide one of Python's own."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_no_benchmark_hides_a_module_of_python() -> None:
    stems = {path.stem for path in (ROOT / "benchmarks").rglob("*.py")}
    assert len(stems) > 10
    assert stems & sys.stdlib_module_names == set()
