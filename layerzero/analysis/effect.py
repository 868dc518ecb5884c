"""A rule -> whether any call is decided otherwise without it.

Wherever the rule applies, a context is decided with and without it; where both come out the same, the piece in which
they do so for the same reasons is left out, until a difference is found or nothing is left: then there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from layerzero.analysis.ground import Ground
from layerzero.analysis.model import Model
from layerzero.analysis.reach import Reach
from layerzero.analysis.settle import Outcome, settle
from layerzero.check.program import Program, Rule
from layerzero.regions import formula as f
from layerzero.regions.explore import explore
from layerzero.regions.formula import Formula
from layerzero.regions.region import Witness
from layerzero.regions.translate import TooComplexError

STEPS = 6_000
PIECES = 150
_TRIES = 3  # pieces that are looked at in each place where a difference is likely
_PAIRS = 48  # such places


@dataclass(frozen=True, slots=True)
class Changes:
    """A call that is decided otherwise without the rule."""

    witness: Witness
    before: Outcome
    without: Outcome


@dataclass(frozen=True, slots=True)
class Nothing:
    """Proved: no call is. `by` are the rules that decide where this one applies, the most frequent first."""

    by: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Unknown:
    reason: str


def effect(ground: Ground, rule: Rule) -> Changes | Nothing | Unknown:
    """Whether removing a rule changes a kernel, degraded or error, today or once other rules have ended."""
    program = ground.program
    less = replace(program, rules=tuple(other for other in program.rules if other is not rule))
    by: Counter[int] = Counter()
    rules = {id(other): other for other in program.rules}
    doubt: Unknown | None = None
    for day in ground.days(rule):
        for operation in program.operations:
            model = ground.model(operation, day, ranging=True)
            try:
                where = model.reach(rule)
                if where is None:
                    continue
                look = _Both(model, less, rule)
                found = _likely(ground, model, where, look)
                if found is not None:
                    return found
                for region in _regions(model, where):
                    for piece in explore(model.space, region, look, ground.spent, STEPS, PIECES):
                        before, without, responsible = piece.answer
                        if before != without:
                            return Changes(piece.witness, before, without)
                        by.update(map(id, responsible))
            except TooComplexError as error:
                doubt = doubt or Unknown(str(error))
    if doubt is not None:
        return doubt
    return Nothing(tuple(rules[key] for key, _ in by.most_common() if key in rules))


@dataclass(frozen=True)
class _Both:
    """A context -> its outcomes with and without a rule, and what they hang on."""

    model: Model
    less: Program
    rule: Rule

    def __call__(self, witness: Witness) -> tuple[tuple[Outcome, Outcome, tuple[Rule, ...]], tuple[Formula, ...]]:
        first = settle(self.model, witness, self.model.decided(witness))
        second = settle(self.model, witness, self.model.decided(witness, self.less), self.rule)
        responsible = tuple(rule for rule in second.rules if rule is not self.rule)
        return (first.outcome, second.outcome, responsible), (*first.within, *second.within)


def _regions(model: Model, where: Reach) -> Iterator[Formula]:
    """Every context in which the rule can matter."""
    rule = where.rule
    if rule.kind in ("allow", "lock", "order"):
        yield where.formula
        return
    # Quarantine, deny and boost speak of single kernels, and matter only where that kernel is otherwise feasible.
    for kernel in _own(model, where):
        yield f.all_of([model.part(where, kernel), model.feasible(kernel, _quarantine(rule))])


def _likely(ground: Ground, model: Model, where: Reach, look: _Both) -> Changes | None:
    """A difference where there likely is one: two kernels may run, and the rule speaks of one of them."""
    own = _own(model, where)
    others = sorted(model.kernels, key=lambda kernel: -model.kernels[kernel].priority)
    rule = where.rule
    places = [(kernel, kernel) for kernel in own]
    if rule.kind not in ("deny", "quarantine"):
        places += [(kernel, other) for kernel in own for other in others if _contend(model, rule, kernel, other)]
    if rule.kind == "allow":
        places += [(other, other) for other in others if other not in own]
    for kernel, other in places[:_PAIRS]:
        both = [model.feasible(one, _quarantine(rule)) for one in {kernel: 0, other: 0}]
        region = f.all_of([where.formula, *both])
        try:
            for piece in islice(explore(model.space, region, look, ground.spent, STEPS // 10), _TRIES):
                before, without, _ = piece.answer
                if before != without:
                    return Changes(piece.witness, before, without)
        except TooComplexError:
            continue  # a likely place only: the whole region is looked at all the same
    return None


def _contend(model: Model, rule: Rule, kernel: str, other: str) -> bool:
    """Whether the rule can change which of two kernels comes first."""
    if kernel == other or (other in rule.kernels and rule.kind != "order"):
        return False
    mine, its = model.kernels[kernel].priority, model.kernels[other].priority
    return its >= mine if rule.kind != "boost" or rule.factor > 1 else its <= mine


def _own(model: Model, where: Reach) -> list[str]:
    own = (kernel for kernel in where.kernels if kernel in model.kernels)
    return sorted(own, key=lambda kernel: (-model.kernels[kernel].priority, kernel))


def _quarantine(rule: Rule) -> Rule | None:
    return rule if rule.kind == "quarantine" else None
