"""A rule in one operation -> where it applies, and to which of the operation's kernels.

The same as semantics/applicability.py, asked of all contexts at once: `kernel.X` narrows the rule's kernels, so
kernels that agree on the attributes that the condition reads form a group with one formula.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from layerzero.check.expressions import AttributeValue, Value, walk
from layerzero.check.program import Program, Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.overlap import overlapping
from layerzero.regions.region import Region
from layerzero.regions.space import Space
from layerzero.regions.translate import Truths


@dataclass(frozen=True)
class Reach:
    """Where a rule applies: `groups` of kernels, each with the formula of the contexts in which it speaks of them."""

    rule: Rule
    space: Space
    groups: tuple[tuple[frozenset[str], Formula], ...]

    @cached_property
    def formula(self) -> Formula:
        """Where the rule applies at all."""
        return f.any_of(formula for _, formula in self.groups)

    @cached_property
    def kernels(self) -> frozenset[str]:
        return frozenset().union(*(kernels for kernels, _ in self.groups))

    @property
    def region(self) -> Region:
        return Region(self.space, self.formula)

    def of(self, kernel: str) -> Formula:
        """Where the rule applies to one kernel."""
        return f.any_of(formula for kernels, formula in self.groups if kernel in kernels)


def reach(space: Space, rule: Rule) -> Reach | None:
    """Where a rule applies in the operation of a space; None where it is not about that operation.

    A quarantine applies where its view and condition are not false, any other rule where both are true.

    Raises:
        TooComplexError: the condition has too many cases.
    """
    operation = space.operation.name
    if not rule.concerns(operation):
        return None
    candidates = {kernel.id: kernel for kernel in space.program.kernels_for(operation)}
    own = rule.kernels.intersection(candidates)
    wanted = Truths.NOT_FALSE if rule.kind == "quarantine" else Truths.TRUE
    inside = space.within(rule.scopes, wanted) if rule.scopes else f.TRUE
    read = _attributes_read(rule)
    if not read:
        # A lock, order or allow that is written for the operation counts there even if it matches no kernel.
        if not own and not (rule.scopes and rule.kind in ("allow", "lock", "order")):
            return None
        return Reach(rule, space, ((own, f.all_of([inside, space.where(rule.condition, wanted)])),))
    alike: dict[tuple[object, ...], set[str]] = {}
    for name in sorted(own):
        values = candidates[name].attributes
        alike.setdefault(tuple(_distinct(values.get(attribute)) for attribute in read), set()).add(name)
    groups = []
    for kernels in alike.values():
        attributes = candidates[min(kernels)].attributes
        formula = f.all_of([inside, space.where(rule.condition, wanted, attributes)])
        if formula != f.FALSE:
            groups.append((frozenset(kernels), formula))
    return Reach(rule, space, tuple(groups)) if groups else None


def _attributes_read(rule: Rule) -> tuple[str, ...]:
    if rule.condition is None:
        return ()
    return tuple(dict.fromkeys(part.name for part in walk(rule.condition) if isinstance(part, AttributeValue)))


def _distinct(value: Value | None) -> object:
    return None if value is None else (type(value), value)  # 1, 1.0 and true are different values


def in_force(program: Program, kind: str, today: date) -> list[Rule]:
    """The rules of one kind that have not expired, in the order of the text."""
    rules = [rule for rule in program.rules if rule.kind == kind and not (rule.until and rule.until <= today)]
    return sorted(rules, key=lambda rule: (rule.span.source.name, rule.span.start))


def rivals(reaches: list[Reach]) -> Iterator[tuple[Reach, Reach]]:
    """Pairs of equal rank (the same layer and priority) that may apply to one call and differ in what they say."""
    ranks: dict[tuple[int, int], list[Reach]] = {}
    for one in reaches:
        ranks.setdefault((one.rule.layer, one.rule.priority), []).append(one)
    for equals in ranks.values():
        said = [_said(one) for one in equals]
        for first, second in overlapping([one.formula for one in equals], said):
            yield equals[first], equals[second]


def _said(one: Reach) -> tuple[frozenset[str], ...] | None:
    """The kernels of a rule, target by target; two rules that say the same never clash. None where they vary."""
    if len(one.groups) != 1 or not one.kernels:
        return None
    return tuple(target.kernels & one.kernels for target in one.rule.targets)
