"""Layers, and values between which there is a choice -> for each layer a table of decisions, and the best plan.

Everything is decided by one snapshot, and nothing else is looked at: the same snapshot and question give the same plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from operator import eq
from typing import Any

from layerzero.check.expressions import Value
from layerzero.check.program import Program, Scope
from layerzero.errors import ArgumentError, ContextError, NoKernelError
from layerzero.planning.joint import JointPlan, PlannedLayer, Variable, spelt
from layerzero.planning.problem import Problem, Row, Solve, Table, Worth, best
from layerzero.runtime.decision import Decision
from layerzero.runtime.snapshot import Snapshot
from layerzero.semantics.context import complete, read_context, read_value
from layerzero.syntax.suggest import did_you_mean

MOST_ROWS = 4096  # of values of one layer's own choices
POINT = 1000  # parts of a point that are told apart
_MOST_POINTS = 10**9


@dataclass(frozen=True)
class Asked:
    """One layer in one phase: the variables that it reads, and what the policy decides for each row of their values."""

    layer: int
    scope: Scope
    phase: str | None
    reads: tuple[int, ...]
    decisions: Mapping[Row, Decision]  # of the rows that a kernel serves
    refused: str  # why the first of the others is served by none


def plan_layers(
    snapshot: Snapshot,
    layers: Iterable[Mapping[str, Any]],
    choose: Mapping[str, Iterable[Any]],
    per: Mapping[str, str] | None = None,
    here: Mapping[str, Value] | None = None,
    solve: Solve | None = None,
) -> JointPlan:
    """Choose values and kernels for all layers, so that the sum of scores is the greatest.

    Args:
        snapshot: The policy that decides.
        layers: A context for each layer and phase; `layer` is a number, or several that are alike.
        choose: Field -> the values that it may have, the preferred first. A layer that says one itself has no choice.
        per: Field -> the field that says who shares it: {"graph_capture": "phase"}. All layers share the others.
        here: Device fields of the layers that name no `device`.
        solve: Another way to find the best assignment, for tests.

    Raises:
        ArgumentError: A field or value is wrong, there is no layer, or there are too many choices.
        ContextError: A layer does not fit its operation.
        NoKernelError: No choice serves every layer.
        MissingDependencyError: So many choices want OR-tools, extra `planning`.
    """
    domains = _domains(snapshot.program, choose)
    groups = _groups(snapshot.program, domains, per or {})
    variables: dict[Variable, int] = {}
    asked = [_asked(snapshot, one, domains, groups, variables) for one in _each(layers, here or {})]
    if not asked:
        raise ArgumentError("argument `layers`: wanted at least one")
    sizes = tuple(len(domains[variable.field]) for variable in variables)
    tables = tuple(Table(one.reads, {row: _worth(d) for row, d in one.decisions.items()}) for one in asked)
    problem = Problem(sizes, tables)
    found = best(problem, solve)
    if found is None:
        raise NoKernelError(_why_none(asked, list(variables), domains))
    chosen = {one: domains[one.field][found[index]] for one, index in variables.items()}
    planned = [_planned(one, found, list(variables), domains) for one in asked]
    return JointPlan(snapshot, chosen, tuple(planned))


# ---------------------------------------------------------------- the question


def _each(layers: Iterable[Mapping[str, Any]], here: Mapping[str, Value]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each layer with its number, one after the other."""
    for place, context in enumerate(layers):
        if not isinstance(context, Mapping):
            raise ContextError(f"a layer is a mapping of fields to values, got {type(context).__name__}")
        context = context if "device" in context else {**here, **context}
        given = context.get("layer", place)
        for number in [given] if isinstance(given, int) or not isinstance(given, Iterable) else given:
            yield number, {**context, "layer": number} if "layer" in context else context


def _domains(program: Program, choose: Mapping[str, Iterable[Any]]) -> dict[str, tuple[Value, ...]]:
    domains: dict[str, tuple[Value, ...]] = {}
    for word, values in choose.items():
        name = _field(program, word, "choose")
        read = [read_value(program.aliases.members, program.fields[name].type, value, word) for value in values]
        domains[name] = tuple(dict.fromkeys(read))
        if not read:
            raise ArgumentError(f"argument `choose`: no values for `{word}`")
    return domains


