"""Decisions that tests asked for -> which rules applied in them, which outcomes of conditions were met, and what is
left: each gap with the region as a condition and a call of it that a test could give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from layerzero.analysis.decided_condition import not_asked, parts
from layerzero.analysis.findings import called
from layerzero.analysis.ground import Ground
from layerzero.check.expressions import Expression, InstalledVersion, walk
from layerzero.check.program import Rule
from layerzero.regions import formula as f
from layerzero.regions.region import Nowhere, Region, Witness
from layerzero.regions.simplify import readable
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.semantics.evaluate import Lookups, holds
from layerzero.semantics.proof import Proof
from layerzero.syntax.source import Span

_BOXES = 6


@dataclass(frozen=True, slots=True)
class Gap:
    """What no test reaches: `deny_large` never applies, `batch > 32` is never false."""

    kind: str  # rule | outcome
    text: str
    span: Span
    where: str | None  # the region as a condition, where it is short enough to be read
    example: Witness | None


@dataclass(frozen=True, slots=True)
class Coverage:
    """Of the reader's own rules, and of what their conditions can come out as: how many were met."""

    rules: int
    rules_met: int
    outcomes: int
    outcomes_met: int
    gaps: tuple[Gap, ...]


def coverage(ground: Ground, proofs: Sequence[Proof]) -> Coverage:
    """What these decisions reach. Rules that provably never apply and outcomes that cannot be are not counted."""
    rules = [(rule, _rule_gap(ground, rule, proofs)) for rule in ground.rules()]
    outcomes: dict[object, Gap | str] = {}
    for key, found in _outcomes(ground, proofs):
        if found == "met" or outcomes.get(key, "impossible") == "impossible":  # a define is met by any of its rules
            outcomes[key] = found
    asked = [gap for _, gap in rules if gap != "impossible"]
    wanted = [gap for gap in outcomes.values() if gap != "impossible"]
    missing = [gap for gap in (*asked, *wanted) if isinstance(gap, Gap)]
    missing.sort(key=lambda gap: (gap.span.source.name, gap.span.start, gap.kind, gap.text))
    return Coverage(len(asked), asked.count("met"), len(wanted), wanted.count("met"), tuple(missing))


def _rule_gap(ground: Ground, rule: Rule, proofs: Iterable[Proof]) -> Gap | str:
    if any(one.applied and one.rule is rule for proof in proofs for one in proof.rules):
        return "met"
    return _gap(ground, rule, None, Truths.TRUE, f"{called(rule)} applies in no test", rule.span)


def _outcomes(ground: Ground, proofs: Sequence[Proof]) -> Iterator[tuple[object, Gap | str]]:
    """Each outcome of each part of a condition, by its place."""
    for rule in ground.rules():
        if rule.condition is None:
            continue
        concerned = [proof for proof in proofs if rule.concerns(proof.scope.operation)]
        for part in parts(rule.condition):
            if not_asked(part) or any(isinstance(one, InstalledVersion) for one in walk(part)):
                continue
            seen = {holds(part, Lookups(proof.values, {}, proof.arms)) for proof in concerned}
            for truth, wanted in ((True, Truths.TRUE), (False, Truths.FALSE)):
                key = (part.span.source.name, part.span.start, part.span.end, truth)
                if truth in seen:
                    yield key, "met"
                else:
                    text = f"`{part.span.text}` is {str(truth).lower()} in no test"
                    yield key, _gap(ground, rule, part, wanted, text, part.span)


def _gap(ground: Ground, rule: Rule, part: Expression | None, wanted: Truths, text: str, span: Span) -> Gap | str:
    """What is missing, with the place where it could be met; `impossible` where it provably cannot be."""
    undecided = False
    for name in ground.program.operations:
        if not rule.concerns(name):
            continue
        try:
            region = _region(ground, name, rule, part, wanted)
            found = Nowhere() if region is None else region.find()
        except TooComplexError:
            undecided = True
            continue
        if isinstance(found, Witness) and region is not None:
            return Gap("rule" if part is None else "outcome", text, span, _condition(region), found)
        undecided = undecided or not isinstance(found, Nowhere)
    return Gap("rule" if part is None else "outcome", text, span, None, None) if undecided else "impossible"


def _region(ground: Ground, operation: str, rule: Rule, part: Expression | None, wanted: Truths) -> Region | None:
    model = ground.model(operation)
    if part is None:
        where = model.reach(rule)
        return None if where is None else where.region
    if not any(kernel in model.kernels for kernel in rule.kernels):
        return None
    scopes = model.space.within(rule.scopes) if rule.scopes else f.TRUE
    return Region(model.space, f.all_of([scopes, model.space.where(part, wanted)]))


def _condition(region: Region) -> str | None:
    try:
        return readable(region, _BOXES).text
    except TooComplexError:
        return None
