"""A context -> its decision, and formulas within which the decision stays the same: the reason, as a region.

It passes the stages of semantics/interpret.py on the formulas of a Model and, at each stage, pins what the outcome
hangs on: a kernel that could never come first needs no reason, of several reasons against one kernel a single one is
enough, and boosts that could only help the winner may come and go. The interpreter's answer is compared with it, so
that a mistake here ends in "not decided", never in a wrong claim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import combinations

from layerzero.analysis.model import Model
from layerzero.analysis.reach import Reach
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula, Literal
from layerzero.regions.region import Witness
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.proof import Proof


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller notices: the kernel, whether it is a fallback, or the error's code."""

    kernel: str | None
    degraded: bool = False
    error: str | None = None

    @property
    def text(self) -> str:
        if self.error is not None:
            return f"error {self.error}"
        return f"{self.kernel}{' (degraded)' if self.degraded else ''}"


@dataclass(frozen=True, slots=True)
class Settled:
    """The outcome at one context, where it stays, and the rules that it hangs on because they apply."""

    outcome: Outcome
    within: tuple[Formula, ...]
    rules: tuple[Rule, ...]


def outcome_of(proof: Proof) -> Outcome:
    return Outcome(proof.kernel, proof.degraded, None if proof.error is None else proof.error.code)


def settle(
    model: Model, witness: Witness, proof: Proof, without: Rule | None = None, naming: str | None = None
) -> Settled:
    """Why a context is decided as it is.

    Args:
        proof: the interpreter's, of the program with all rules but `without`.
        naming: the name of a rule; whether it applied is the same in the whole piece as well.

    Raises:
        TooComplexError: the formulas and the interpreter do not agree, so nothing is claimed.
    """
    trial = _Trial(model, witness.lookups, without)
    outcome = trial.decide()
    if outcome != outcome_of(proof):
        raise TooComplexError(f"the formulas say {outcome.text}, the interpreter {outcome_of(proof).text}")
    if naming is not None:
        trial.pin_applied(naming)
    return Settled(outcome, tuple(trial.pins.values()), tuple(trial.rules.values()))


def loses(model: Model, witness: Witness, proof: Proof, kernel: str) -> tuple[Formula, ...]:
    """Where a kernel is not chosen for the reason for which it is not chosen here: it is removed, or one is ahead.

    Wider than the region of the whole outcome, for who is chosen instead does not matter.

    Raises:
        TooComplexError: it is chosen, or the formulas and the interpreter do not agree.
    """
    trial = _Trial(model, witness.lookups, None, rival=kernel)
    outcome = trial.decide()
    if outcome != outcome_of(proof) or outcome.kernel == kernel:
        raise TooComplexError(f"the formulas say {outcome.text}, the interpreter {outcome_of(proof).text}")
    if kernel not in trial.feasible:  # then nothing else matters
        trial.pins = {}
        trial.pin_cheapest(trial.bars(kernel))
    return tuple(trial.pins.values())


