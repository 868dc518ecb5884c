"""The solver and the enumeration find the same assignment, and so does a search part by part."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings, strategies as st

from layerzero.planning.problem import Problem, Row, Table, Worth, best, try_all, worth

pytest.importorskip("ortools")


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    tables = []
    for _ in range(draw(st.integers(1, 6))):
        reads = tuple(draw(st.lists(st.sampled_from(range(len(sizes))), max_size=3, unique=True)))
        rows: dict[Row, Worth] = {}
        for row in product(*(range(sizes[variable]) for variable in reads)):
            if draw(st.integers(0, 5)):  # one in six is served by no kernel
                rows[row] = (-draw(st.integers(0, 1)), draw(st.integers(0, 4)))
        tables.append(Table(reads, rows))
    return Problem(tuple(sizes), tuple(tables))


@given(problems())
@settings(max_examples=60, deadline=None)
def test_the_solver_finds_what_trying_all_finds(problem: Problem) -> None:
    from layerzero.planning.solver import solve

    assert solve(problem) == try_all(problem)


@given(problems())
@settings(max_examples=300, deadline=None)
def test_parts_are_settled_as_the_whole(problem: Problem) -> None:
    found = best(problem)
    assert found == try_all(problem)
    if found is not None:
        everything = product(*map(range, problem.sizes))
        assert worth(problem, found) == max(filter(None, (worth(problem, one) for one in everything)))