def _groups(program: Program, domains: Mapping[str, Sequence[Value]], per: Mapping[str, str]) -> dict[str, str]:
    groups = {_field(program, word, "per"): _field(program, of, "per") for word, of in per.items()}
    for name, of in groups.items():
        if name not in domains or of in domains:
            wrong = f"`{name}` is not chosen" if name not in domains else f"`{of}` is chosen itself"
            raise ArgumentError(f"argument `per`: {wrong}")
    return groups


def _field(program: Program, word: str, argument: str) -> str:
    name = program.aliases.fields.get(word, word)
    if name not in program.fields:
        hint = did_you_mean(word, [*program.fields, *program.aliases.fields])
        raise ArgumentError(f"argument `{argument}`: unknown field `{word}`{f'; {hint}' if hint else ''}")
    return name


def _asked(
    snapshot: Snapshot,
    numbered: tuple[int, Mapping[str, Any]],
    domains: Mapping[str, Sequence[Value]],
    groups: Mapping[str, str],
    variables: dict[Variable, int],
) -> Asked:
    layer, context = numbered
    scope, values = read_context(snapshot.program, context)
    open_fields = [name for name in domains if name not in values]
    first = {name: domains[name][0] for name in open_fields}
    whole = complete(snapshot.program, scope, {**values, **first}).values
    reads = []
    for name in open_fields:
        of = groups.get(name)
        if of is not None and of not in whole:
            raise ArgumentError(f"argument `per`: layer {layer} ({scope}) has no value of `{of}`")
        variable = Variable(name, of, None if of is None else whole[of])
        reads.append(variables.setdefault(variable, len(variables)))
    if prod(len(domains[name]) for name in open_fields) > MOST_ROWS:
        raise ArgumentError(f"layer {layer} has more than {MOST_ROWS} choices: offer fewer values")
    decisions, refused = {}, ""
    for row in product(*(range(len(domains[name])) for name in open_fields)):
        own = {name: domains[name][place] for name, place in zip(open_fields, row, strict=True)}
        try:
            decision = snapshot.decide(scope, {**values, **own})
        except ContextError as error:  # a value that contradicts the view, say
            refused = refused or str(error)
            continue
        if decision.kernel is not None:
            decisions[row] = decision
        elif not refused and decision.proof.error is not None:
            refused = decision.proof.error.message
    phase = whole.get("phase")
    return Asked(layer, scope, None if phase is None else str(phase), tuple(reads), decisions, refused)


def _worth(decision: Decision) -> Worth:
    assert decision.score is not None
    return -int(decision.degraded), round(min(decision.score, _MOST_POINTS) * POINT)


# ---------------------------------------------------------------- the answer


def _planned(
    one: Asked, found: Row, variables: Sequence[Variable], domains: Mapping[str, Sequence[Value]]
) -> PlannedLayer:
    row = tuple(found[variable] for variable in one.reads)
    decision = one.decisions[row]
    # Of all that is best for it alone, what is nearest to the plan: only what has to differ is told.
    nearness = {other: sum(map(eq, other, row)) for other in one.decisions}
    alone = max(one.decisions, key=lambda other: (_worth(one.decisions[other]), nearness[other]))

    def values(places: Row) -> dict[Variable, Value]:
        each = [variables[variable] for variable in one.reads]
        return {variable: domains[variable.field][place] for variable, place in zip(each, places, strict=True)}

    return PlannedLayer(one.layer, one.phase, values(row), decision, values(alone), one.decisions[alone])


def _why_none(asked: Sequence[Asked], variables: Sequence[Variable], domains: Mapping[str, Sequence[Value]]) -> str:
    """Which layer no choice serves; or, where each has one of its own, what each could do with."""
    for one in asked:
        if not one.decisions:
            offered = [f"{variables[v]} in {_listed(domains[variables[v].field])}" for v in one.reads]
            among = f" with {' and '.join(offered)}" if offered else ""
            return f"layer {one.layer} ({one.scope}) has no kernel{among}: {one.refused}"
    wants: dict[str, list[str]] = {}
    for one in asked:
        for place, variable in enumerate(one.reads):
            served = sorted({row[place] for row in one.decisions})
            if len(served) < len(domains[variables[variable].field]):
                values = _listed([domains[variables[variable].field][index] for index in served])
                wants.setdefault(f"{variables[variable]} in {values}", []).append(f"{one.layer} ({one.scope})")
    told = "".join(f"\n  layer {', '.join(layers)} wants {what}" for what, layers in wants.items())
    return f"no choice serves every layer:{told}"


def _listed(values: Iterable[Value]) -> str:
    return "{" + ", ".join(map(spelt, values)) + "}"
