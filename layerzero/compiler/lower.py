"""Operation, machine and day -> parts: what may become of each kernel, and when each rule applies.

A *part* is one thing that a call makes true or false: a kernel is feasible (but for quarantines), or a rule applies
to a set of kernels. Its proposition reads only what a call can change; what cannot become true is not in the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal as OneOf

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from layerzero.check.expressions import AttributeValue, Expression, FieldValue, Not, Or, walk
from layerzero.check.program import Kernel, Operation, PackageLine, Program, Requirement, Rule
from layerzero.compiler.assume import unknown_only_by_package
from layerzero.compiler.context_fields import Fields
from layerzero.compiler.specialise import Specialiser
from layerzero.compiler.terms import FALSE, TRUE, UNKNOWN, Id
from layerzero.semantics.environment import Environment

PartKind = OneOf["kernel", "quarantine", "lock", "allow", "deny", "boost", "order"]


@dataclass(frozen=True, slots=True)
class Part:
    """`kernels` are positions in the operation's list, as bits; `rule` is a position in its rules, -1 for a kernel."""

    kind: PartKind
    kernels: int
    rule: int
    proposition: Id


@dataclass(frozen=True, slots=True)
class LoweredRule:
    """What the stages ask about a rule that can apply. `positions` of an order: kernels, as bits, target by target."""

    name: str
    kind: PartKind
    layer: int
    priority: int
    otherwise: str
    factor: float
    positions: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Lowered:
    """One operation. Parts 0 .. len(kernels) - 1 are the kernels, in the order of their ids."""

    name: str
    kernels: tuple[str, ...]
    priorities: tuple[int, ...]
    fallback: tuple[int, ...]
    strict: bool
    needs: tuple[str, ...]
    hopeless: bool  # a needed field is fixed to absent, so no call is a valid one
    rules: tuple[LoweredRule, ...]
    parts: tuple[Part, ...]


def lower(program: Program, environment: Environment, fields: Fields, operation: Operation) -> Lowered:
    """Specialise one operation. The result does not depend on the order of statements."""
    return _Lowering(program, environment, fields, operation).run()


