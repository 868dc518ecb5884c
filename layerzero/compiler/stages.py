"""Which parts of an operation hold -> the outcome: lock, allow, deny, score, order, fallback.

A set of parts is an int, one bit a part: first the kernels, then what the rules say. The tree asks this once for each
of its leaves while compiling, the bitset matcher for each new set that it meets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from layerzero.compiler.lower import Lowered, PartKind
from layerzero.semantics.proof import Outcome


@dataclass(frozen=True, slots=True)
class Applied:
    """The parts that hold, sorted: kernels as bits, and for each rule that applies the kernels it is about."""

    feasible: int
    rules: dict[PartKind, dict[int, int]]

    def of(self, kind: PartKind) -> dict[int, int]:
        return self.rules.get(kind, {})


@dataclass(frozen=True)
class Stages:
    """Section 4 of the language from stage 3 on, over bits."""

    lowered: Lowered

    def outcome(self, parts: int) -> Outcome:
        applied = self.sort(parts)
        counting = self.highest(applied.of("lock"))
        candidates = applied.feasible
        locked_by: tuple[str, ...] = ()
        if counting:
            targets = self.intersection(applied, counting)
            if candidates & targets:
                candidates &= targets
                locked_by = self.names(counting)
            else:
                otherwise = {self.lowered.rules[rule].otherwise for rule in counting}
                if "fail" in otherwise:
                    return Outcome(None, None, False, error="lock_failed")
                if "fallback" in otherwise:
                    return self.fallback(applied)
        if not locked_by:
            candidates = self.allowed_and_not_denied(applied, candidates)
        if not candidates:
            return self.fallback(applied)
        orders = self.agreeing(applied, candidates)
        scores = self.scores(applied, candidates)
        chosen = min(scores, key=lambda kernel: self.rank(applied, orders, kernel, scores[kernel]))
        return Outcome(self.lowered.kernels[chosen], scores[chosen], False, locked_by, self.names(orders))

    def sort(self, parts: int) -> Applied:
        count = len(self.lowered.kernels)
        feasible = parts & ((1 << count) - 1)
        rules: dict[PartKind, dict[int, int]] = {}
        for number in bits(parts >> count):
            part = self.lowered.parts[number + count]
            if part.kind == "quarantine":
                feasible &= ~part.kernels
            else:
                said = rules.setdefault(part.kind, {})
                said[part.rule] = said.get(part.rule, 0) | part.kernels
        return Applied(feasible, rules)

    def highest(self, rules: dict[int, int]) -> list[int]:
        """Those of the highest layer and, there, of the highest priority."""
        top = max((self.rank_of_rule(rule) for rule in rules), default=None)
        return [rule for rule in rules if self.rank_of_rule(rule) == top]

    def rank_of_rule(self, rule: int) -> tuple[int, int]:
        return self.lowered.rules[rule].layer, self.lowered.rules[rule].priority

    def intersection(self, applied: Applied, locks: list[int]) -> int:
        targets = -1
        for rule in locks:
            targets &= applied.of("lock")[rule]
        return targets

    def allowed_and_not_denied(self, applied: Applied, candidates: int) -> int:
        allows = applied.of("allow")
        return candidates & (union(allows) if allows else -1) & ~union(applied.of("deny"))

    # ------------------------------------------------------------ score and order

    def scores(self, applied: Applied, kernels: int) -> dict[int, float]:
        """Each kernel's priority times the factors of its boosts in ascending order, in doubles."""
        scores = {kernel: float(self.lowered.priorities[kernel]) for kernel in bits(kernels)}
        boosts = applied.of("boost")
        for rule in sorted(boosts, key=lambda rule: self.lowered.rules[rule].factor):
            for kernel in bits(boosts[rule] & kernels):
                scores[kernel] *= self.lowered.rules[rule].factor
        return scores

    def rank(
        self, applied: Applied, orders: list[int], kernel: int, score: float
    ) -> tuple[tuple[int, ...], float, int, int]:
        positions = tuple(self.position(applied, order, kernel) for order in orders)
        return positions, -score, -self.lowered.priorities[kernel], kernel

    def position(self, applied: Applied, order: int, kernel: int) -> int:
        """The place of the first target that matches; one past the last where none does."""
        places = self.lowered.rules[order].positions
        if applied.of("order")[order] >> kernel & 1:
            for place, kernels in enumerate(places):
                if kernels >> kernel & 1:
                    return place
        return len(places)

    def agreeing(self, applied: Applied, candidates: int) -> list[int]:
        """The orders that count; none where two of them disagree on candidates."""
        orders = self.highest(applied.of("order"))
        for one, other in combinations(orders, 2):
            places = [(self.position(applied, one, k), self.position(applied, other, k)) for k in bits(candidates)]
            if any((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(places, 2)):
                return []
        return orders

    # ------------------------------------------------------------ nothing left

    def fallback(self, applied: Applied) -> Outcome:
        """The first fallback that is feasible and not denied, unless the policy is strict."""
        usable = 0 if self.lowered.strict else applied.feasible & ~union(applied.of("deny"))
        for kernel in self.lowered.fallback:
            if usable >> kernel & 1:
                score = self.scores(applied, 1 << kernel)[kernel]
                return Outcome(self.lowered.kernels[kernel], score, True)
        return Outcome(None, None, False, error="no_kernel")

    def names(self, rules: list[int]) -> tuple[str, ...]:
        return tuple(sorted(self.lowered.rules[rule].name for rule in rules))


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def union(masks: dict[int, int]) -> int:
    found = 0
    for mask in masks.values():
        found |= mask
    return found
