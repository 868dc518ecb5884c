"""Tables of numbers -> the best assignment of variables: each table gives a cost for the variables that it reads.

Variables that no table joins are settled apart, so what counts is the largest part that hangs together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

Row = tuple[int, ...]
"""The place of a value in the domain of each variable that a table reads."""
Worth = tuple[int, int]
"""Calls that are degraded, negative, and points: compared in this order, the greatest is the best."""

MOST_TRIED = 20_000  # assignments of one part, up to which all are tried


@dataclass(frozen=True)
class Table:
    """What one call is worth with each choice for the variables that it reads; a row that is missing serves not."""

    reads: tuple[int, ...]
    worth: Mapping[Row, Worth]


@dataclass(frozen=True)
class Problem:
    """`sizes` are how many values each variable may have."""

    sizes: tuple[int, ...]
    tables: tuple[Table, ...]


Solve = Callable[[Problem], Row | None]


def best(problem: Problem, solve: Solve | None = None) -> Row | None:
    """The assignment that is worth most; of several the one with the earliest values, from the first variable on. None
    where no assignment serves every table.

    Args:
        solve: For parts with too many assignments, or for all parts if it is given; None is the solver where needed.
    """
    found = [0] * len(problem.sizes)
    for part in parts(problem):
        own = _part(problem, part)
        tried = prod(own.sizes) <= MOST_TRIED
        rows = solve(own) if solve is not None else try_all(own) if tried else _solver()(own)
        if rows is None:
            return None
        for variable, value in zip(part, rows, strict=True):
            found[variable] = value
    constant = all(table.worth for table in problem.tables if not table.reads)
    return tuple(found) if constant else None


def worth(problem: Problem, assignment: Row) -> Worth | None:
    """What an assignment is worth; None where it does not serve every table."""
    degraded = points = 0
    for table in problem.tables:
        found = table.worth.get(tuple(assignment[variable] for variable in table.reads))
        if found is None:
            return None
        degraded, points = degraded + found[0], points + found[1]
    return degraded, points


def try_all(problem: Problem) -> Row | None:
    """`best` by looking at every assignment."""
    leading: tuple[Worth, Row] | None = None
    for assignment in _assignments(problem):
        found = worth(problem, assignment)
        if found is not None and (leading is None or found > leading[0]):
            leading = found, assignment
    return None if leading is None else leading[1]


def parts(problem: Problem) -> list[tuple[int, ...]]:
    """The variables, in groups that no table joins."""
    of = list(range(len(problem.sizes)))

    def head(variable: int) -> int:
        while of[variable] != variable:
            variable = of[variable]
        return variable

    for table in problem.tables:
        for other in table.reads[1:]:
            first, second = sorted((head(table.reads[0]), head(other)))
            of[second] = first
    groups: dict[int, list[int]] = {}
    for variable in range(len(of)):
        groups.setdefault(head(variable), []).append(variable)
    return [tuple(group) for group in groups.values()]


def _part(problem: Problem, variables: Sequence[int]) -> Problem:
    place = {variable: index for index, variable in enumerate(variables)}
    tables = [
        Table(tuple(place[one] for one in table.reads), table.worth)
        for table in problem.tables
        if table.reads and table.reads[0] in place
    ]
    return Problem(tuple(problem.sizes[variable] for variable in variables), tuple(tables))


def _assignments(problem: Problem) -> Iterable[Row]:
    return product(*(range(size) for size in problem.sizes))


def _solver() -> Solve:
    from layerzero.planning.solver import solve

    return solve
