"""Two proofs of one context -> the rules that make them differ."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from layerzero.check.program import Program
from layerzero.semantics.proof import AppliedRule, Proof, Reason

Side = Literal["new", "old"]


@dataclass(frozen=True, slots=True)
class Cause:
    """`deny torch.* for attention when batch > 32`, which only the new policy has (`side`).

    `kind` is that of the rule; else `facts`, `kernel`, `context`, `experiment` or `environment`.
    """

    kind: str
    rule: str
    text: str
    at: str
    side: Side


def causes(old_kernel: str | None, old: Proof | None, new: Proof, program: Program, arms: Any) -> list[Cause]:
    """Why the new policy decides otherwise; at least one cause.

    Args:
        old_kernel: What was chosen before.
        old: The proof of that, where the old snapshot is at hand.
        new: What the new policy says.
        program: The new policy.
        arms: The arms that the recorded call was in.
    """
    if new.error is not None and new.error.code == "invalid_context":
        return [Cause("context", "context", new.error.message, "", "new")]
    found = list(dict.fromkeys(_rules(old_kernel, old, new, program)))
    if not found and dict(arms) != dict(new.arms):
        found = [Cause("experiment", "experiment", f"arms {dict(arms)} before, {dict(new.arms)} now", "", "new")]
    return found or [Cause("environment", "environment", "no rule: facts or the environment differ", "", "new")]


def _rules(old_kernel: str | None, old: Proof | None, new: Proof, program: Program) -> Iterator[Cause]:
    """What removed the old kernel; else what moved the two past each other; and what no longer bars the new one."""
    verdict = None if old_kernel is None else new.verdicts.get(old_kernel)
    if old_kernel is not None and verdict is None:
        yield Cause("kernel", old_kernel, f"`{old_kernel}` is not declared", "", "new")
    if verdict is not None and verdict.reasons:
        yield from (_of_reason(one, old_kernel, new, "new") for one in verdict.reasons)
        return
    before = None if old is None or new.kernel is None else old.verdicts.get(new.kernel)
    if before is not None and before.reasons and old is not None:
        yield from (_of_reason(one, new.kernel, old, "old") for one in before.reasons)
        return
    pair = {name for name in (old_kernel, new.kernel) if name is not None}
    here = _applied(new, pair)
    there = {} if old is None else _applied(old, pair)
    yield from (_of_rule(rule, "new") for text, rule in here.items() if text not in there)
    yield from (_of_rule(rule, "old") for text, rule in there.items() if text not in here)
    if old is not None:
        for name in sorted(pair & set(old.verdicts) & set(new.verdicts)):
            was, now = old.verdicts[name].priority, new.verdicts[name].priority
            if was != now:
                at = str(program.kernels[name].span)
                yield Cause("facts", name, f"priority of {name}: {was} before, {now} now", at, "new")


def _applied(proof: Proof, pair: set[str]) -> dict[str, AppliedRule]:
    """The rules that applied and can have decided between two kernels, by their text."""
    found = {}
    for one in proof.rules:
        concerned = one.kernels & pair
        if one.applied and (concerned or one.rule.kind in ("lock", "allow", "order")):
            found[one.rule.span.text] = one
    return found


def _of_rule(applied: AppliedRule, side: Side) -> Cause:
    rule = applied.rule
    return Cause(rule.kind, rule.name, rule.span.text, str(rule.span), side)


def _of_reason(reason: Reason, kernel: str | None, proof: Proof, side: Side) -> Cause:
    if reason.rule is None:
        return Cause("facts", f"{kernel}", f"{kernel}: {reason.kind} {reason.text}", reason.at, side)
    for one in proof.rules:
        if one.rule.name == reason.rule:
            return _of_rule(one, side)
    return Cause(reason.kind, reason.rule, reason.text, reason.at, side)
