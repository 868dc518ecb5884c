"""Proof -> the provenance tree: what was chosen and why, why not each other kernel, which rules spoke, what was open.

A tree of plain texts; `explain_text` and `explain_html` only draw it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal as OneOf

from layerzero.check.expressions import Value
from layerzero.check.program import Program
from layerzero.errors import UnknownNameError
from layerzero.semantics.context import asserted_values
from layerzero.semantics.proof import AppliedRule, Proof, Reason, Verdict
from layerzero.syntax.suggest import suggest

Tone = OneOf["plain", "good", "bad", "warn", "quiet"]


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree and what stands under it. `folded` parts start closed where a reader can open them."""

    text: str
    children: tuple[Branch, ...] = ()
    tone: Tone = "plain"
    folded: bool = False


def provenance(program: Program, proof: Proof) -> Branch:
    """The whole tree of one decision."""
    parts = (
        *_outcome(program, proof),
        _context(program, proof),
        _others(program, proof),
        _rules("rules that applied", [rule for rule in proof.rules if rule.applied]),
        _rules("rules that did not count", [rule for rule in proof.rules if not rule.applied]),
        _texts("assumed", proof.assumed, "warn"),
        _texts("notes", proof.notes, "warn"),
        _policy(program),
    )
    return Branch(headline(proof), tuple(part for part in parts if part is not None), _tone(proof))


def headline(proof: Proof) -> str:
    """`attention.decode -> acme.decode, score 850`"""
    if proof.error is not None:
        return f"{proof.scope} -> error {proof.error.code}: {proof.error.message}"
    degraded = ", degraded: only a fallback is left" if proof.degraded else ""
    return f"{proof.scope} -> {proof.kernel}, score {score(proof.score)}{degraded}"


def why(program: Program, proof: Proof) -> Branch:
    """The short answer: the winner's arithmetic, the rules that applied, and what made it a fallback or an error."""
    parts = (
        *_outcome(program, proof),
        _rules("rules that applied", [rule for rule in proof.rules if rule.applied]),
        _texts("notes", proof.notes, "warn"),
    )
    return Branch(headline(proof), tuple(part for part in parts if part is not None), _tone(proof))


def why_not(program: Program, proof: Proof, kernel: str) -> Branch:
    """The branch of one kernel: all that removed it, or what it lost by.

    Raises:
        UnknownNameError: the kernel is not one of the operation's.
    """
    if kernel not in proof.verdicts:
        of_backend = sorted(name for name in proof.verdicts if name.startswith(f"{kernel}."))
        near = of_backend or suggest(kernel, sorted(proof.verdicts))[:1]
        hint = f"; did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
        raise UnknownNameError(f"`{kernel}` is not a kernel of `{proof.scope.operation}`{hint}")
    return _kernel(program, proof, proof.verdicts[kernel])


def _tone(proof: Proof) -> Tone:
    return "bad" if proof.error else "warn" if proof.degraded else "good"


# ---------------------------------------------------------------- the winner


def _outcome(program: Program, proof: Proof) -> Iterator[Branch]:
    if proof.kernel is None:
        return
    verdict = proof.verdicts[proof.kernel]
    kernel = program.kernels[proof.kernel]
    lines = [Branch(arithmetic(verdict)), *_boosts(verdict)]
    if proof.locked_by:
        lines.append(Branch(f"locked by {', '.join(proof.locked_by)}"))
    if proof.ordered_by:
        place = "" if verdict.position is None else f", place {verdict.position + 1}"
        lines.append(Branch(f"ordered by {', '.join(proof.ordered_by)}{place}"))
    lines.extend(Branch(f"before it, {reason_line(reason)}", tone="warn") for reason in verdict.reasons)
    lines.extend(_facts(program, proof.kernel))
    yield Branch(f"chosen: {proof.kernel}" + (f" ({kernel.doc})" if kernel.doc else ""), tuple(lines), _tone(proof))


def arithmetic(verdict: Verdict) -> str:
    """`score 850 = priority 85 x 10`"""
    factors = "".join(f" x {number(boost.factor)}" for boost in verdict.boosts)
    return f"score {score(verdict.score)} = priority {verdict.priority}{factors}"


