"""LZ512: a rule that applies but changes nothing.

**What it does.** Compares, wherever a rule applies, the decision with the decision without it. Where kernel, degraded
and error are provably the same in every such context, the rule is wholly shadowed.

**Why it is bad.** The rule looks as if it decided something. Whoever changes it, or the rules that shadow it, is
surprised.

**Avoid**

    deny torch.* for attention when batch > 32
    deny torch.sdpa_math for attention when batch > 64

**Prefer** only the rule that decides

    deny torch.* for attention when batch > 32

The proof holds whatever packages are installed, and after the rules around it have expired. Allows are LZ514.
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.dead_rule import in_empty_arm, never_applies
from layerzero.analysis.effect import Nothing, Unknown, effect
from layerzero.analysis.findings import Answer, Doubt, called
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.check.program import Rule
from layerzero.syntax.diagnostics import Diagnostic, Label

_NAMED = 3  # rules that are named as shadowing


def check(ground: Ground) -> Iterator[Answer]:
    for rule in ground.rules("quarantine", "lock", "deny", "boost", "order"):
        yield from examine(ground, rule, "shadowed_rule", "LZ512")


def examine(ground: Ground, rule: Rule, name: str, code: str) -> Iterator[Answer]:
    """The finding about a rule without effect, or why that could not be decided."""
    if not rule.kernels or in_empty_arm(ground.program, rule):
        return
    if ground.spent():
        yield Doubt(name, called(rule), BUDGET_SPENT)
        return
    if never_applies(ground, rule) is not None:
        return
    found = effect(ground, rule)
    if isinstance(found, Unknown):
        yield Doubt(name, called(rule), found.reason)
    elif isinstance(found, Nothing):
        named = [other for other in found.by if other.kind != "boost" or rule.kind == "boost"][:_NAMED]
        by = " and ".join(called(other) for other in named) or "what the kernels require and their priorities"
        what = "adds nothing" if code == "LZ514" else "changes nothing"
        yield Diagnostic(
            code,
            f"{called(rule)} {what}: wherever it applies, every decision is the same without it",
            rule.span,
            f"decided by {by}",
            "delete it, or change its condition, its targets or its rank",
            tuple(Label(other.span, f"{called(other)} decides there") for other in named),
        )