class _Lowering:
    def __init__(self, program: Program, environment: Environment, fields: Fields, operation: Operation) -> None:
        self.program, self.environment, self.operation = program, environment, operation
        self.fields, self.pool = fields, fields.pool
        self.specialiser = Specialiser(self.pool, fields.known, _versions(environment))
        self.candidates = program.kernels_for(operation.name)
        self.asked = {kernel.id: self.specialiser.about(kernel.attributes) for kernel in self.candidates}
        self.views = {name: self.specialiser.term(view) for name, view in sorted(operation.views.items())}
        demanded = {name: self.specialiser.term(when) for name, when in sorted(operation.features.items())}
        self.not_demanded = {name: self.pool.truth(term, FALSE) for name, term in demanded.items()}

    def run(self) -> Lowered:
        feasible = {kernel.id: self.feasible(kernel) for kernel in self.candidates}
        alive = [kernel for kernel in self.candidates if feasible[kernel.id] != self.pool.false]
        self.position = {kernel.id: index for index, kernel in enumerate(alive)}
        parts = [Part("kernel", 1 << index, -1, feasible[kernel.id]) for index, kernel in enumerate(alive)]
        rules: list[LoweredRule] = []
        # INVARIANT: parts stand in the order of kinds and, within one, of ranks, the boosts in that of their factors:
        # the stages look at the last of a kind first, and multiply factors as they stand.
        for rule in sorted(self.program.rules, key=_canonical):
            found = self.rule_parts(rule, len(rules))
            if found:
                rules.append(self.lower_rule(rule))
                parts.extend(found)
        return Lowered(
            self.operation.name,
            tuple(kernel.id for kernel in alive),
            tuple(kernel.priority for kernel in alive),
            tuple(self.position[name] for name in self.operation.fallback if name in self.position),
            self.program.strict,
            tuple(name for name in self.operation.needs if name in self.fields.loads),
            any(self.lacks(name) for name in self.operation.needs),
            tuple(rules),
            tuple(parts),
        )

    def lacks(self, name: str) -> bool:
        """Whether a field is fixed to absent."""
        return self.fields.known.get(name) == self.pool.unknown and name not in self.pool.present

    # ------------------------------------------------------------ kernels

    def feasible(self, kernel: Kernel) -> Id:
        """The proposition that a kernel may serve the call; quarantines are parts of their own."""
        if not self.present(kernel):
            return self.pool.false
        wanted = [self.required(kernel, requirement) for requirement in kernel.requirements]
        views = kernel.views(self.operation.name)
        if views:
            wanted.append(self.pool.any_of(tuple(self.pool.truth(self.views[view], TRUE) for view in views)))
        wanted.extend(self.served(kernel, feature) for feature in self.not_demanded)
        wanted.extend(self.elsewhere(device) for device in self.environment.breaker_devices(kernel.id))
        return self.pool.all_of(tuple(wanted))

    def elsewhere(self, device: str) -> Id:
        """The call is not on this device, where a kernel's breaker is open."""
        field = self.program.fields.get("device")
        if field is None:
            return self.pool.true
        here = self.specialiser.term(FieldValue("device", field.type, span=field.span))
        return self.pool.truth(self.pool.compare("==", here, self.pool.constant(device)), FALSE | UNKNOWN)

    def present(self, kernel: Kernel) -> bool:
        """Packages, adapter and a breaker that is open on every device: known before any call."""
        machine = self.environment
        if kernel.id in machine.open_breakers or not all(_accepted(line, machine) for line in kernel.packages):
            return False
        return machine.offline or (kernel.adapter is not None and kernel.id not in machine.no_adapter)

    def required(self, kernel: Kernel, requirement: Requirement) -> Id:
        condition = requirement.condition
        if requirement.when is not None:
            span = requirement.span
            condition = Or((Not(requirement.when, span=span), condition), span=span)
        return self.true_or_assumed(condition, self.asked[kernel.id])

    def served(self, kernel: Kernel, feature: str) -> Id:
        """The feature is not demanded, or supported."""
        asked = self.asked[kernel.id]
        supported = [
            self.pool.truth(asked.condition(support.when), TRUE)
            for support in kernel.supports
            if support.feature == feature
        ]
        return self.pool.any_of((self.not_demanded[feature], *supported))

    def true_or_assumed(self, condition: Expression, asked: Specialiser) -> Id:
        truth = self.pool.truth(asked.term(condition), TRUE)
        return self.pool.any_of((truth, self.assumed(condition, asked)))

    def assumed(self, condition: Expression, asked: Specialiser) -> Id:
        """The proposition that only the version of a package that nobody gave keeps a condition unknown."""
        if not self.environment.assume_packages:
            return self.pool.false
        return unknown_only_by_package(condition, asked)

    # ------------------------------------------------------------ rules

    def rule_parts(self, rule: Rule, index: int) -> list[Part]:
        """The parts of a rule that can apply in this operation; one for each condition that its kernels make of it."""
        if not rule.concerns(self.operation.name) or _expired(rule, self.environment):
            return []
        named = rule.kernels
        targets = [kernel for kernel in self.candidates if kernel.id in named]
        narrowing = rule.kind in ("lock", "allow", "order")
        if not targets and not (narrowing and rule.scopes):
            return []
        by_condition: dict[Id, int] = {}
        if rule.condition is None or not _reads_kernel(rule.condition):
            by_condition[self.applies(rule, self.specialiser)] = self.bits(targets)
        else:
            for kernel in targets:
                proposition = self.applies(rule, self.asked[kernel.id])
                by_condition[proposition] = by_condition.get(proposition, 0) | self.bits([kernel])
        return [
            Part(rule.kind, kernels, index, proposition)
            for proposition, kernels in by_condition.items()
            if proposition != self.pool.false and (kernels or narrowing)
        ]

    def applies(self, rule: Rule, asked: Specialiser) -> Id:
        inside, own = self.inside(rule), asked.condition(rule.condition)
        condition = self.pool.conjunction((inside, own))
        if rule.kind != "quarantine":
            return self.pool.truth(condition, TRUE)
        applies = self.pool.truth(condition, TRUE | UNKNOWN)
        if rule.condition is None:
            return applies
        excused = self.pool.all_of((self.pool.truth(inside, TRUE), self.assumed(rule.condition, asked)))
        return self.pool.all_of((applies, self.pool.inverse(excused)))

    def inside(self, rule: Rule) -> Id:
        """The call is in one of the views that the rule is written for."""
        views = [scope.view for scope in rule.scopes if scope.operation == self.operation.name]
        named = tuple(self.views[view] for view in views if view is not None)
        return self.pool.disjunction(named) if views and len(named) == len(views) else self.pool.true

    def lower_rule(self, rule: Rule) -> LoweredRule:
        positions: list[int] = []
        seen = 0
        if rule.kind == "order":
            for target in rule.targets:
                kernels = self.bits(kernel for kernel in self.candidates if kernel.id in target.kernels)
                positions.append(kernels & ~seen)
                seen |= kernels
        return LoweredRule(
            rule.name, rule.kind, int(rule.layer), rule.priority, rule.otherwise, float(rule.factor), tuple(positions)
        )

    def bits(self, kernels: Iterable[Kernel]) -> int:
        return sum(1 << self.position[kernel.id] for kernel in kernels if kernel.id in self.position)


def _reads_kernel(condition: Expression) -> bool:
    return any(isinstance(part, AttributeValue) for part in walk(condition))


def _expired(rule: Rule, environment: Environment) -> bool:
    return rule.until is not None and rule.until <= environment.today


def _canonical(rule: Rule) -> tuple[object, ...]:
    targets = tuple(tuple(sorted(target.kernels)) for target in rule.targets)
    scopes = tuple(sorted(str(scope) for scope in rule.scopes))
    first = (rule.factor, 0) if rule.kind == "boost" else (int(rule.layer), rule.priority)
    return (rule.kind, *first, int(rule.layer), rule.name, rule.factor, rule.otherwise, targets, scopes)


def _installed(environment: Environment) -> dict[str, str]:
    return {str(canonicalize_name(name)): text for name, text in environment.packages.items()}


def _versions(environment: Environment) -> Mapping[str, Version]:
    """What `package("x")` gives; a version that PEP 440 cannot read is unknown, as if it were not there."""
    found: dict[str, Version] = {}
    for name, text in _installed(environment).items():
        with suppress(InvalidVersion):
            found[name] = Version(text)
    return found


def _accepted(line: PackageLine, environment: Environment) -> bool:
    """The first alternative that is installed imports and is at an accepted version; offline, none given is fine."""
    installed = _installed(environment)
    for choice in line.alternatives:
        if choice.name in environment.broken:
            return False
        if choice.name in installed:
            try:
                version = Version(installed[choice.name])
            except InvalidVersion:
                return False
            return SpecifierSet(",".join(choice.specifiers)).contains(version, prereleases=True)
    return environment.assume_packages
