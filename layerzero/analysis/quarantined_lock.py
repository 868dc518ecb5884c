"""LZ518: a lock that only a quarantine bars.

**What it does.** Looks at locks whose kernels could serve calls that the lock claims, but are quarantined in every
one of them.

**Why it is bad.** Until the quarantine ends the lock cannot be met: its calls fail or go elsewhere.

**Avoid**

    quarantine acme.decode for attention when sm >= 90
    lock acme.decode for attention when sm >= 90 else choose

**Prefer** to take the lock back until the quarantine ends, or to lock what may run

    quarantine acme.decode for attention when sm >= 90
    lock flashinfer.decode for attention when sm >= 90 else choose
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import Answer, Doubt, called, shown
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.model import Model
from layerzero.analysis.reach import Reach
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.region import Nowhere, Region, Undecided, Witness
from layerzero.regions.translate import TooComplexError
from layerzero.syntax.diagnostics import Diagnostic, Label


def check(ground: Ground) -> Iterator[Answer]:
    for lock in ground.rules("lock"):
        if ground.spent():
            yield Doubt("quarantined_lock", called(lock), BUDGET_SPENT)
            continue
        for model in ground.models():
            try:
                where = model.reach(lock)
                if where is not None and any(model.barring(kernel) for kernel in where.kernels):
                    yield from _ask(model, where)
            except TooComplexError as error:
                yield Doubt("quarantined_lock", called(lock), str(error))


def _ask(model: Model, where: Reach) -> Iterator[Answer]:
    lock, could = where.rule, None
    quarantines: dict[int, Rule] = {}
    for kernel in sorted(where.kernels):
        barring = model.barring(kernel)
        open_to = f.all_of([model.part(where, kernel), *model.needs(kernel)])
        unbarred = f.all_of([open_to, *(model.negation(formula) for _, formula in barring)])
        within = Region(model.space, unbarred).find(shortest=False)
        if isinstance(within, Witness):
            return
        if isinstance(within, Undecided):
            yield Doubt("quarantined_lock", called(lock), within.reason)
            return
        anywhere = Region(model.space, open_to).find() if barring else Nowhere()
        if isinstance(anywhere, Witness):
            could = could or anywhere
            quarantines.update((id(rule), rule) for rule, _ in barring)
    if could is not None:
        named = list(quarantines.values())
        yield Diagnostic(
            "LZ518",
            f"{called(lock)} cannot be met: its kernels are quarantined wherever they could serve it",
            lock.span,
            f"barred by {' and '.join(called(rule) for rule in named[:3])}",
            f"take the lock back until the quarantine ends, or lock another kernel; as in {shown(could)}",
            tuple(Label(rule.span, _until(rule)) for rule in named[:3]),
            could.context,
        )


def _until(rule: Rule) -> str:
    return f"the quarantine ends on {rule.until}" if rule.until is not None else "the quarantine has no end"
