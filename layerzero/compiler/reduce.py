"""A state of the tree -> the smallest state with the same outcomes, so that equal states are met as one.

A state is the set of parts that may still hold; `open` are those of them that a later probe may yet remove, the others
are *sure*. What cannot change the outcome any more is dropped: kernels that a sure candidate beats, rules about
kernels that are gone, locks and orders of lower rank. Scores are monotone in every factor, so they can be bounded.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerzero.compiler.lower import Lowered, PartKind
from layerzero.compiler.stages import Stages, bits


@dataclass
class Reducer:
    """Reduces states of one operation; `work` counts the parts that were looked at, the same on every machine."""

    stages: Stages
    work: int = 0

    @property
    def lowered(self) -> Lowered:
        return self.stages.lowered

    def reduce(self, state: int, open_parts: int) -> int:
        """The smallest state that this knows of; `open_parts` may hold parts that are not in the state."""
        while True:
            smaller = _Step(self, state, state & open_parts).run()
            if smaller == state:
                return state
            state = smaller

    def of(self, kind: PartKind, state: int) -> int:
        return state & self.stages.kinds.get(kind, 0)


class _Step:
    """One pass over a state. `kernels` are those that may still be feasible, as bits."""

    def __init__(self, reducer: Reducer, state: int, open_parts: int) -> None:
        self.reducer, self.lowered, self.stages = reducer, reducer.lowered, reducer.stages
        self.state, self.open = state, open_parts
        self.kernels = reducer.of("kernel", state)

    def run(self) -> int:
        self.remove_quarantined()
        locked = self.look_at_locks()
        if locked is not None:
            return self.state
        self.drop_idle("deny", "boost")
        return self.state

    # ------------------------------------------------------------ small questions

    def rules(self, kind: PartKind) -> list[tuple[int, int, bool]]:
        """(part, its kernels that are left, whether it is sure)."""
        found = self.reducer.of(kind, self.state)
        self.reducer.work += 1 + found.bit_count()
        return [(n, self.lowered.parts[n].kernels & self.kernels, not self.open >> n & 1) for n in bits(found)]

    def drop(self, *numbers: int) -> None:
        for number in numbers:
            self.state &= ~(1 << number)

    def drop_kind(self, *kinds: PartKind) -> None:
        for kind in kinds:
            self.state &= ~self.reducer.of(kind, self.state)

    def keep_kernels(self, kept: int) -> None:
        self.state &= ~(self.kernels & ~kept)
        self.kernels &= kept

    def drop_idle(self, *kinds: PartKind) -> None:
        for kind in kinds:
            self.drop(*(number for number, kernels, _ in self.rules(kind) if not kernels))

    def covered(self, kind: PartKind, sure: bool) -> int:
        """The kernels that the sure, or the open, parts of a kind are about."""
        found = 0
        for _, kernels, is_sure in self.rules(kind):
            if is_sure is sure:
                found |= kernels
        return found

    @property
    def fallbacks(self) -> int:
        return 0 if self.lowered.strict else sum(1 << kernel for kernel in set(self.lowered.fallback))

    # ------------------------------------------------------------ stages

    def remove_quarantined(self) -> None:
        for number, kernels, sure in self.rules("quarantine"):
            if sure:
                self.keep_kernels(~kernels)
            if sure or not kernels:
                self.drop(number)
        self.drop_idle("quarantine")
        self.may_be_quarantined = self.covered("quarantine", sure=False)

    def look_at_locks(self) -> bool | None:
        """Reduce under the locks that are left; None where the later stages have been reduced or wait for a lock."""
        locks = self.rules("lock")
        surest = max((self.rank(number) for number, _, sure in locks if sure), default=None)
        if surest is not None:
            self.drop(*(number for number, _, _ in locks if self.rank(number) < surest))
            locks = self.rules("lock")
        if not locks:
            self.without_lock()
        elif surest is not None and all(sure for _, _, sure in locks):
            return self.with_locks(locks)
        return None

    def rank(self, number: int) -> tuple[int, int]:
        return self.stages.rank_of_rule(self.lowered.parts[number].rule)

    def with_locks(self, locks: list[tuple[int, int, bool]]) -> bool | None:
        by_rule: dict[int, int] = {}
        for number, kernels, _ in locks:
            rule = self.lowered.parts[number].rule
            by_rule[rule] = by_rule.get(rule, 0) | kernels
        targets = self.kernels
        for kernels in by_rule.values():
            targets &= kernels
        otherwise = {self.lowered.rules[rule].otherwise for rule in by_rule}
        if targets & self.sure_kernels:
            self.drop_kind("allow", "deny")
            self.compete(targets, targets & self.sure_kernels)
            return None
        if targets and "fail" not in otherwise:
            return None
        if targets:
            self.keep_kernels(targets)
            self.drop_kind("allow", "deny")
            return None
        if "fail" in otherwise:
            self.keep_kernels(0)
            self.drop_kind("allow", "deny", "boost", "order", "quarantine")
            return True
        if "fallback" in otherwise:
            self.keep_kernels(self.fallbacks)
            self.drop_kind("allow", "order")
            return None
        self.drop_kind("lock")
        return None

    @property
    def sure_kernels(self) -> int:
        return self.kernels & ~self.open & ~self.may_be_quarantined

    def without_lock(self) -> None:
        self.keep_kernels(~self.covered("deny", sure=True))
        self.drop_idle("deny")
        possible, allowed = self.look_at_allows()
        self.keep_kernels(possible | self.fallbacks)
        sure = self.sure_kernels & possible & allowed & ~self.covered("deny", sure=False)
        if sure:
            self.compete(possible, sure)
        elif not possible & self.kernels:
            self.trim_fallbacks()

    def look_at_allows(self) -> tuple[int, int]:
        """The kernels that may pass the allows, and those that pass whatever the open ones say."""
        allows = self.rules("allow")
        if not allows:
            return self.kernels, self.kernels
        sure = self.covered("allow", sure=True)
        applies = any(is_sure for _, _, is_sure in allows)
        if applies and sure == self.kernels:
            self.drop_kind("allow")
            return self.kernels, self.kernels
        return (sure | self.covered("allow", sure=False) if applies else self.kernels), sure

    def trim_fallbacks(self) -> None:
        """No candidate can be left: after a fallback that is sure to serve, no later one is asked."""
        usable = self.sure_kernels & ~self.covered("deny", sure=False)
        kept = 0
        for kernel in self.lowered.fallback if not self.lowered.strict else ():
            kept |= 1 << kernel
            if usable >> kernel & 1:
                break
        self.keep_kernels(kept)

    # ------------------------------------------------------------ who can win

    def compete(self, possible: int, sure: int) -> None:
        """Some candidate is sure, so no fallback is asked; drop the candidates that it beats in any case."""
        self.keep_kernels(possible)
        orders = self.rules("order")
        surest = max((self.rank(number) for number, _, is_sure in orders if is_sure), default=None)
        if surest is not None:
            self.drop(*(number for number, _, _ in orders if self.rank(number) < surest))
            orders = self.rules("order")
        if any(not is_sure for _, _, is_sure in orders):
            return
        counting = self.stages.agreeing(self.state, self.kernels)
        if orders and not counting:
            return
        places = {
            k: tuple(self.stages.position(order, about, k) for order, about in counting.items())
            for k in bits(self.kernels)
        }
        scores = self.score_bounds()
        worst = {k: (places[k], -scores[k][0], -self.lowered.priorities[k], k) for k in bits(sure & self.kernels)}
        best = {k: (places[k], -scores[k][1], -self.lowered.priorities[k], k) for k in places}
        bar = min(worst.values())
        self.keep_kernels(sum(1 << kernel for kernel in best if best[kernel] <= bar))

    def score_bounds(self) -> dict[int, tuple[float, float]]:
        """The lowest and the highest score of each kernel that the open boosts leave possible."""
        low = {kernel: float(self.lowered.priorities[kernel]) for kernel in bits(self.kernels)}
        high = dict(low)
        boosts = [
            (self.lowered.rules[self.lowered.parts[number].rule].factor, kernels, sure)
            for number, kernels, sure in self.rules("boost")
        ]
        for factor, kernels, sure in sorted(boosts):
            self.reducer.work += kernels.bit_count()
            for kernel in bits(kernels):
                if sure or factor < 1:
                    low[kernel] *= factor
                if sure or factor > 1:
                    high[kernel] *= factor
        return {kernel: (low[kernel], high[kernel]) for kernel in low}
