"""LZ517: calls for which nothing but the fallback is left.

**What it does.** Looks, in every operation that an allow or deny of the policy is about, for calls that the rules
leave no kernel for, so that the operation's fallback serves them, or nothing.

**Why it is bad.** The fallback is the slow and certain way; a call that is sent there by rules that were meant for
others is noticed by its latency, or by the error where the fallback is denied as well.

**Avoid**

    allow {flash_attn, flashinfer} for attention

**Prefer** to let something serve what the fast kernels do not take

    allow {flash_attn, flashinfer, torch.sdpa_math} for attention

Where the calls are meant to fail or to fall back, say so at the rule: `# check: allow only_fallback because ...`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from layerzero.analysis.chosen import Chosen
from layerzero.analysis.findings import Answer, Doubt, called, shown
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.model import Model
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.region import Region, Undecided, Witness
from layerzero.regions.simplify import readable
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.proof import Proof
from layerzero.syntax.diagnostics import Diagnostic, Label

_BOXES = 8
_CHARACTERS = 300


def check(ground: Ground) -> Iterator[Answer]:
    """One finding for each rule: of the first operation, with the number of the others."""
    found: dict[tuple[str, int], list[Diagnostic]] = {}
    for answer in _each(ground):
        if isinstance(answer, Diagnostic):
            found.setdefault((answer.span.source.name, answer.span.start), []).append(answer)
        else:
            yield answer
    for first, *others in found.values():
        more = f", and so for {len(others)} other operation{'s' if len(others) > 1 else ''}" if others else ""
        yield replace(first, message=first.message + more)


def _each(ground: Ground) -> Iterator[Answer]:
    for model in ground.models():
        own = [rule for rule in ground.rules("allow", "deny") if rule in model.rules]
        if not own:
            continue
        if ground.spent():
            yield Doubt("only_fallback", f"`{model.operation.name}`", BUDGET_SPENT)
            continue
        try:
            yield from _ask(model, own)
        except TooComplexError as error:
            yield Doubt("only_fallback", f"`{model.operation.name}`", str(error))


def _ask(model: Model, own: list[Rule]) -> Iterator[Answer]:
    every = Chosen(model)
    # A fallback is a candidate like any other: only where rules take it out can it be what is left, or be missed.
    fallbacks = [name for name in model.operation.fallback if name in model.kernels]
    taken = [
        f.all_of([every.feasible(name), f.any_of([every.denied(name), f.negation(every.allowed(name))])])
        for name in fallbacks
    ]
    unlocked = f.all_of([f.negation(every.locked), f.any_of(taken) if fallbacks else f.TRUE])
    # First what the rules alone leave nothing of: that reads as a short condition.
    by_rules = [f.any_of([every.denied(kernel), f.negation(every.allowed(kernel))]) for kernel in model.kernels]
    by_all = [f.negation(every.candidate(kernel)) for kernel in model.kernels]
    doubt: Undecided | None = None
    for removed in (by_rules, by_all):
        formula = f.all_of([unlocked, *removed])
        found = Region(model.space, formula).find(lambda witness: _nothing_left(model.decided(witness)))
        if isinstance(found, Witness):
            finding = _finding(model, own, found, formula)
            if finding is not None:
                yield finding
            return
        doubt = found if isinstance(found, Undecided) else None
    if doubt is not None:
        yield Doubt("only_fallback", f"`{model.operation.name}`", doubt.reason)


def _nothing_left(proof: Proof) -> bool:
    """Whether the decision came to the fallback, and rules took out a kernel that could have served."""
    removed = any(verdict.stage in ("allow", "deny") for verdict in proof.verdicts.values())
    return removed and (proof.degraded or (proof.error is not None and proof.error.code == "no_kernel"))


def _finding(model: Model, own: list[Rule], witness: Witness, formula: Formula) -> Diagnostic | None:
    proof = model.decided(witness)
    because = {reason.rule for verdict in proof.verdicts.values() for reason in verdict.reasons}
    rules = [rule for rule in own if rule.name in because]
    if not rules:
        return None  # the shipped rules alone
    left = f"`{proof.kernel}`, the fallback," if proof.kernel is not None else "nothing, not even the fallback,"
    where = _condition(Region(model.space, formula))
    return Diagnostic(
        "LZ517",
        f"{left} is left for calls of `{model.operation.name}`" + (f" where `{where}`" if where else ""),
        rules[0].span,
        f"{called(rules[0])} takes out the last kernel that could serve them",
        f"let another kernel in; as for {shown(witness)}",
        tuple(Label(rule.span, f"and {called(rule)} others") for rule in rules[1:3]),
        witness.context,
    )


def _condition(region: Region) -> str | None:
    """The region as a condition, where it is short enough to be read."""
    try:
        text = readable(region, _BOXES).text
    except TooComplexError:
        return None
    return text if text != "true" and len(text) <= _CHARACTERS else None
