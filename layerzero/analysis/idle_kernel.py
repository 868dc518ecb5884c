"""LZ515: a kernel that can never win.

**What it does.** Looks for a call that a kernel serves: chosen, locked or as the fallback. Where there is provably
none, because what it requires can never hold or because others are always before it, the kernel is reported.

**Why it is bad.** Whoever added the kernel believes that it is used.

**Avoid**

    kernel acme.fast for attention { priority 60 require sm >= 90 }
    kernel acme.slow for attention { priority 40 require sm >= 90 }

**Prefer** to delete it, to raise its priority, or to say where it is the better one

    boost acme.slow by 2 for attention when batch > 64

The packages of other kernels may be missing in the call. Kernels that an operation falls back to are not reported.
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.chosen import Chosen
from layerzero.analysis.findings import Answer, Doubt, called
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.model import Model
from layerzero.analysis.settle import settle
from layerzero.check.program import Kernel, Rule
from layerzero.regions import formula as f
from layerzero.regions.explore import explore
from layerzero.regions.formula import Formula
from layerzero.regions.region import Region, Undecided, Witness
from layerzero.regions.translate import TooComplexError
from layerzero.syntax.diagnostics import Diagnostic, Label

_NAMED = 3


def check(ground: Ground) -> Iterator[Answer]:
    for kernel in ground.kernels():
        models = [ground.model(name, ranging=True) for name in ground.program.operations if kernel.serves(name)]
        if not models or any(kernel.id in model.operation.fallback for model in models):
            continue
        if ground.spent():
            yield Doubt("idle_kernel", f"`{kernel.id}`", BUDGET_SPENT)
            continue
        found = [_ask(ground, model, kernel) for model in models]
        if any(isinstance(one, Witness) for one in found):
            continue
        doubt = next((one for one in found if isinstance(one, Undecided)), None)
        if doubt is not None:
            yield Doubt("idle_kernel", f"`{kernel.id}`", doubt.reason)
            continue
        before = [one for each in found if isinstance(each, tuple) for one in each][:_NAMED]
        names = " and ".join(f"`{one.id}`" if isinstance(one, Kernel) else called(one) for one in before)
        yield Diagnostic(
            "LZ515",
            f"`{kernel.id}` can never win: no call is served by it",
            kernel.span,
            f"always behind {names}" if before else "what it requires can never hold",
            "delete it, raise its priority, or boost it where it is the better one",
            tuple(Label(one.span, "comes before it") for one in before),
        )


Before = tuple[Kernel | Rule, ...]


def _ask(ground: Ground, model: Model, kernel: Kernel) -> Witness | Undecided | Before:
    """A call that the kernel serves in an operation, or else what comes before it."""

    def wins(witness: Witness) -> bool:
        return model.decided(witness).kernel == kernel.id

    def look(witness: Witness) -> tuple[bool, tuple[Formula, ...]]:
        settled = settle(model, witness, model.decided(witness))
        return settled.outcome.kernel == kernel.id, settled.within

    try:
        may = model.feasible(kernel.id)
        every = Chosen(model)
        guesses = [every.first(kernel.id)]
        guesses += [f.all_of([model.part(lock, kernel.id), may]) for lock in model.reaches("lock")]
        guesses += [f.all_of([model.part(order, kernel.id), may]) for order in model.reaches("order")]
        for guess in guesses:
            found = Region(model.space, guess).find(wins, 1500, shortest=False)
            if isinstance(found, Witness):
                return found
        for region in (f.all_of([every.locked, may]), every.may_be_first(kernel.id)):
            for piece in explore(model.space, region, look, ground.spent, ground.steps(model), ground.pieces(model)):
                if piece.answer:
                    return piece.witness
        return _before(model, kernel, f.all_of(model.needs(kernel.id)))
    except TooComplexError as error:
        return Undecided(str(error))


def _before(model: Model, kernel: Kernel, may: Formula) -> Before:
    """Who serves a call that the kernel could, and the rules that say so; nobody where there is no such call."""
    found = Region(model.space, may).find()
    if not isinstance(found, Witness):
        return ()
    proof = model.decided(found)
    barring = [one.rule for one in proof.rules if one.applied and one.rule.kind != "boost"]
    named = [rule for rule in barring if rule.kind in ("lock", "order") or kernel.id in rule.kernels]
    first = [model.kernels[proof.kernel]] if proof.kernel is not None else []
    return (*first, *(rule for rule in named if rule.kind != "allow"))
