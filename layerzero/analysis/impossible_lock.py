"""LZ403: no kernel that a lock names may run on the calls that it claims.

**What it does.** Looks, for each lock that ends in `else fail` (the default), for one call that it claims and one
target that is feasible there. Where there is provably none, every call that the lock claims fails.

**Why it is bad.** A lock never brings back a kernel that is not feasible, so the rule does nothing but raise errors.

**Avoid**

    kernel acme.decode for attention { require sm >= 90 }
    lock acme.decode for attention when sm in 80..89

**Prefer** a condition that the kernel can meet, or a way out

    lock acme.decode for attention when sm >= 90
    lock acme.decode for attention when sm in 80..89 else choose

A lock that only a quarantine bars is not reported here: the quarantine will end.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from layerzero.analysis import replay
from layerzero.analysis.feasible import Bar, barring, feasible
from layerzero.analysis.findings import Answer, Doubt, called, shown
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.reach import Reach, in_force, reach
from layerzero.regions import formula as f
from layerzero.regions.region import Nowhere, Region, Undecided, Witness
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError
from layerzero.syntax.diagnostics import Diagnostic, Label

_NAMED = 3  # kernels whose bar is spelled out


def check(ground: Ground) -> Iterator[Answer]:
    program, today = ground.program, ground.today
    for operation in program.operations.values():
        space = Space(program, operation)
        for rule in in_force(program, "lock", today):
            if rule.otherwise != "fail":
                continue
            if ground.spent():
                yield Doubt("impossible_lock", called(rule), BUDGET_SPENT)
                continue
            try:
                where = reach(space, rule)
                if where is not None:
                    yield from _ask(where, today)
            except TooComplexError as error:
                yield Doubt("impossible_lock", called(rule), str(error))


def _ask(where: Reach, today: date) -> Iterator[Answer]:
    program, space, rule = where.space.program, where.space, where.rule
    for kernels, formula in where.groups:
        for kernel in sorted(kernels):
            found = Region(space, f.all_of([formula, feasible(space, program.kernels[kernel])])).find()
            if isinstance(found, Undecided):
                yield Doubt("impossible_lock", called(rule), found.reason)
            if not isinstance(found, Nowhere):
                return

    def confirm(witness: Witness) -> bool:
        said = replay.application(program, witness, today, rule)
        proof = replay.decided(program, witness, today)
        return (
            said is not None
            and said.applies
            and proof.error is not None
            and all(proof.verdicts[kernel].stage == "infeasible" for kernel in said.kernels)
        )

    claimed = where.region.find(confirm)
    if isinstance(claimed, Witness):
        yield _finding(where, claimed)
    elif isinstance(claimed, Undecided):
        yield Doubt("impossible_lock", called(rule), claimed.reason)


def _finding(where: Reach, witness: Witness) -> Diagnostic:
    rule, space = where.rule, where.space
    bars: list[tuple[str, Bar | None]] = []
    for kernel in sorted(where.kernels)[:_NAMED]:
        bars.append((kernel, barring(space, space.program.kernels[kernel], where.of(kernel))))
    reasons = [
        f"`{kernel}` {bar.text}" if bar is not None else f"the needs of `{kernel}` exclude each other there"
        for kernel, bar in bars
    ]
    if not bars:
        reasons = [f"`{rule.targets[0].text}` names no kernel of `{space.operation.name}`"]
    more = len(where.kernels) - len(bars)
    label = "; ".join(reasons) + (f"; and {more} more" if more > 0 else "")
    claim = f"the calls of `{space.operation.name}` that it claims"
    help = "change the condition, or add `else choose` or `else fallback`"
    return Diagnostic(
        "LZ403",
        f"{called(rule)} can never be met: none of its kernels may serve {claim}",
        rule.span,
        label,
        f"{help}; each call that it claims fails, such as {shown(witness)}",
        tuple(Label(bar.span, f"`{kernel}` {bar.text}") for kernel, bar in bars if bar is not None),
        witness.context,
    )
