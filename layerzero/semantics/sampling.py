"""A `whenever` claim -> contexts of its region, drawn around every constant that decides anything.

Sampling proves nothing; it finds the counterexamples that lie next to a boundary, which is where most of them lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random

from packaging.version import Version

from layerzero.check.expressions import (
    Comparison,
    Constant,
    Expression,
    Like,
    Membership,
    Type,
    Value,
    fields_of,
    walk,
)
from layerzero.check.program import Program, Whenever
from layerzero.errors import ContextError
from layerzero.semantics.context import as_type, asserted_values, complete, conjuncts
from layerzero.semantics.environment import Environment
from layerzero.semantics.evaluate import Lookups, holds as condition_holds, packages_read, smallest_failure

REPAIRS = 30  # how often a context outside the region is moved towards it before it is given up
ABSENT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Drawn:
    """One context of the region, the arms, the versions of packages that conditions read, and the day."""

    values: Mapping[str, Value]
    arms: Mapping[str, str]
    packages: Mapping[str, str]
    today: date


def sample(
    program: Program, environment: Environment, whenever: Whenever, count: int, seed: int = 0
) -> Iterator[Drawn]:
    """At most `count` contexts; fewer where the region is hard to hit, none where it seems empty."""
    random = Random(seed)
    space = _Space(program, environment, whenever)
    for _ in range(count):
        values = space.draw_values(random)
        if values is not None:
            yield Drawn(values, space.draw_arms(random), space.draw_packages(random), random.choice(space.days))


def inside(program: Program, whenever: Whenever, given: Mapping[str, Value]) -> bool:
    """Whether a context can be completed and is one that the claim is about."""
    try:
        values = complete(program, whenever.scope, given).values
    except ContextError:
        return False
    return condition_holds(whenever.condition, Lookups(values)) is True


class _Space:
    """What each field, package, arm and day may be."""

    def __init__(self, program: Program, environment: Environment, whenever: Whenever) -> None:
        self.program, self.whenever = program, whenever
        self.operation = program.operations[whenever.scope.operation]
        expressions = list(_expressions(program, whenever))
        read = frozenset[str]().union(*(fields_of(expression) for expression in expressions))
        self.fields = sorted(read | set(self.operation.needs) | set(self.operation.optional))
        constants = _constants(expressions)
        types = {name: program.fields[name].type for name in self.fields}
        self.values = {name: _candidates(type, constants.get(name, set())) for name, type in types.items()}
        conditions = [] if whenever.condition is None else [whenever.condition]
        if whenever.scope.view is not None:
            conditions.append(self.operation.views[whenever.scope.view])
        self.conditions = conditions
        self.asserted = {n: v for c in reversed(conditions) for n, v in asserted_values(program, c).items()}
        self.packages = _packages(environment, expressions)
        untils = {rule.until for rule in program.rules if rule.until is not None}
        days = {day for until in untils for day in (until - timedelta(days=1), until)}
        self.days = sorted(days) or [environment.today]

    def draw_values(self, random: Random) -> dict[str, Value] | None:
        """Given values whose completed context is in the region."""
        given = {name: value for name in self.fields if (value := self._draw(name, random)) is not None}
        given.update(self.asserted)
        for _ in range(REPAIRS):
            wrong = self._wrong(given)
            if wrong is None:
                return given
            for name in wrong:
                value = self._draw(name, random)
                given = {**given, name: value} if value is not None else {n: v for n, v in given.items() if n != name}
        return None

    def _draw(self, name: str, random: Random) -> Value | None:
        field, needed = self.program.fields[name], name in self.operation.needs
        if (not needed or field.default is not None) and random.random() < ABSENT_SHARE:
            return None
        return random.choice(self.values[name]) if self.values[name] else None

    def _wrong(self, given: Mapping[str, Value]) -> frozenset[str] | None:
        """The fields to draw again; None where the context is in the region."""
        if inside(self.program, self.whenever, given):
            return None
        try:
            values = complete(self.program, self.whenever.scope, given).values
        except ContextError:
            needed = frozenset(name for name in self.operation.needs if name not in given)
            return needed or frozenset().union(*(fields_of(condition) for condition in self.conditions))
        wrong = (condition for condition in self.conditions if condition_holds(condition, Lookups(values)) is not True)
        return fields_of(smallest_failure(next(wrong), Lookups(values)))

    def draw_arms(self, random: Random) -> dict[str, str]:
        chosen = {
            name: random.choice([None, *(arm.name for arm in experiment.arms)])
            for name, experiment in sorted(self.program.experiments.items())
        }
        return {name: arm for name, arm in chosen.items() if arm is not None}

    def draw_packages(self, random: Random) -> dict[str, str]:
        return {name: random.choice(versions) for name, versions in sorted(self.packages.items())}


def _expressions(program: Program, whenever: Whenever) -> Iterator[Expression]:
    """Every condition that can matter to a decision of the operation."""
    operation = program.operations[whenever.scope.operation]
    found: list[Expression | None] = [whenever.condition, *operation.views.values(), *operation.features.values()]
    for kernel in program.kernels_for(operation.name):
        for requirement in kernel.requirements:
            found.extend((requirement.condition, requirement.when))
        found.extend(support.when for support in kernel.supports)
    found.extend(rule.condition for rule in program.rules if rule.concerns(operation.name))
    for expression in found:
        if expression is not None:
            yield from conjuncts(expression)


def _constants(expressions: list[Expression]) -> dict[str, set[Value]]:
    """The constants that stand in a comparison with a field, however deep."""
    found: dict[str, set[Value]] = {}
    for expression in expressions:
        for part in walk(expression):
            if isinstance(part, Comparison | Membership):
                constants = {leaf.value for leaf in walk(part) if isinstance(leaf, Constant)}
            elif isinstance(part, Like):
                constants = {part.pattern, part.pattern.replace("*", "").replace("?", "x")}
            else:
                continue
            for name in fields_of(part):
                found.setdefault(name, set()).update(constants)
    return found


def _candidates(type: Type, constants: set[Value]) -> list[Value]:
    """Values of a type around its constants and the ends of its range, in an order that does not depend on hashes."""
    match type.kind:
        case "bool":
            return [False, True]
        case "enum":
            return list(type.members)
        case "string":
            texts = {value for value in constants if isinstance(value, str)}
            return [*sorted(texts), "", "another"]
        case "version":
            return [Version(text) for text in _versions({v for v in constants if isinstance(v, Version)})]
        case "int" | "float":
            numbers = {value for value in constants if isinstance(value, int | float) and not isinstance(value, bool)}
            return _numbers(type, numbers)


def _numbers(type: Type, constants: set[int | float]) -> list[Value]:
    ends = {end for end in (type.low, type.high) if end is not None}
    around: set[int | float] = set()
    for number in constants | ends | {0, 1}:
        if type.kind == "int":
            whole = math.floor(number)
            around |= {whole - 1, whole, whole + 1, whole * 2, whole * 3}
        else:
            double = float(number)
            around |= {math.nextafter(double, -math.inf), double, math.nextafter(double, math.inf), double * 1.5}
    fitting = (as_type(type, number) for number in sorted(around))
    return [value for value in fitting if value is not None]


def _packages(environment: Environment, expressions: list[Expression]) -> dict[str, list[str]]:
    """Versions of the packages that conditions read and nobody gave; offline they range over all."""
    if not environment.assume_packages:
        return {}
    names = {name for expression in expressions for name in packages_read(expression)}
    leaves = (leaf for expression in expressions for leaf in walk(expression) if isinstance(leaf, Constant))
    constants = {leaf.value for leaf in leaves if isinstance(leaf.value, Version)}
    return {name: _versions(constants) for name in sorted(names) if name not in environment.packages}


def _versions(constants: set[Version]) -> list[str]:
    """Each version, one just below it, one just above, and the extremes."""
    found = {Version("0.0.1"), Version("9999")}
    for version in constants:
        release = ".".join(str(part) for part in version.release)
        epoch = f"{version.epoch}!" if version.epoch else ""
        found |= {version, Version(f"{epoch}{release}.dev0"), Version(f"{epoch}{release}.post1")}
    return [str(version) for version in sorted(found)]
