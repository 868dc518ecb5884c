"""A rule -> whether any call is decided otherwise without it.

First a difference is looked for where there must be one if any: the kernel that comes first without the rule is one
that the rule takes out, or is overtaken. Where none is found, every context in which the rule can matter is decided
with and without it, piece by piece, until a difference is found or nothing is left: then there is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from layerzero.analysis.chosen import Chosen
from layerzero.analysis.ground import Ground
from layerzero.analysis.model import Model
from layerzero.analysis.reach import Reach
from layerzero.analysis.settle import Outcome, outcome_of, settle
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.explore import explore
from layerzero.regions.formula import Formula
from layerzero.regions.region import Nowhere, Region, Witness
from layerzero.regions.translate import TooComplexError

GUESS = 1_000
"""Splits of one look where a difference is likely."""
GUESSED = 240
"""Contexts that are decided for such looks, shared among the kernels: each of them may be what the rule changes."""


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
    by: Counter[int] = Counter()
    seen: set[tuple[str, tuple[int, ...]]] = set()
    doubt: Unknown | None = None
    for day in ground.days(rule):
        for operation in program.operations:
            model = ground.model(operation, day, ranging=True)
            situation = (operation, tuple(map(id, model.rules)))
            if situation in seen:
                continue  # what has ended since was about other operations
            seen.add(situation)
            try:
                where = model.reach(rule)
                if where is None:
                    continue
                found = _Comparison(model.near(rule), where).run(ground, by)
                if found is not None:
                    return found
            except TooComplexError as error:
                doubt = doubt or Unknown(str(error))
    if doubt is not None:
        return doubt
    rules = {id(other): other for other in program.rules}
    return Nothing(tuple(rules[key] for key, _ in by.most_common() if key in rules))


class _Comparison:
    """One rule in one operation, with and without."""

    def __init__(self, model: Model, where: Reach) -> None:
        self.model, self.where, self.rule = model, where, where.rule
        self.less = replace(model.program, rules=tuple(one for one in model.rules if one is not where.rule))
        kernels = (kernel for kernel in where.kernels if kernel in model.kernels)
        self.own = sorted(kernels, key=lambda kernel: (-model.kernels[kernel].priority, kernel))
        self.others = [kernel for kernel in model.kernels if kernel not in self.own]
        self.remaining = Chosen(model, self.rule)

    def run(self, ground: Ground, by: Counter[int]) -> Changes | None:
        tries = max(4, GUESSED // len(self.model.kernels))
        for guess in self.guesses():
            if ground.spent():
                raise TooComplexError("not examined: the budget is spent")
            if guess != f.FALSE:
                found = Region(self.model.space, guess).find(self.differs, GUESS, shortest=False, most=tries)
                if isinstance(found, Witness):
                    return self.changes(found)
        for region in self.regions():
            limits = ground.steps(self.model), ground.pieces(self.model)
            for piece in explore(self.model.space, region, self.look, ground.spent, *limits):
                before, without, responsible = piece.answer
                if before != without:
                    return Changes(piece.witness, before, without)
                by.update(map(id, responsible))
        if not by:
            by.update(map(id, self.covering()))
        return None

    # ------------------------------------------------------------ one context

    def look(self, witness: Witness) -> tuple[tuple[Outcome, Outcome, tuple[Rule, ...]], tuple[Formula, ...]]:
        """Its outcomes with and without the rule, and what they hang on."""
        first = settle(self.model, witness, self.model.decided(witness))
        second = settle(self.model, witness, self.model.decided(witness, self.less), self.rule)
        responsible = tuple(rule for rule in second.rules if rule is not self.rule)
        return (first.outcome, second.outcome, responsible), (*first.within, *second.within)

    def changes(self, witness: Witness) -> Changes:
        before, without = self.model.decided(witness), self.model.decided(witness, self.less)
        return Changes(witness, outcome_of(before), outcome_of(without))

    def differs(self, witness: Witness) -> bool:
        found = self.changes(witness)
        return found.before != found.without

    # ------------------------------------------------------------ where a difference is likely

    def guesses(self) -> Iterator[Formula]:
        part, remaining = self.part, self.remaining
        match self.rule.kind:
            case "deny" | "quarantine":
                for kernel in self.own:
                    yield f.all_of([part(kernel), remaining.first(kernel)])
                if self.rule.kind == "quarantine":
                    for lock in self.model.reaches("lock"):
                        kernels = [kernel for kernel in self.own if kernel in lock.kernels]
                        claimed = (
                            f.all_of([self.model.part(lock, k), part(k), remaining.feasible(k)]) for k in kernels
                        )
                        yield f.any_of(claimed)
            case "boost":
                for loser in self.others if self.rule.factor > 1 else self.own:
                    yield f.all_of([remaining.first(loser), f.any_of(self.overtakes(loser))])
            case "lock":
                yield from self.locking()
            case "allow":
                yield from self.allowing()
            case "order":
                for loser in self.model.kernels:
                    placed = self.placed_before(loser)
                    ahead = (f.all_of([before, remaining.candidate(kernel)]) for kernel, before in placed)
                    yield f.all_of([remaining.first(loser), f.any_of(ahead)])

    def overtakes(self, loser: str) -> Iterator[Formula]:
        """Where the boost moves another kernel before the one that would come first."""
        factor, remaining = self.rule.factor, self.remaining
        if factor > 1:
            for kernel in self.own:
                ahead = remaining.ahead(kernel, loser, factor)
                yield f.all_of([self.part(kernel), ahead, remaining.candidate(kernel)])
            return
        for other in self.others:
            behind = f.negation(remaining.ahead(loser, other, factor))
            yield f.all_of([self.part(loser), behind, remaining.candidate(other)])

    def locking(self) -> Iterator[Formula]:
        remaining = self.remaining
        may = f.any_of(f.all_of([self.part(kernel), remaining.feasible(kernel)]) for kernel in self.own)
        for other in self.others:
            yield f.all_of([may, remaining.first(other)])
        for kernel in self.own:
            yield f.all_of([self.part(kernel), remaining.feasible(kernel), remaining.denied(kernel)])
        if self.rule.otherwise != "choose":
            yield f.all_of([self.where.formula, *(f.negation(remaining.feasible(kernel)) for kernel in self.own)])

    def allowing(self) -> Iterator[Formula]:
        remaining, every = self.remaining, Chosen(self.model)
        others = self.model.reaches("allow", self.rule)
        for kernel in self.model.kernels:
            shut = f.all_of([self.where.formula, self.model.negation(self.part(kernel))])
            yield f.all_of([shut, remaining.first(kernel)])
            if others and kernel in self.own:
                elsewhere = f.any_of(self.model.part(one, kernel) for one in others)
                asked = f.any_of(one.formula for one in others)
                yield f.all_of([self.part(kernel), asked, f.negation(elsewhere), every.first(kernel)])

    def placed_before(self, loser: str) -> Iterator[tuple[str, Formula]]:
        """The kernels that the order puts before one, and where."""
        places = {kernel: self.place(kernel) for kernel in self.model.kernels}
        for kernel in self.own:
            if places[kernel] < places[loser]:
                yield kernel, self.part(kernel)

    def place(self, kernel: str) -> int:
        targets = self.rule.targets
        return next((at for at, target in enumerate(targets) if kernel in target.kernels), len(targets))

    def part(self, kernel: str) -> Formula:
        return self.model.part(self.where, kernel)

    # ------------------------------------------------------------ where the rule can matter

    def regions(self) -> Iterator[Formula]:
        """Every context in which the rule can matter: outside of these, leaving it out changes nothing."""
        rule, remaining = self.rule, self.remaining
        match rule.kind:
            case "quarantine":
                for kernel in self.own:
                    yield f.all_of([self.part(kernel), remaining.feasible(kernel)])
            case "deny":
                for kernel in self.own:
                    parts = [self.part(kernel), remaining.feasible(kernel), f.negation(remaining.denied(kernel))]
                    if kernel not in self.model.operation.fallback:  # a fallback need not be allowed
                        parts.append(remaining.allowed(kernel))
                    yield f.all_of(parts)
            case "boost":
                for kernel in self.own:
                    swaps = (
                        f.all_of([remaining.scored(other), self.swaps(kernel, other)])
                        for other in self.model.kernels
                        if other != kernel
                    )
                    yield f.all_of([self.part(kernel), remaining.scored(kernel), f.any_of(swaps)])
            case "order":
                yield f.all_of([self.where.formula, *self.lower(), self.beside()])
                for loser in self.model.kernels:
                    overtaking = (
                        f.all_of([before, remaining.scored(kernel), remaining.ahead(loser, kernel)])
                        for kernel, before in self.placed_before(loser)
                    )
                    yield f.all_of([remaining.scored(loser), f.any_of(overtaking)])
            case "lock":
                yield f.all_of([self.where.formula, *self.lower()])
            case "allow":
                yield self.where.formula

    def lower(self) -> Iterator[Formula]:
        """Where no rule of its kind with a higher rank applies: there it is asked."""
        for one in self.model.reaches(self.rule.kind, self.rule):
            if (one.rule.layer, one.rule.priority) > (self.rule.layer, self.rule.priority):
                yield self.model.negation(one.formula)

    def beside(self) -> Formula:
        """Where another order applies too: what one of them changes is not seen from its own places alone."""
        return f.any_of(one.formula for one in self.model.reaches("order", self.rule))

    def swaps(self, kernel: str, other: str) -> Formula:
        """Where the boost changes which of two kernels comes first; both ways of asking, as it may boost both."""
        if other in self.own:
            return f.TRUE
        before, after = self.remaining.ahead(kernel, other), self.remaining.ahead(kernel, other, self.rule.factor)
        return f.any_of([f.all_of([before, f.negation(after)]), f.all_of([f.negation(before), after])])

    def covering(self) -> list[Rule]:
        """The rules of its kind because of which the rule can matter nowhere; one alone where one is enough."""
        ranked = self.rule.kind in ("lock", "order")
        apart = [self.where.formula] if ranked else [f.all_of([self.part(k), *self.model.needs(k)]) for k in self.own]
        found: list[Rule] = []
        for one in self.model.reaches(self.rule.kind, self.rule):
            covered = [one.formula] * len(apart) if ranked else [self.model.part(one, k) for k in self.own]
            pairs = list(zip(apart, covered, strict=True))
            if not any(self._anywhere(f.all_of(pair)) for pair in pairs):
                continue
            if not any(self._anywhere(f.all_of([own, f.negation(its)])) for own, its in pairs):
                return [one.rule]
            found.append(one.rule)
        return found

    def _anywhere(self, formula: Formula) -> bool:
        return not isinstance(Region(self.model.space, formula).find(budget=GUESS, shortest=False), Nowhere)