@dataclass
class _Trial:
    model: Model
    lookups: Lookups
    without: Rule | None
    rival: str | None = None  # of the kernels that are not chosen only this one needs a reason
    pins: dict[int, Formula] = field(default_factory=dict)
    rules: dict[int, Rule] = field(default_factory=dict)
    _truths: dict[int, tuple[Formula, bool]] = field(default_factory=dict)
    feasible: frozenset[str] = frozenset()
    _boosts: dict[str, list[tuple[Rule, Formula]]] = field(default_factory=dict)

    # ------------------------------------------------------------ truth and pins

    def true(self, formula: Formula) -> bool:
        found = self._truths.get(id(formula))
        if found is None:
            found = self._truths[id(formula)] = (formula, f.holds_in(formula, self.lookups))
        return found[1]

    def pin(self, formula: Formula, rule: Rule | None = None) -> None:
        """The outcome hangs on this formula as it is here, true or false."""
        holds = self.true(formula)
        if rule is not None and holds:
            self.rules[id(rule)] = rule
        pinned = formula if holds else self.model.negation(formula)
        if pinned != f.TRUE:
            self.pins[id(pinned)] = pinned

    def cost(self, formula: Formula) -> int:
        """How much a pin would narrow the piece, roughly."""
        pinned = formula if self.true(formula) else self.model.negation(formula)
        return 0 if id(pinned) in self.pins else _size(pinned)

    def reaches(self, kind: str) -> list[Reach]:
        return self.model.reaches(kind, self.without)

    def pin_applied(self, name: str) -> None:
        """Whether the rule of this name applies, and is asked. Which stages ask is settled with the outcome, but for
        orders: those hang on every candidate."""
        for rule in self.model.rules:
            one = self.model.reach(rule) if rule.name == name and rule is not self.without else None
            if one is None:
                continue
            for _, formula in one.groups:
                self.pin(formula)
            if rule.kind == "order":
                self.pin_everything()

    def pin_everything(self) -> None:
        for kind in ("allow", "deny", "order"):
            for one in self.reaches(kind):
                for _, formula in one.groups:
                    self.pin(formula)
        for kernel in self.model.kernels:
            self.pin_feasible(kernel)

    # ------------------------------------------------------------ stages

    def decide(self) -> Outcome:
        kernels = self.model.kernels
        self.feasible = frozenset(kernel for kernel in kernels if self.is_feasible(kernel))
        locks = self.counting("lock")
        if not locks:
            return self.choose()
        applied = [self.applied(lock) for lock in locks]
        targets = frozenset.intersection(*applied)
        left = targets & self.feasible
        if left:
            return self.best(left, targets, self.pin_feasible, self.bars)
        for kernel in sorted(targets):
            self.pin_cheapest(self.bars(kernel))
        otherwise = {lock.rule.otherwise for lock in locks}
        if otherwise == {"choose"}:
            return self.choose()
        return self.fall_back() if "fail" not in otherwise else Outcome(None, error="lock_failed")

    def choose(self) -> Outcome:
        allows = self.reaches("allow")
        applying = [allow for allow in allows if self.true(allow.formula)]
        denies = self.reaches("deny")

        def pin_kept(kernel: str) -> None:
            self.pin_feasible(kernel)
            if applying:
                one = min(
                    (a for a in applying if self.true(self.of(a, kernel))), key=lambda a: self.cost(self.of(a, kernel))
                )
                self.pin(self.of(one, kernel), one.rule)
            else:
                for allow in allows:
                    self.pin(allow.formula)
            for deny in denies:
                self.pin(self.of(deny, kernel))

        def removals(kernel: str) -> list[list[tuple[Formula, Rule | None]]]:
            found = self.bars(kernel)
            found += [[(self.of(d, kernel), d.rule)] for d in denies if self.true(self.of(d, kernel))]
            if applying and not any(self.true(self.of(allow, kernel)) for allow in applying):
                first = min(applying, key=lambda allow: self.cost(allow.formula))
                found.append([(first.formula, first.rule), *((self.of(allow, kernel), None) for allow in allows)])
            return found

        kept = frozenset(kernel for kernel in self.feasible if not removals(kernel))
        if kept:
            return self.best(kept, frozenset(self.model.kernels), pin_kept, removals)
        for kernel in self.model.kernels:
            self.pin_cheapest(removals(kernel))
        return self.fall_back()

    def fall_back(self) -> Outcome:
        if not self.model.program.strict:
            denies = self.reaches("deny")
            for kernel in self.model.operation.fallback:
                if kernel not in self.model.kernels:
                    continue
                denied = [deny for deny in denies if self.true(self.of(deny, kernel))]
                if kernel in self.feasible and not denied:
                    self.pin_feasible(kernel)
                    for deny in denies:
                        self.pin(self.of(deny, kernel))
                    return Outcome(kernel, True)
                reasons = self.bars(kernel)
                reasons += [[(self.of(deny, kernel), deny.rule)] for deny in denied]
                self.pin_cheapest(reasons)
        return Outcome(None, error="no_kernel")

    # ------------------------------------------------------------ which rules count

    def counting(self, kind: str) -> list[Reach]:
        """Of the locks or orders, those of the highest rank that apply; that they do, and no other, is pinned."""
        reaches = self.reaches(kind)
        applying = [one for one in reaches if self.true(one.formula)]
        top = max((_rank(one.rule) for one in applying), default=None)
        counting = [one for one in applying if _rank(one.rule) == top]
        for one in reaches:
            if one in counting:
                self.rules[id(one.rule)] = one.rule
                for _, formula in one.groups:
                    self.pin(formula)
            elif top is None or _rank(one.rule) >= top:
                self.pin(one.formula)
        return counting

    def applied(self, one: Reach) -> frozenset[str]:
        return frozenset[str]().union(*(kernels for kernels, formula in one.groups if self.true(formula)))

    def of(self, one: Reach, kernel: str) -> Formula:
        return self.model.part(one, kernel)

    # ------------------------------------------------------------ kernels that may run

    def is_feasible(self, kernel: str) -> bool:
        return all(map(self.true, self.model.needs(kernel))) and not any(
            self.true(formula) for _, formula in self.model.barring(kernel, self.without)
        )

    def bars(self, kernel: str) -> list[list[tuple[Formula, Rule | None]]]:
        found: list[list[tuple[Formula, Rule | None]]] = [
            [(need, None)] for need in self.model.needs(kernel) if not self.true(need)
        ]
        barring = self.model.barring(kernel, self.without)
        return found + [[(formula, rule)] for rule, formula in barring if self.true(formula)]

    def pin_feasible(self, kernel: str) -> None:
        for need in self.model.needs(kernel):
            self.pin(need)
        for _, formula in self.model.barring(kernel, self.without):
            self.pin(formula)

    def pin_cheapest(self, removals: list[list[tuple[Formula, Rule | None]]]) -> None:
        """One of the reasons that take a kernel out."""
        chosen = min(removals, key=lambda parts: sum(self.cost(formula) for formula, _ in parts))
        for formula, rule in chosen:
            self.pin(formula, rule)

    # ------------------------------------------------------------ which of them comes first

    def best(
        self,
        kept: frozenset[str],
        among: frozenset[str],
        pin_kept: Callable[[str], None],
        removals: Callable[[str], list[list[tuple[Formula, Rule | None]]]],
    ) -> Outcome:
        """The first of the candidates. Every other kernel of `among` is worse for a reason that is pinned."""
        orders = self.reaches("order")
        mark = dict(self.pins), dict(self.rules)
        counting = self.counting("order") if orders else []
        if any(self.disagree(one, other, kept) for one, other in combinations(counting, 2)):
            asked: list[Reach] = []
        else:
            asked = counting
        winner = min(kept, key=lambda kernel: self.rank(kernel, asked))
        # Whether two orders disagree hangs on every candidate.
        others = among - {winner} if self.rival is None or len(orders) > 1 else among & {self.rival}
        if self.rival in among and self.rival not in kept:
            self.pin_cheapest(removals(self.rival))
            return Outcome(winner)
        pin_kept(winner)
        if len(counting) > 1 and any(self.disagree(a, b, among) for a, b in combinations(counting, 2)):
            for kernel in sorted(others):  # whether they disagree hangs on who is a candidate
                if kernel in kept:
                    pin_kept(kernel)
                else:
                    self.pin_cheapest(removals(kernel))
        elif orders and all(kernel not in kept for kernel in others):
            # Alone, it needs no order: without those pins, and with a reason against every other.
            self.pins, self.rules = mark
            pin_kept(winner)
            for kernel in sorted(others):
                self.pin_cheapest(removals(kernel))
            return Outcome(winner)
        for kernel in sorted(others):
            self.pin_behind(winner, kernel, kernel in kept, asked, removals)
        return Outcome(winner)

    def pin_behind(
        self,
        winner: str,
        kernel: str,
        kept: bool,
        asked: list[Reach],
        removals: Callable[[str], list[list[tuple[Formula, Rule | None]]]],
    ) -> None:
        own, other = self.places(winner, asked), self.places(kernel, asked)
        if own < other:
            return
        if own == other and self.surely_ahead(winner, kernel):
            return  # whatever else applies
        if not kept:
            self.pin_cheapest(removals(kernel))
            return
        # A factor that helps the winner must go on to apply, one that hurts it must not begin to; so, the other way
        # round, for the other kernel. Pinned one by one, until they are enough.
        for rule, formula in (*self.boosts(winner), *self.boosts(kernel)):
            if self.surely_ahead(winner, kernel):
                return
            self.pin(formula, rule)

    def surely_ahead(self, winner: str, kernel: str) -> bool:
        """Whether the pins alone make one kernel's score beat the other's."""
        kernels = self.model.kernels
        low, high = self.bound(winner, least=True), self.bound(kernel, least=False)
        return (-low, -kernels[winner].priority, winner) < (-high, -kernels[kernel].priority, kernel)

    def bound(self, kernel: str, least: bool) -> float:
        """The least or greatest score that the pins leave open: factors below 1 apply or not, those above 1 do not."""
        score = float(self.model.kernels[kernel].priority)
        for rule, formula in self.boosts(kernel):
            holds = self.true(formula)
            pinned = id(formula if holds else self.model.negation(formula)) in self.pins or formula == f.TRUE
            if holds if pinned else (rule.factor < 1) == least:
                score *= rule.factor
        return score

    def boosts(self, kernel: str) -> list[tuple[Rule, Formula]]:
        """Those that may apply to a kernel, by ascending factor, as the interpreter multiplies them."""
        if kernel not in self._boosts:
            found = [(one.rule, self.of(one, kernel)) for one in self.reaches("boost")]
            found = [one for one in found if one[1] != f.FALSE and one[0].factor != 1]
            self._boosts[kernel] = sorted(found, key=lambda one: (one[0].factor, one[0].name))
        return self._boosts[kernel]

    def rank(self, kernel: str, asked: list[Reach]) -> tuple[tuple[int, ...], float, int, str]:
        priority = self.model.kernels[kernel].priority
        score = float(priority)
        for rule, formula in self.boosts(kernel):
            if self.true(formula):
                score *= rule.factor
        return (self.places(kernel, asked), -score, -priority, kernel)

    def places(self, kernel: str, asked: Iterable[Reach]) -> tuple[int, ...]:
        return tuple(self.place(one, kernel) for one in asked)

    def place(self, order: Reach, kernel: str) -> int:
        targets = order.rule.targets
        if kernel in self.applied(order):
            for place, target in enumerate(targets):
                if kernel in target.kernels:
                    return place
        return len(targets)

    def disagree(self, one: Reach, other: Reach, kernels: Iterable[str]) -> bool:
        places = [(self.place(one, kernel), self.place(other, kernel)) for kernel in kernels]
        return any((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(places, 2))


def _rank(rule: Rule) -> tuple[int, int]:
    return (rule.layer, rule.priority)


def _size(formula: Formula) -> int:
    return 1 if isinstance(formula, Literal) else 1 + sum(map(_size, formula.parts))
