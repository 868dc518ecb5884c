"""A kernel -> the formula of the contexts in which it comes first, where no lock and no order has a say.

With a rule left out, the same of the program without it; so the question whether a rule matters becomes a formula.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

from layerzero.analysis.model import Model
from layerzero.analysis.reach import Reach
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.translate import TooComplexError

MAX_BOOSTS = 12
"""Boosts of two kernels whose every combination is looked at."""

Boosts = tuple[list[float], list[float], Formula]
"""Factors of the one kernel, factors of the other, and where they apply."""


@dataclass(eq=False)
class Chosen:
    """`Chosen(model, rule)`: what comes first without that rule."""

    model: Model
    without: Rule | None = None
    _candidates: dict[str, Formula] = field(default_factory=dict)
    _firsts: dict[str, Formula] = field(default_factory=dict)
    _ahead: dict[tuple[str, str, float | None], Formula] = field(default_factory=dict)

    # ------------------------------------------------------------ candidates

    def feasible(self, kernel: str) -> Formula:
        return self.model.feasible(kernel, self.without)

    def denied(self, kernel: str) -> Formula:
        return f.any_of(self.model.part(deny, kernel) for deny in self.model.reaches("deny", self.without))

    def allowed(self, kernel: str) -> Formula:
        """Where an allow matches the kernel, or none applies."""
        allows = self.model.reaches("allow", self.without)
        unasked = f.all_of(self.model.negation(allow.formula) for allow in allows)
        return f.any_of([unasked, *(self.model.part(allow, kernel) for allow in allows)])

    @cached_property
    def locked(self) -> Formula:
        return f.any_of(lock.formula for lock in self.model.reaches("lock", self.without))

    def candidate(self, kernel: str) -> Formula:
        """Feasible, allowed and not denied."""
        if kernel not in self._candidates:
            free = [self.feasible(kernel), self.allowed(kernel), f.negation(self.denied(kernel))]
            self._candidates[kernel] = f.all_of(free)
        return self._candidates[kernel]

    def scored(self, kernel: str) -> Formula:
        """Where the kernel may reach the scores: a candidate, or feasible where a lock may decide."""
        return f.any_of([self.candidate(kernel), f.all_of([self.locked, self.feasible(kernel)])])

    def first(self, kernel: str) -> Formula:
        """Where the kernel comes first by score, among the candidates, and no lock applies."""
        if kernel not in self._firsts:
            parts = [f.negation(self.locked), self.candidate(kernel)]
            for other in self.model.kernels:
                if other != kernel:
                    parts.append(f.any_of([f.negation(self.candidate(other)), self.ahead(kernel, other)]))
            self._firsts[kernel] = f.all_of(parts)
        return self._firsts[kernel]

    def may_be_first(self, kernel: str) -> Formula:
        """Every context, and more, in which the kernel comes first where no lock applies, orders included."""
        parts = [f.negation(self.locked), self.candidate(kernel)]
        for other in self.model.kernels:
            if other != kernel:
                parts.append(f.any_of([f.negation(self.candidate(other)), self._may_be_ahead(kernel, other)]))
        return f.all_of(parts)

    def _may_be_ahead(self, kernel: str, other: str) -> Formula:
        """By an order that applies, or by score where no order that applies alone says otherwise."""
        orders = self.model.reaches("order", self.without)
        by_order, against = [], []
        for order in orders:
            mine, its = _place(order, kernel), _place(order, other)
            if mine < its:
                by_order.append(self.model.part(order, kernel))
            elif its < mine:
                alone = (self.model.negation(one.formula) for one in orders if one is not order)
                against.append(f.all_of([self.model.part(order, other), *alone]))
        score = [self.ahead(kernel, other), *(f.negation(one) for one in against)]
        return f.any_of([*by_order, f.all_of(score)])

    # ------------------------------------------------------------ scores

    def ahead(self, kernel: str, other: str, factor: float | None = None) -> Formula:
        """Where one kernel comes before another by score, the first one's times a further `factor`.

        Raises:
            TooComplexError: more boosts than are looked at.
        """
        key = (kernel, other, factor)
        if key not in self._ahead:
            boosts = self._boosts(kernel, other)
            if len(boosts) > MAX_BOOSTS:
                raise TooComplexError(f"more than {MAX_BOOSTS} boosts of `{kernel}` and `{other}`")
            self._ahead[key] = self._compare(kernel, other, boosts, [] if factor is None else [factor], [])
        return self._ahead[key]

    def _boosts(self, kernel: str, other: str) -> list[Boosts]:
        """A boost of both kernels where it applies to both on the same condition is one, which halves what follows."""
        found: list[Boosts] = []
        for one in self.model.reaches("boost", self.without):
            factor = [one.rule.factor] if one.rule.factor != 1 else []
            mine, its = self.model.part(one, kernel), self.model.part(one, other)
            if mine == its:
                found.append((factor, factor, mine))
            else:
                found += [(factor, [], mine), ([], factor, its)]
        return [one for one in found if (one[0] or one[1]) and one[2] != f.FALSE]

    def _compare(
        self, kernel: str, other: str, boosts: list[Boosts], mine: list[float], theirs: list[float]
    ) -> Formula:
        """One boost after the other applies or does not, until the rest can change nothing."""
        own, its = [x for one in boosts for x in one[0]], [x for one in boosts for x in one[1]]
        least, most = [*mine, *(x for x in own if x < 1)], [*mine, *(x for x in own if x > 1)]
        low, high = [*theirs, *(x for x in its if x < 1)], [*theirs, *(x for x in its if x > 1)]
        if self._rank(kernel, least) < self._rank(other, high):
            return f.TRUE
        if self._rank(kernel, most) > self._rank(other, low):
            return f.FALSE
        (factor, its_factor, applies), *rest = boosts
        yes = self._compare(kernel, other, rest, [*mine, *factor], [*theirs, *its_factor])
        no = self._compare(kernel, other, rest, mine, theirs)
        return f.any_of([f.all_of([applies, yes]), f.all_of([self.model.negation(applies), no])])

    def _rank(self, kernel: str, factors: Iterable[float]) -> tuple[float, int, str]:
        priority = self.model.kernels[kernel].priority
        return (-prod(sorted(factors), start=float(priority)), -priority, kernel)


def _place(order: Reach, kernel: str) -> int:
    targets = order.rule.targets
    return next((at for at, target in enumerate(targets) if kernel in target.kernels), len(targets))