def number(value: float | None) -> str:
    """Shortest spelling that reads back the same; whole doubles without their point."""
    if value is None:
        return "none"
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def score(value: float | None) -> str:
    """Ten digits, without the last bits of a product: 86.031, not 86.03100000000003. JSON has all of them."""
    return "none" if value is None else f"{value:.10g}"


def _boosts(verdict: Verdict) -> list[Branch]:
    return [Branch(f"x {number(boost.factor)} by {boost.rule}, {boost.at}") for boost in verdict.boosts]


def _facts(program: Program, kernel: str) -> list[Branch]:
    facts = program.kernels[kernel]
    sources = f", read from {'; '.join(facts.sources)}" if facts.sources else ""
    return [Branch(f"facts at {facts.span}{sources}", tone="quiet")]


# ---------------------------------------------------------------- the losers


def _others(program: Program, proof: Proof) -> Branch | None:
    others = [verdict for name, verdict in sorted(proof.verdicts.items()) if name != proof.kernel]
    if not others:
        return None
    others.sort(key=lambda verdict: (_STAGE_ORDER[verdict.stage], -(verdict.score or 0.0), verdict.kernel))
    lines: list[Branch] = []
    for (stage, reasons), group in groupby(others, key=lambda verdict: (verdict.stage, verdict.reasons)):
        alike = list(group)
        if stage in ("lock", "allow") and len(alike) > 1:  # one rule removed them all: it is said once
            names = ", ".join(verdict.kernel for verdict in alike)
            lines.append(Branch(f"{names}: {_STAGE_WORDS[stage]}", tuple(map(_reason, reasons)), "bad", folded=True))
        else:
            lines.extend(_kernel(program, proof, verdict) for verdict in alike)
    return Branch("why not the others", tuple(lines))


_STAGE_ORDER = {"chosen": 0, "fallback": 0, "outranked": 1, "deny": 2, "allow": 3, "lock": 4, "infeasible": 5}
_STAGE_WORDS = {
    "infeasible": "infeasible",
    "lock": "not locked",
    "allow": "not allowed",
    "deny": "denied",
    "outranked": "outranked",
    "chosen": "chosen",
    "fallback": "chosen as the fallback",
}


def _kernel(program: Program, proof: Proof, verdict: Verdict) -> Branch:
    lines = [_reason(reason) for reason in verdict.reasons]
    text = f"{verdict.kernel}: {_STAGE_WORDS[verdict.stage]}"
    if verdict.score is not None:
        text = f"{text}, {arithmetic(verdict)}"
        lines.extend(_boosts(verdict))
    if verdict.stage == "outranked" and proof.kernel is not None:
        lines.append(Branch(_lost_by(proof, verdict, proof.verdicts[proof.kernel])))
    lines.extend(_facts(program, verdict.kernel))
    tone: Tone = "plain" if verdict.stage in ("outranked", "chosen", "fallback") else "bad"
    return Branch(text, tuple(lines), tone, folded=True)


def _lost_by(proof: Proof, verdict: Verdict, winner: Verdict) -> str:
    """The first comparison that the winner won."""
    name = winner.kernel
    if verdict.position != winner.position:
        return f"{name} stands before it in the order {', '.join(proof.ordered_by)}"
    if verdict.score != winner.score:
        return f"{name} has a higher score or place: {score(winner.score)} against {score(verdict.score)}"
    if verdict.priority != winner.priority:
        return f"{name} has the same score and a higher priority: {winner.priority} against {verdict.priority}"
    return f"{name} has the same score and priority, and the smaller id"


def _reason(reason: Reason) -> Branch:
    lines = []
    if reason.because:
        lines.append(Branch(f"because {reason.because}"))
    if reason.missing:
        lines.append(Branch(f"unknown, for want of {', '.join(reason.missing)}", tone="warn"))
    return Branch(f"{reason_line(reason)}, at {reason.at}", tuple(lines), "bad")


