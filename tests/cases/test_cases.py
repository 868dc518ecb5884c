"""Runs the cases of this folder; `--update` rewrites what they expect."""

from __future__ import annotations

import os

import pytest

from tests.cases.case_files import Case, cases, outcome, rewrite

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=[case.label for case in CASES])
def test_case(case: Case, pytestconfig: pytest.Config) -> None:
    if pytestconfig.getoption("--update"):
        assert "PYTEST_XDIST_WORKER" not in os.environ, "update with one process: several would write one file"
        rewrite(case)
        return
    for expected in case.expected:
        assert outcome(expected) == expected.text, f"{case.label}: `{expected.kind}` differs"


def test_titles_are_unique_in_a_file() -> None:
    labels = [case.label for case in CASES]
    assert sorted(labels) == sorted(set(labels))
