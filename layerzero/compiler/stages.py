"""Which parts of an operation hold -> the outcome: lock, allow, deny, score, order, fallback.

A set of parts is an int, one bit a part: first the kernels, then what the rules say. The tree asks this once for each
of its leaves while compiling, the bitset matcher for each new set that it meets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, groupby

from layerzero.compiler.lower import Lowered, PartKind
from layerzero.semantics.proof import Outcome

_LONG = 1 << 256


@dataclass(frozen=True, slots=True)
class Applied:
    """The parts that hold; `feasible` are kernels as bits, those under quarantine taken out."""

    stages: Stages
    parts: int
    feasible: int

    def of(self, kind: PartKind) -> dict[int, int]:
        """For each rule of a kind that applies the kernels it is about."""
        return self.stages.about(self.parts & self.stages.kinds.get(kind, 0))


@dataclass(frozen=True)
class Stages:
    """Section 4 of the language from stage 3 on, over bits."""

    lowered: Lowered

    @cached_property
    def kinds(self) -> dict[PartKind, int]:
        """The parts of each kind."""
        found: dict[PartKind, int] = {}
        for kind, same in groupby(enumerate(self.lowered.parts), key=lambda numbered: numbered[1].kind):
            numbers = [number for number, _ in same]
            found[kind] = found.get(kind, 0) | (1 << numbers[-1] + 1) - (1 << numbers[0])
        return found

    def outcome(self, parts: int) -> Outcome:
        applied = self.sort(parts)
        counting = self.highest("lock", parts)
        candidates = applied.feasible
        locked_by: tuple[str, ...] = ()
        if counting:
            targets = self.targets(applied, counting)
            if targets:
                candidates = targets
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
        orders = self.agreeing(parts, candidates)
        scores = self.scores(applied, candidates)
        chosen = min(scores, key=lambda kernel: self.rank(orders, kernel, scores[kernel]))
        return Outcome(self.lowered.kernels[chosen], scores[chosen], False, locked_by, self.names(orders))

    def sort(self, parts: int) -> Applied:
        feasible = parts & ((1 << len(self.lowered.kernels)) - 1)
        quarantined = union(self.about(parts & self.kinds.get("quarantine", 0)))
        return Applied(self, parts, feasible & ~quarantined)

    def about(self, parts: int) -> dict[int, int]:
        """The rules of some parts, each with the kernels it is about."""
        found: dict[int, int] = {}
        for number in bits(parts):
            part = self.lowered.parts[number]
            found[part.rule] = found.get(part.rule, 0) | part.kernels
        return found

    def highest(self, kind: PartKind, parts: int) -> dict[int, int]:
        """Those of the highest layer and, there, of the highest priority."""
        left = parts & self.kinds.get(kind, 0)
        counting: dict[int, int] = {}
        top: tuple[int, int] | None = None
        while left:
            # INVARIANT: the parts of a kind stand in the order of their ranks (see lower), so the last ones count.
            number = left.bit_length() - 1
            left ^= 1 << number
            part = self.lowered.parts[number]
            rank = self.rank_of_rule(part.rule)
            if top is not None and rank != top:
                break
            top = rank
            counting[part.rule] = counting.get(part.rule, 0) | part.kernels
        return counting

    def rank_of_rule(self, rule: int) -> tuple[int, int]:
        return self.lowered.rules[rule].layer, self.lowered.rules[rule].priority

    def targets(self, applied: Applied, locks: Mapping[int, int]) -> int:
        """The feasible kernels that every lock names."""
        found = applied.feasible
        for kernels in locks.values():
            found &= kernels
        return found

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

    def rank(self, orders: Mapping[int, int], kernel: int, score: float) -> tuple[tuple[int, ...], float, int, int]:
        positions = tuple(self.position(order, about, kernel) for order, about in orders.items())
        return positions, -score, -self.lowered.priorities[kernel], kernel

    def position(self, order: int, about: int, kernel: int) -> int:
        """The place of the first target that matches; one past the last where none does."""
        places = self.lowered.rules[order].positions
        if about >> kernel & 1:
            for place, kernels in enumerate(places):
                if kernels >> kernel & 1:
                    return place
        return len(places)

    def agreeing(self, parts: int, candidates: int) -> dict[int, int]:
        """The orders that count; none where two of them disagree on candidates."""
        orders = self.highest("order", parts)
        for one, other in combinations(orders.items(), 2):
            places = [(self.position(*one, k), self.position(*other, k)) for k in bits(candidates)]
            if any((a - c) * (b - d) < 0 for (a, b), (c, d) in combinations(places, 2)):
                return {}
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

    def names(self, rules: Iterable[int]) -> tuple[str, ...]:
        return tuple(sorted(self.lowered.rules[rule].name for rule in rules))


def bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, lowest first."""
    if mask >= _LONG:  # taking the lowest bit off costs as much as the mask is long
        digits = bin(mask)[:1:-1]
        at = digits.find("1")
        while at >= 0:
            yield at
            at = digits.find("1", at + 1)
        return
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def union(masks: Mapping[int, int]) -> int:
    found = 0
    for mask in masks.values():
        found |= mask
    return found