def reason_line(reason: Reason) -> str:
    """`requirement: wanted head_dim in {64, 128}, got head_dim = 80`"""
    got = ", ".join(f"{name} = {spell(value)}" for name, value in reason.got.items())
    got = f", got {got}" if got else ""
    match reason.kind:
        case "feature" if reason.feature is not None and reason.text == reason.feature:
            return f"feature {reason.feature}: demanded and not declared{got}"
        case "feature":
            return f"feature {reason.feature}: supported only when {reason.text}{got}"
        case "requirement" | "package" | "breaker":
            return f"{reason.kind}: wanted {reason.text}{got}"
        case "quarantine":
            return f"quarantined by {reason.rule}: {reason.text}{got}"
        case "denied":
            return f"denied by {reason.rule}: {reason.text}{got}"
        case "not_locked":
            return f"not a target of lock {reason.rule}: {reason.text}{got}"
        case "not_allowed":
            return f"not a target of allow {reason.rule}: {reason.text}{got}"


def spell(value: Value | None) -> str:
    """A value as a context would say it; `absent` for none."""
    if value is None:
        return "absent"
    if isinstance(value, bool):
        return str(value).lower()
    return number(value) if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- context, rules, the rest


def _context(program: Program, proof: Proof) -> Branch | None:
    view = proof.scope.view
    asserted = {} if view is None else asserted_values(program, program.operations[proof.scope.operation].views[view])
    operation = program.operations[proof.scope.operation]
    own = {*operation.needs, *operation.optional}
    parts: dict[str, list[str]] = {"given": [], f"from {proof.scope}": [], "defaults": []}
    for name, value in sorted(proof.values.items()):
        origin = "given" if name in proof.given else f"from {proof.scope}" if name in asserted else "defaults"
        if origin != "defaults" or name in own:  # a default of another operation's field says nothing here
            parts[origin].append(f"{name} = {spell(value)}")
    lines: list[Branch] = []
    for origin, texts in parts.items():
        lines.extend(Branch(f"{origin}: {line}") for line in _filled(texts))
    if proof.views:
        lines.append(Branch(f"views: {', '.join(proof.views)}"))
    if proof.features:
        lines.append(Branch(f"features demanded: {', '.join(proof.features)}"))
    for experiment, arm in sorted(proof.arms.items()):
        lines.append(Branch(f"experiment {experiment}: arm {arm}"))
    return Branch("context", tuple(lines), folded=True) if lines else None


def _filled(texts: list[str], width: int = 88) -> Iterator[str]:
    """Texts joined by commas, in lines of about one width."""
    line = ""
    for text in texts:
        if line and len(line) + len(text) > width:
            yield line
            line = ""
        line = f"{line}, {text}" if line else text
    if line:
        yield line


def _rules(title: str, rules: Iterable[AppliedRule]) -> Branch | None:
    lines = tuple(_rule(applied) for applied in rules)
    return Branch(title, lines, folded=True) if lines else None


def _rule(applied: AppliedRule) -> Branch:
    rule = applied.rule
    lines: list[Branch] = []
    if applied.kernels and len(applied.kernels) <= 8:
        lines.append(Branch(f"concerns {', '.join(sorted(applied.kernels))}"))
    elif applied.kernels:
        lines.append(Branch(f"concerns {len(applied.kernels)} kernels"))
    if applied.missing:
        effect = "applies all the same" if applied.applied else "does not apply"
        lines.append(Branch(f"unknown, for want of {', '.join(applied.missing)}: {effect}", tone="warn"))
    if applied.note:
        lines.append(Branch(applied.note, tone="warn"))
    return Branch(f"{rule.span.text}, at {rule.span}", tuple(lines), "plain" if applied.applied else "quiet")


def _texts(title: str, texts: tuple[str, ...], tone: Tone) -> Branch | None:
    return Branch(title, tuple(Branch(text) for text in texts), tone) if texts else None


def _policy(program: Program) -> Branch:
    version = f" version {program.version}" if program.version else ""
    name = f'policy "{program.name}"{version}' if program.name else "no policy header"
    return Branch(f"{name}, digest {program.digest[:12]}", tone="quiet")
