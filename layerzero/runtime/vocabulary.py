"""The little of a program that deciding needs at run time: small plain data, so that a swap costs no reading of text.

The whole Program, which explanations want, is built from the policy's text when somebody first asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from layerzero.check.expressions import Constant, Type, Value, walk
from layerzero.check.program import Arm, Experiment, Guard, Program, Scope
from layerzero.semantics.context import asserted_values, conjuncts
from layerzero.syntax.source import Source, Span

_NOWHERE = Span(Source("<compiled>", ""), 0, 0)


@dataclass(frozen=True, slots=True)
class Identity:
    """`production` version 7, by the digest of its canonical program."""

    name: str
    version: str | None
    digest: str


@dataclass(frozen=True)
class Vocabulary:
    """The words of a program: what a context may say, and what a call must.

    `needed` are an operation's needed fields that no literal default fills. `views` are what each view fixes, None
    where only a completed context can tell whether the view holds.
    """

    identity: Identity
    types: Mapping[str, Type]
    field_aliases: Mapping[str, str]
    member_aliases: Mapping[str, str]
    needed: Mapping[str, tuple[str, ...]]
    views: Mapping[Scope, Mapping[str, Value] | None]
    adapters: Mapping[str, str | None]  # kernel id -> "module:callable"
    packages: Mapping[str, tuple[tuple[str, ...], ...]]  # kernel id -> per `package` line its alternatives
    read_packages: frozenset[str]  # that conditions read
    experiments: Mapping[str, Experiment]
    expiries: tuple[date, ...]  # every `until`, ascending

    @classmethod
    def of(cls, program: Program) -> Vocabulary:
        """The words of a checked program."""
        return cls(
            identity=Identity(program.name, program.version, program.digest),
            types={name: field.type for name, field in program.fields.items()},
            field_aliases=program.aliases.fields,
            member_aliases=program.aliases.members,
            needed={
                name: tuple(need for need in operation.needs if not isinstance(program.fields[need].default, Constant))
                for name, operation in program.operations.items()
            },
            views={
                Scope(name, view): _fixed(program, Scope(name, view))
                for name, operation in program.operations.items()
                for view in operation.views
            },
            adapters={kernel.id: kernel.adapter for kernel in program.kernels.values()},
            packages={
                kernel.id: tuple(tuple(choice.name for choice in line.alternatives) for line in kernel.packages)
                for kernel in program.kernels.values()
            },
            read_packages=_read_packages(program),
            experiments=program.experiments,
            expiries=tuple(sorted({rule.until for rule in program.rules if rule.until is not None})),
        )

    @property
    def all_packages(self) -> frozenset[str]:
        """Every package that a kernel or a condition names, PEP 503 normalised."""
        named = {name for lines in self.packages.values() for line in lines for name in line}
        return self.read_packages | named

    def to_data(self) -> dict[str, Any]:
        """The same as JSON's types; `from_data` takes it back."""
        return {
            "identity": [self.identity.name, self.identity.version, self.identity.digest],
            "types": {name: [t.kind, t.members, t.low, t.high, t.high_open] for name, t in self.types.items()},
            "field_aliases": dict(self.field_aliases),
            "member_aliases": dict(self.member_aliases),
            "needed": {name: list(fields) for name, fields in self.needed.items()},
            "views": [[s.operation, s.view, None if v is None else _plain_values(v)] for s, v in self.views.items()],
            "adapters": dict(self.adapters),
            "packages": {name: [list(line) for line in lines] for name, lines in self.packages.items()},
            "read_packages": sorted(self.read_packages),
            "experiments": [_plain_experiment(experiment) for experiment in self.experiments.values()],
            "expiries": [day.isoformat() for day in self.expiries],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Vocabulary:
        """What `to_data` wrote, also after a trip through JSON."""
        types = {
            name: Type(kind, tuple(members), low, high, high_open)
            for name, (kind, members, low, high, high_open) in data["types"].items()
        }
        return cls(
            identity=Identity(*data["identity"]),
            types=types,
            field_aliases=data["field_aliases"],
            member_aliases=data["member_aliases"],
            needed={name: tuple(fields) for name, fields in data["needed"].items()},
            views={Scope(operation, view): values for operation, view, values in data["views"]},
            adapters=data["adapters"],
            packages={name: tuple(tuple(line) for line in lines) for name, lines in data["packages"].items()},
            read_packages=frozenset(data["read_packages"]),
            experiments={one["name"]: _experiment(one) for one in data["experiments"]},
            expiries=tuple(date.fromisoformat(day) for day in data["expiries"]),
        )


def _fixed(program: Program, scope: Scope) -> Mapping[str, Value] | None:
    """What asserting a view fixes, if each of its conjuncts fixes one field: then the view holds exactly when no
    given value contradicts."""
    assert scope.view is not None
    condition = program.operations[scope.operation].views[scope.view]
    fixed = asserted_values(program, condition)
    simple = all(isinstance(value, bool | int | float | str) for value in fixed.values())
    return fixed if simple and len(fixed) == len(list(conjuncts(condition))) else None


def _read_packages(program: Program) -> frozenset[str]:
    from layerzero.check.expressions import InstalledVersion

    conditions = [rule.condition for rule in program.rules if rule.condition is not None]
    for kernel in program.kernels.values():
        conditions += [part for r in kernel.requirements for part in (r.condition, r.when) if part is not None]
        conditions += [s.when for s in kernel.supports if s.when is not None]
    for operation in program.operations.values():
        conditions += [*operation.views.values(), *operation.features.values()]
    return frozenset(part.package for c in conditions for part in walk(c) if isinstance(part, InstalledVersion))


def _plain_values(values: Mapping[str, Value]) -> dict[str, Any]:
    return dict(values)  # _fixed keeps to JSON's own types


def _plain_experiment(experiment: Experiment) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "key": experiment.key,
        "share": experiment.share,
        "salt": experiment.salt,
        "arms": [asdict(arm) for arm in experiment.arms],
        "guards": [[g.metric, g.operator, g.limit, g.relative] for g in experiment.guards],
    }


def _experiment(data: Mapping[str, Any]) -> Experiment:
    return Experiment(
        name=data["name"],
        key=data["key"],
        share=data["share"],
        salt=data["salt"],
        arms=tuple(Arm(arm["name"], arm["buckets"]) for arm in data["arms"]),
        guards=tuple(
            Guard(metric, operator, limit, relative, span=_NOWHERE)
            for metric, operator, limit, relative in data["guards"]
        ),
        span=_NOWHERE,
    )
