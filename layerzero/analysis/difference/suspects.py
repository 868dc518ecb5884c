"""What differs between the two sides of an operation -> where that can change a decision.

Decisions can only differ where a rule applies that was added, removed or edited, and around a kernel whose facts
changed. What only takes single kernels away, or moves their scores, changes nothing unless one of them is chosen on
either side: these are its `kernels`. Of anything else they are None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from typing import Literal as OneOf

from layerzero.analysis.difference.sides import Pair
from layerzero.analysis.model import Model
from layerzero.check.expressions import AttributeValue, Expression, walk
from layerzero.check.program import Kernel, Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.space import Space
from layerzero.regions.translate import Truths

Side = OneOf["old", "new"]
Rules = tuple[tuple[Side, Rule], ...]

_SINGLE = ("quarantine", "deny", "boost")  # speak of single kernels


@dataclass(frozen=True, slots=True)
class Suspect:
    """One difference: where it can matter, and the kernels of which one has to be chosen on some side."""

    formula: Formula
    kernels: frozenset[str] | None
    where: Formula  # the condition alone, without what the kernels need: for readers
    rules: tuple[tuple[Side, Rule], ...] = ()  # those that differ; none where facts do


def suspects(pair: Pair) -> Iterator[Suspect]:
    """Every difference of a pair. Raises TooComplexError."""
    old, new = pair.old, pair.new
    if max(len(model.reaches("order")) for model in (old, new)) > 1:
        # Whether two orders disagree hangs on every candidate, so no difference is about single kernels.
        for one in _differences(pair):
            yield replace(one, kernels=None)
    else:
        yield from _differences(pair)


def _differences(pair: Pair) -> Iterator[Suspect]:
    old, new = pair.old, pair.new
    if old.program.strict != new.program.strict or old.operation.fallback != new.operation.fallback:
        yield Suspect(f.TRUE, None, f.TRUE)
    yield from _words(pair)
    yield from _rules(pair)
    for name in sorted({*old.kernels, *new.kernels}):
        yield from _kernel(pair, name)


# ---------------------------------------------------------------- rules


@dataclass(frozen=True, slots=True)
class _Said:
    """What one rule says of one kernel, or of the operation (`kernel` is None), on one side."""

    model: Model
    rule: Rule
    kernel: str | None
    effect: Hashable  # what it does where it applies
    place: Hashable  # where it applies


def _rules(pair: Pair) -> Iterator[Suspect]:
    """What only one side says; of an edited condition, where one of the two is true and the other not."""
    attributes = _changed_attributes(pair)
    gone = _unlike(pair.old, pair.new, attributes)
    added = _unlike(pair.new, pair.old, attributes)
    for one in gone:
        other = next((other for other in added if other.effect == one.effect), None)
        if other is None:
            yield from _one(pair, one, _formula(one), (("old", one.rule),))
            continue
        added.remove(other)
        both: Rules = (("old", one.rule), ("new", other.rule))
        yield from _one(pair, one, _only(one, other), both)
        yield from _one(pair, other, _only(other, one), both)
    for one in added:
        yield from _one(pair, one, _formula(one), (("new", one.rule),))


def _unlike(model: Model, other: Model, attributes: set[str]) -> list[_Said]:
    """What the rules in force say that those of the other side do not; and all that reads an attribute that changed."""
    counts = Counter((one.effect, one.place) for rule in other.rules for one in _said(rule, other))
    found = []
    for rule in model.rules:
        for one in _said(rule, model):
            if counts[(one.effect, one.place)] == 0 or attributes & _attributes_of(rule):
                found.append(one)
            else:
                counts[(one.effect, one.place)] -= 1
    return found


def _said(rule: Rule, model: Model) -> Iterator[_Said]:
    own = model.kernels.keys()
    scopes = frozenset(scope.view for scope in rule.scopes if scope.operation == model.operation.name)
    place = (scopes, rule.condition)
    if rule.kind in _SINGLE:
        for kernel in sorted(rule.kernels & own):
            yield _Said(model, rule, kernel, (rule.kind, rule.factor, kernel), place)
        return
    targets = tuple(frozenset(target.kernels & own) for target in rule.targets)
    otherwise = rule.otherwise if rule.kind == "lock" else ""
    yield _Said(model, rule, None, (rule.kind, rule.layer, targets, bool(rule.scopes), rule.priority, otherwise), place)


def _formula(said: _Said) -> Formula:
    reach = said.model.reach(said.rule)
    if reach is None:
        return f.FALSE
    return reach.formula if said.kernel is None else said.model.part(reach, said.kernel)


def _only(one: _Said, other: _Said) -> Formula:
    """Where a rule applies, to some kernel, as its other version does not."""
    if one.kernel is not None:
        return f.all_of([_formula(one), f.negation(_formula(other))])
    kernels = sorted(one.rule.kernels & one.model.kernels.keys())
    parts = [f.all_of([_part(one, name), f.negation(_part(other, name))]) for name in kernels]
    return f.any_of([f.all_of([_formula(one), f.negation(_formula(other))]), *parts])


def _part(said: _Said, kernel: str) -> Formula:
    reach = said.model.reach(said.rule)
    return f.FALSE if reach is None else said.model.part(reach, kernel)


def _one(pair: Pair, said: _Said, where: Formula, rules: Rules) -> Iterator[Suspect]:
    if where == f.FALSE:
        return
    if said.kernel is not None:
        # A quarantine bars in its own model: the kernel matters where the other side lets it run.
        can = f.any_of(side.feasible(said.kernel) for side in (pair.old, pair.new) if said.kernel in side.kernels)
        yield Suspect(f.all_of([where, can]), frozenset({said.kernel}), where, rules)
    elif said.rule.kind == "lock":
        yield from _lock(said, where, rules)
    else:
        yield Suspect(where, None, where, rules)


def _lock(said: _Said, where: Formula, rules: Rules) -> Iterator[Suspect]:
    """A lock counts where none of higher rank applies. Where it hits, its side chooses one of its targets."""
    model, rule = said.model, said.rule
    others = [lock for lock in model.reaches("lock") if lock.rule is not rule]
    rank = (rule.layer, rule.priority)
    higher = [lock.formula for lock in others if (lock.rule.layer, lock.rule.priority) > rank]
    equal = [lock.formula for lock in others if (lock.rule.layer, lock.rule.priority) == rank]
    lower = [lock.formula for lock in others if (lock.rule.layer, lock.rule.priority) < rank]
    counts = f.all_of([where, f.negation(f.any_of(higher))])
    targets = sorted(rule.kernels & model.kernels.keys())
    hits = f.any_of(f.all_of([_part(said, kernel), model.feasible(kernel)]) for kernel in targets)
    alone = f.negation(f.any_of(equal))
    yield Suspect(f.all_of([counts, alone, hits]), rule.kernels, where, rules)
    beside = f.any_of(equal)
    missed = f.any_of([*lower, beside]) if rule.otherwise == "choose" else f.TRUE
    for rest in (f.all_of([counts, alone, f.negation(hits), missed]), f.all_of([counts, beside])):
        if rest != f.FALSE:
            yield Suspect(rest, None, where, rules)


def _attributes_of(rule: Rule) -> set[str]:
    parts: Iterator[Expression] = walk(rule.condition) if rule.condition is not None else iter(())
    return {part.name for part in parts if isinstance(part, AttributeValue)}


# ---------------------------------------------------------------- facts


def _changed_attributes(pair: Pair) -> set[str]:
    found: set[str] = set()
    for name in pair.old.kernels.keys() & pair.new.kernels.keys():
        before, after = pair.old.kernels[name].attributes, pair.new.kernels[name].attributes
        found |= {one for one in {*before, *after} if _typed(before.get(one)) != _typed(after.get(one))}
    return found


def _typed(value: object) -> object:
    return (type(value), value)


def _kernel(pair: Pair, name: str) -> Iterator[Suspect]:
    """Where a kernel may run on one side only; all that it can serve where its priority differs."""
    sides = [model.feasible(name) if name in model.kernels else f.FALSE for model in (pair.old, pair.new)]
    if name in pair.old.kernels and name in pair.new.kernels:
        one, other = pair.old.kernels[name], pair.new.kernels[name]
        if one.priority != other.priority:
            yield Suspect(f.any_of(sides), frozenset({name}), f.TRUE)
            return
        if _facts(pair, pair.old, one) == _facts(pair, pair.new, other):
            return
    for here, there in (sides, reversed(sides)):
        only = f.all_of([here, f.negation(there)])
        if only != f.FALSE:
            yield Suspect(only, frozenset({name}), f.negation(there))


def _facts(pair: Pair, model: Model, kernel: Kernel) -> Hashable:
    """What a kernel needs, packages as the machine has them; quarantines are rules, and looked at as such."""
    environment = model.environment
    given = [
        (choice.name, environment.packages.get(choice.name), choice.name in environment.broken)
        for line in kernel.packages
        for choice in line.alternatives
    ]
    return (
        frozenset(kernel.views(pair.operation)),
        frozenset((one.condition, one.when) for one in kernel.requirements),
        frozenset((one.feature, one.when) for one in kernel.supports),
        frozenset(line.alternatives for line in kernel.packages),
        frozenset(given),
        environment.assume_packages,
        kernel.id in environment.open_breakers,
    )


# ---------------------------------------------------------------- views and features


def _words(pair: Pair) -> Iterator[Suspect]:
    """Where a view or a feature of both sides has another truth, or a feature is demanded on one alone."""
    old, new = pair.old, pair.new
    for name in sorted(old.operation.views.keys() & new.operation.views.keys()):
        before, after = old.operation.views[name], new.operation.views[name]
        if before != after:
            yield from _everything(_differing(old.space, before, new.space, after))
    for name in sorted({*old.operation.features, *new.operation.features}):
        before_, after_ = old.operation.features.get(name), new.operation.features.get(name)
        if before_ is None or after_ is None:
            space, condition = (new.space, after_) if before_ is None else (old.space, before_)
            yield from _everything(space.where(condition, Truths.NOT_FALSE))
        elif before_ != after_:
            yield from _everything(_differing(old.space, before_, new.space, after_))


def _everything(formula: Formula) -> Iterator[Suspect]:
    if formula != f.FALSE:
        yield Suspect(formula, None, formula)


def _differing(old: Space, before: Expression, new: Space, after: Expression) -> Formula:
    truths = (Truths.TRUE, Truths.FALSE, Truths.UNKNOWN)
    return f.any_of(f.all_of([old.where(before, truth), f.negation(new.where(after, truth))]) for truth in truths)
