"""LZ401: two locks of equal rank claim the same calls for different kernels.

**What it does.** Compares every two locks of the same layer and priority, operation by operation. They conflict when
both apply to some call and no kernel of the operation is a target of both there.

**Why it is bad.** Locks of equal rank are intersected. Where nothing is left, the call fails, or misses both locks,
however the files are ordered.

**Avoid**

    lock acme.decode for attention when sm >= 90
    lock flashinfer.decode for attention when batch >= 8

**Prefer** to say which one wins, or conditions that exclude each other

    lock acme.decode for attention when sm >= 90 priority 10
    lock flashinfer.decode for attention when batch >= 8

Arms of one experiment exclude each other, so their locks never conflict. The sets of kernels are compared, not the
text of the targets, and `kernel.X` in a condition narrows them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from layerzero.analysis import replay
from layerzero.analysis.findings import Answer, Doubt, called, shown
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.reach import Reach, in_force, reach, rivals
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.region import Found, Nowhere, Region, Undecided, Witness
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError
from layerzero.syntax.diagnostics import Diagnostic, Label


def check(ground: Ground) -> Iterator[Answer]:
    program, today = ground.program, ground.today
    reported: set[frozenset[int]] = set()
    for operation in program.operations.values():
        space = Space(program, operation)
        reaches: list[Reach] = []
        for rule in in_force(program, "lock", today):
            if ground.spent():
                yield Doubt("conflicting_locks", called(rule), BUDGET_SPENT)
                continue
            try:
                where = reach(space, rule)
            except TooComplexError as error:
                yield Doubt("conflicting_locks", called(rule), str(error))
                continue
            if where is not None:
                reaches.append(where)
        for first, second in rivals(reaches):
            pair = frozenset({id(first.rule), id(second.rule)})
            if ground.spent():
                yield Doubt("conflicting_locks", f"locks of `{operation.name}`", BUDGET_SPENT)
                break
            found = Nowhere() if pair in reported else conflict(first, second, today)
            if isinstance(found, Witness):
                reported.add(pair)
                yield _finding(first.rule, second.rule, found)
            elif isinstance(found, Undecided):
                yield Doubt("conflicting_locks", f"{called(first.rule)} and {called(second.rule)}", found.reason)


def conflict(first: Reach, second: Reach, today: date) -> Found:
    """A call that both locks claim, with no target in common there."""
    if len(first.groups) == len(second.groups) == 1 and first.kernels & second.kernels:
        return Nowhere()
    agreed: list[Formula] = []
    for kernels, formula in first.groups:
        for others, besides in second.groups:
            if kernels & others:
                agreed.append(f.all_of([formula, besides]))
    clash = f.all_of([first.formula, second.formula, *(f.negation(common) for common in agreed)])
    if clash == f.FALSE:
        return Nowhere()

    def confirm(witness: Witness) -> bool:
        said = replay.applied(first.space.program, witness, today)
        one, other = said.get(id(first.rule)), said.get(id(second.rule))
        return (
            one is not None and other is not None and one.applies and other.applies and not one.kernels & other.kernels
        )

    return Region(first.space, clash).find(confirm)


def _finding(one: Rule, other: Rule, witness: Witness) -> Diagnostic:
    return Diagnostic(
        "LZ401",
        f"{called(other)} and {called(one)} lock the same calls to different kernels",
        other.span,
        f"to `{other.targets[0].text}`",
        f"raise the `priority` of one, or let the conditions exclude each other; both claim {shown(witness)}",
        (Label(one.span, f"to `{one.targets[0].text}`, with the same rank"),),
        witness.context,
    )
