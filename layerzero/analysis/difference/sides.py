"""Two programs, each on a machine -> two that speak of the same contexts, or what keeps them from being compared.

A context is compared as both sides read it: a field that one of them does not declare says nothing there. What is
settled on a side (a device, the versions of packages) is put into its conditions, so that the two may differ in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from packaging.version import InvalidVersion, Version

from layerzero.analysis.difference.substitute import Substitution
from layerzero.analysis.model import Model
from layerzero.check.expressions import Value, fields_of
from layerzero.check.program import Experiment, Program, Scope
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.sets import Members, ValueSet, nothing_like
from layerzero.regions.space import Space
from layerzero.regions.terms import ArmDimension, FieldDimension, full
from layerzero.semantics.environment import Environment
from layerzero.semantics.experiments import enrol
from layerzero.semantics.interpret import decide
from layerzero.semantics.proof import Proof


@dataclass(frozen=True)
class Side:
    """One program on one machine: `device` has the values of fields that every context gets there."""

    program: Program
    environment: Environment
    device: Mapping[str, Value] = field(default_factory=dict)

    def decide(self, operation: str, given: Mapping[str, Value], packages: Mapping[str, str]) -> Proof:
        """What the side decides of a context; fields that it does not declare are left out."""
        values = {**{name: value for name, value in given.items() if name in self.program.fields}, **self.device}
        environment = replace(self.environment, packages={**packages, **self.environment.packages})
        return decide(self.program, environment, Scope(operation), values, enrol(self.program, values))


@dataclass(frozen=True)
class Pair:
    """One operation on both sides, as models of one space of contexts; `within` are those that can exist."""

    operation: str
    old: Model
    new: Model
    within: Formula

    @property
    def space(self) -> Space:
        return self.old.space


@dataclass(frozen=True)
class Apart:
    """An operation that is not compared, and why."""

    operation: str
    reason: str


def pairs(old: Side, new: Side) -> Iterator[Pair | Apart]:
    """The operations of both sides, those that cannot be compared as `Apart`."""
    renamed = {
        name: f"{name} (new)"
        for name, one in new.program.experiments.items()
        if name in old.program.experiments and _apart(old.program.experiments[name], one)
    }
    settled = {*old.device, *new.device}
    first, second = _settled(old, settled, {}), _settled(new, settled, renamed)
    fields = {**second.fields, **first.fields}
    experiments = {**second.experiments, **first.experiments}
    for name in first.operations:
        if name not in second.operations:
            continue
        reason = _incomparable(first, second, name)
        if reason is not None:
            yield Apart(name, reason)
            continue
        sides = [replace(one, fields=fields, experiments=experiments) for one in (first, second)]
        models = [
            Model(program, program.operations[name], side.environment)
            for program, side in zip(sides, (old, new), strict=True)
        ]
        parts = [*(model.machine for model in models), *_absent(models[0].space, old, new)]
        parts += [_together(old.program.experiments[one], new.program.experiments[one]) for one in renamed]
        yield Pair(name, models[0], models[1], f.all_of(parts))


def _settled(side: Side, fields: set[str], renamed: Mapping[str, str]) -> Program:
    """The program of a side without what is settled there; of fields that its device leaves out, without a default."""
    versions: dict[str, Version] = {}
    for name, text in side.environment.packages.items():
        try:
            versions[name] = Version(text)
        except InvalidVersion:
            continue  # unknown to every condition, as the model's `machine` has it
    values = {name: side.device[name] for name in sorted(fields) if name in side.device}
    defaults = _defaults(side.program, fields - side.device.keys())
    return Substitution({**defaults, **values}, versions, renamed).program(side.program)


def _defaults(program: Program, names: set[str]) -> dict[str, Value]:
    """The constant defaults of fields that a device does not give."""
    found = {name: Space(program, next(iter(program.operations.values()))).constant_default(name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def _absent(space: Space, old: Side, new: Side) -> Iterator[Formula]:
    """A field that one device gives is not given by the context: on the other side it is absent."""
    for name in sorted({*old.device} ^ {*new.device}):
        dimension = FieldDimension(name, space.types[name])
        if name not in space.operation.needs and space.may_be_absent(name):
            yield f.literal(dimension, ValueSet(nothing_like(full(dimension).known), absent=True))


def _incomparable(old: Program, new: Program, operation: str) -> str | None:
    """What is declared so differently that one context would mean two things."""
    one, other = old.operations[operation], new.operations[operation]
    if set(one.needs) != set(other.needs):
        names = ", ".join(f"`{name}`" for name in sorted({*one.needs} ^ {*other.needs}))
        return f"the fields that it needs differ: {names}"
    read = _fields_read(old, operation) | _fields_read(new, operation)
    for name in sorted(read & old.fields.keys() & new.fields.keys()):
        before, after = old.fields[name], new.fields[name]
        if (before.type, before.default) != (after.type, after.default):
            return f"the field `{name}` is declared otherwise"
    return None


def _fields_read(program: Program, operation: str) -> set[str]:
    own = program.operations[operation]
    conditions = [*own.views.values(), *own.features.values()]
    for kernel in program.kernels_for(operation):
        conditions += [part for one in kernel.requirements for part in (one.condition, one.when) if part is not None]
        conditions += [one.when for one in kernel.supports if one.when is not None]
    conditions += [r.condition for r in program.rules if r.concerns(operation) and r.condition is not None]
    found = {name for condition in conditions for name in fields_of(condition)} | set(own.needs)
    waiting = sorted(found)
    while waiting:
        default = program.fields[waiting.pop()].default
        more = fields_of(default) - found if default is not None else frozenset()
        found |= more
        waiting += more
    return found


# ---------------------------------------------------------------- experiments


def _apart(old: Experiment, new: Experiment) -> bool:
    """Whether some call may be in another arm."""
    return (old.key, old.share, old.salt, old.arms) != (new.key, new.share, new.salt, new.arms)


def _together(old: Experiment, new: Experiment) -> Formula:
    """Which arms of the two versions one call can be in: buckets of one salt are the same numbers."""
    before, after = ArmDimension(old.name), ArmDimension(f"{new.name} (new)")
    if (old.key, old.salt) != (new.key, new.salt):
        return f.TRUE
    found = [
        f.all_of([_arm(before, one), _arm(after, other)])
        for one, its_share, its_arm in _buckets(old)
        for other, other_share, other_arm in _buckets(new)
        if its_share & other_share and its_arm & other_arm
    ]
    found.append(f.all_of([_arm(before, None), _arm(after, None)]))  # without a key
    return f.any_of(found)


def _buckets(experiment: Experiment) -> Iterator[tuple[str | None, int, int]]:
    """Each arm, or none, with the buckets of the share and of the arms (as bits) that lead there."""
    everyone = (1 << 10_000) - 1
    enrolled = (1 << experiment.share) - 1
    yield None, everyone & ~enrolled, everyone
    start = 0
    for arm in experiment.arms:
        yield arm.name, enrolled, ((1 << arm.buckets) - 1) << start
        start += arm.buckets


def _arm(dimension: ArmDimension, name: str | None) -> Formula:
    if name is None:
        return f.literal(dimension, ValueSet(Members(frozenset()), absent=True))
    return f.literal(dimension, ValueSet(Members(frozenset({name}))))
