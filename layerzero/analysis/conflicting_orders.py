"""LZ402: two orders of equal rank disagree.

**What it does.** Compares every two orders of the same layer and priority. They conflict when both apply to some
call in which two kernels are candidates that one order ranks one way and the other the other way.

**Why it is bad.** Where orders disagree none of them applies, and the scores decide instead.

**Avoid**

    order acme.* > torch.* for attention
    order torch.* > acme.* for attention when batch > 8

**Prefer** to say which one wins

    order acme.* > torch.* for attention
    order torch.* > acme.* for attention when batch > 8 priority 1

Two kernels that are never candidates of one call (because of what they require, or of quarantine, allow, deny or
lock) are no disagreement.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import permutations

from layerzero.analysis import replay
from layerzero.analysis.feasible import feasible
from layerzero.analysis.findings import Answer, Doubt, called, shown
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.reach import Reach, in_force, reach, rivals
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.region import Found, Nowhere, Region, Undecided, Witness
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.interpret import position
from layerzero.syntax.diagnostics import Diagnostic, Label


def check(ground: Ground) -> Iterator[Answer]:
    program, today = ground.program, ground.today
    reported: set[frozenset[int]] = set()
    for operation in program.operations.values():
        question = _Question(Space(program, operation), today)
        reaches: list[Reach] = []
        for rule in in_force(program, "order", today):
            try:
                where = reach(question.space, rule)
            except TooComplexError as error:
                yield Doubt("conflicting_orders", called(rule), str(error))
                continue
            if where is not None:
                reaches.append(where)
        for first, second in rivals(reaches):
            one, other = first.rule, second.rule
            pair = frozenset({id(one), id(other)})
            if pair in reported:
                continue
            if ground.spent():
                yield Doubt("conflicting_orders", f"{called(one)} and {called(other)}", BUDGET_SPENT)
                continue
            try:
                found, kernels = question.disagreement(first, second)
            except TooComplexError as error:
                found, kernels = Undecided(str(error)), ("", "")
            if isinstance(found, Witness):
                reported.add(pair)
                yield _finding(one, other, kernels, found)
            elif isinstance(found, Undecided):
                yield Doubt("conflicting_orders", f"{called(one)} and {called(other)}", found.reason)


@dataclass
class _Question:
    space: Space
    today: date
    _candidates: dict[str, Formula] = field(default_factory=dict)

    def disagreement(self, first: Reach, second: Reach) -> tuple[Found, tuple[str, str]]:
        """A call in which both orders apply and rank two of its candidates differently; the two kernels."""
        both = f.all_of([first.formula, second.formula])
        if both == f.FALSE:
            return Nowhere(), ("", "")
        names = [kernel.id for kernel in self.space.program.kernels_for(self.space.operation.name)]
        doubt: Undecided | None = None
        for kernels in permutations(names, 2):
            ahead, behind = kernels
            ranked = f.all_of([both, _before(first, ahead, behind), _before(second, behind, ahead)])
            if ranked == f.FALSE:
                continue
            region = Region(self.space, f.all_of([ranked, self._candidate(ahead), self._candidate(behind)]))
            found = region.find(partial(self._confirm, first.rule, second.rule, kernels))
            if isinstance(found, Witness):
                return found, kernels
            if isinstance(found, Undecided):
                doubt = found
        return doubt or Nowhere(), ("", "")

    def _candidate(self, kernel: str) -> Formula:
        """Where a kernel reaches the orders: feasible, and taken out by no quarantine, lock, allow or deny."""
        if kernel not in self._candidates:
            program, space = self.space.program, self.space
            quarantines = in_force(program, "quarantine", self.today)
            parts = [feasible(space, program.kernels[kernel], quarantines)]
            for rule in in_force(program, "deny", self.today):
                denied = reach(space, rule)
                if denied is not None:
                    parts.append(f.negation(denied.of(kernel)))
            for rule in in_force(program, "lock", self.today):
                locked = reach(space, rule)
                if locked is not None:
                    parts.append(f.any_of([f.negation(locked.formula), locked.of(kernel)]))
            allows = [where for rule in in_force(program, "allow", self.today) if (where := reach(space, rule))]
            unasked = f.all_of(f.negation(where.formula) for where in allows)
            parts.append(f.any_of([unasked, *(where.of(kernel) for where in allows)]))
            self._candidates[kernel] = f.all_of(parts)
        return self._candidates[kernel]

    def _confirm(self, one: Rule, other: Rule, kernels: tuple[str, str], witness: Witness) -> bool:
        program = self.space.program
        said = replay.applied(program, witness, self.today)
        first, second = said.get(id(one)), said.get(id(other))
        if first is None or second is None or not first.applies or not second.applies:
            return False
        proof = replay.decided(program, witness, self.today)
        ahead, behind = kernels
        return (
            all(proof.verdicts[kernel].stage in ("outranked", "chosen") for kernel in kernels)
            and position(first, ahead) < position(first, behind)
            and position(second, behind) < position(second, ahead)
        )


def _before(order: Reach, ahead: str, behind: str) -> Formula:
    """Where an order puts one kernel strictly before another. Unmatched kernels come last."""
    places = {kernel: _place(order.rule, kernel) for kernel in (ahead, behind)}
    last = len(order.rule.targets)
    matched = order.of(ahead)
    if places[ahead] >= last:
        return f.FALSE
    if places[ahead] < places[behind]:
        return matched
    return f.all_of([matched, f.negation(order.of(behind))])


def _place(rule: Rule, kernel: str) -> int:
    found = (index for index, target in enumerate(rule.targets) if kernel in target.kernels)
    return next(found, len(rule.targets))


def _finding(one: Rule, other: Rule, kernels: tuple[str, str], witness: Witness) -> Diagnostic:
    ahead, behind = kernels
    return Diagnostic(
        "LZ402",
        f"{called(other)} and {called(one)} have the same rank and disagree on `{ahead}` and `{behind}`",
        other.span,
        f"`{behind}` first",
        f"raise the `priority` of one, or let the conditions exclude each other; both apply to {shown(witness)}",
        (Label(one.span, f"`{ahead}` first"),),
        witness.context,
    )
