"""LZ513: a lock that can choose what a deny forbids.

**What it does.** Looks for a call in which a lock decides for a kernel that a deny matches.

**Why it is bad.** Where a lock decides, allow and deny are not asked: the lock brings back what the deny was to keep
out. What must never run is said with a quarantine.

**Avoid**

    deny torch.* for attention when batch > 32
    lock torch.sdpa_flash for attention when q_len == 1

**Prefer** a quarantine for "never", or a lock that leaves those calls out

    quarantine torch.* for attention when batch > 32
    lock torch.sdpa_flash for attention when q_len == 1 else choose
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from layerzero.analysis.findings import Answer, Doubt, called, shown
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.model import Model
from layerzero.analysis.reach import Reach
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.region import Found, Nowhere, Region, Undecided, Witness
from layerzero.regions.translate import TooComplexError
from layerzero.syntax.diagnostics import Diagnostic, Label


def check(ground: Ground) -> Iterator[Answer]:
    for lock in ground.rules("lock"):
        if ground.spent():
            yield Doubt("denied_lock", called(lock), BUDGET_SPENT)
            continue
        for deny in (rule for rule in ground.program.rules if rule.kind == "deny"):
            if lock.kernels & deny.kernels:
                yield from _ask(ground, lock, deny)


def _ask(ground: Ground, lock: Rule, deny: Rule) -> Iterator[Answer]:
    for model in ground.models():
        if not lock.concerns(model.operation.name) or deny not in model.rules:
            continue
        try:
            locked, denied = model.reach(lock), model.reach(deny)
            found = (Nowhere(), "") if locked is None or denied is None else _meeting(model, locked, denied)
        except TooComplexError as error:
            found = Undecided(str(error)), ""
        if isinstance(found[0], Undecided):
            yield Doubt("denied_lock", f"{called(lock)} and {called(deny)}", found[0].reason)
        elif isinstance(found[0], Witness):
            yield Diagnostic(
                "LZ513",
                f"{called(lock)} can choose `{found[1]}`, which {called(deny)} forbids",
                lock.span,
                "where a lock decides, no deny is asked",
                f"use `quarantine` for what must never run, or narrow the lock; as in {shown(found[0])}",
                (Label(deny.span, "it is forbidden here"),),
                found[0].context,
            )
            return


def _meeting(model: Model, lock: Reach, deny: Reach) -> tuple[Found, str]:
    """A call in which the lock decides for a kernel that the deny matches."""
    doubt: Found = Nowhere()
    for kernel in sorted(lock.kernels & deny.kernels):
        if kernel not in model.kernels:
            continue
        both = f.all_of([model.part(lock, kernel), model.part(deny, kernel), model.feasible(kernel)])
        if both == f.FALSE:
            continue
        found = Region(model.space, both).find(partial(_chosen, model, lock.rule, kernel))
        if isinstance(found, Witness):
            return found, kernel
        if isinstance(found, Undecided) and not _outranked(model, lock, kernel):
            doubt = found
    return doubt, ""


def _outranked(model: Model, lock: Reach, kernel: str) -> bool:
    """Whether other locks or targets may decide instead: then that no call was found says nothing worth a doubt."""
    return len(lock.kernels) > 1 or len(model.reaches("lock")) > 1


def _chosen(model: Model, lock: Rule, kernel: str, witness: Witness) -> bool:
    proof = model.decided(witness)
    return proof.kernel == kernel and lock.name in proof.locked_by
