"""The same best assignment from a constraint solver (CP-SAT of OR-tools), where there are too many to try."""

from __future__ import annotations

from typing import Any

from layerzero.errors import LayerZeroError, MissingDependencyError
from layerzero.planning.problem import Problem, Row

_SECONDS = 60.0  # of the solver's own, deterministic clock: the same on every machine


def solve(problem: Problem) -> Row | None:
    """See problem.best.

    Raises:
        MissingDependencyError: OR-tools is not installed.
        LayerZeroError: The solver did not come to an end.
    """
    try:
        from ortools.sat.python import cp_model
    except ImportError as cause:
        raise MissingDependencyError(
            "this many choices want a solver: install `layerzero[planning]`, or offer fewer values"
        ) from cause
    model = cp_model.CpModel()
    variables = [model.new_int_var(0, size - 1, "") for size in problem.sizes]
    degraded, points = [], []
    for table in problem.tables:
        # One row of each table counts, and the variables that it reads have its values.
        chosen = {row: model.new_bool_var("") for row in table.worth}
        model.add_exactly_one(chosen.values())
        for row, counts in chosen.items():
            for variable, value in zip(table.reads, row, strict=True):
                model.add(variables[variable] == value).only_enforce_if(counts)
            degraded.append(table.worth[row][0] * counts)
            points.append(table.worth[row][1] * counts)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1  # the same plan every time, whatever else the machine does
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = _SECONDS
    # The most of the first, then of the second with that kept, and so on: at the end one assignment is left.
    for aim in [sum(degraded), sum(points), *(-variable for variable in variables)]:
        if isinstance(aim, int):  # of no table at all
            continue
        model.maximize(aim)
        if not _solved(cp_model, solver, model):
            return None
        model.add(aim == round(solver.objective_value))
        model.clear_hints()
        for variable in variables:
            model.add_hint(variable, solver.value(variable))
    return tuple(solver.value(variable) for variable in variables)


def _solved(cp_model: Any, solver: Any, model: Any) -> bool:
    status = solver.solve(model)
    if status not in (cp_model.OPTIMAL, cp_model.INFEASIBLE):
        raise LayerZeroError(
            f"the solver did not find the best plan ({solver.status_name(status)}): offer fewer values"
        )
    return bool(status == cp_model.OPTIMAL)
