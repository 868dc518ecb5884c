"""LZ511: a rule that can never apply.

**What it does.** Looks, in every operation that a rule is about, for one call in which its condition is fulfilled.
Where there is provably none over the declared ranges of the fields, the rule is reported.

**Why it is bad.** The rule does nothing, and its readers believe that it does.

**Avoid**

    deny flash_attn.v2 for attention.decode when q_len > 1

**Prefer** the condition that was meant

    deny flash_attn.v2 for attention.prefill when q_len > 1

Rules in an arm that no call is in (0 %) are not reported, nor are patterns that match no kernel (LZ501).
"""

from __future__ import annotations

from collections.abc import Iterator

from layerzero.analysis.findings import Answer, Doubt, called
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.analysis.reach import Reach
from layerzero.check.expressions import And, AttributeValue, Expression, walk
from layerzero.check.program import Program, Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.region import Nowhere, Region, Undecided
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.syntax.diagnostics import Diagnostic

BUDGET = 2_000
_PARTS = 12  # conjuncts among which the reason is looked for


def check(ground: Ground) -> Iterator[Answer]:
    for rule in ground.rules():
        if ground.spent():
            yield Doubt("dead_rule", called(rule), BUDGET_SPENT)
            continue
        found = never_applies(ground, rule)
        if isinstance(found, Undecided):
            yield Doubt("dead_rule", called(rule), found.reason)
        elif isinstance(found, Nowhere):
            yield Diagnostic(
                "LZ511",
                f"{called(rule)} can never apply",
                rule.span,
                _reason(ground, rule),
                "change the condition or delete the rule; no call of "
                f"{_listed(_operations(ground.program, rule))} fulfils it",
            )


def never_applies(ground: Ground, rule: Rule) -> Nowhere | Undecided | None:
    """The proof that a rule never applies; None where it does, or where that is not asked."""
    if id(rule) not in ground.deaths:
        ground.deaths[id(rule)] = _never_applies(ground, rule)
    return ground.deaths[id(rule)]


def _never_applies(ground: Ground, rule: Rule) -> Nowhere | Undecided | None:
    if not rule.kernels or in_empty_arm(ground.program, rule):
        return None
    asked = False
    doubt: Undecided | None = None
    for operation in _operations(ground.program, rule):
        asked = True
        try:
            where: Reach | None = ground.model(operation).reach(rule)
            found = Nowhere() if where is None else where.region.find(budget=BUDGET, shortest=False)
        except TooComplexError as error:
            found = Undecided(str(error))
        if isinstance(found, Undecided):
            doubt = found
        elif not isinstance(found, Nowhere):
            return None
    return doubt or (Nowhere() if asked else None)


def in_empty_arm(program: Program, rule: Rule) -> bool:
    """Whether the rule is in an arm that no call can be in: a share that will grow."""
    if rule.arm is None:
        return False
    experiment = program.experiments[rule.arm[0]]
    buckets = next(arm.buckets for arm in experiment.arms if arm.name == rule.arm[1])
    return buckets == 0 or experiment.share == 0


def _operations(program: Program, rule: Rule) -> list[str]:
    """Those that the rule is about and in which it names a kernel."""
    return [
        name
        for name in program.operations
        if rule.concerns(name) and any(kernel.id in rule.kernels for kernel in program.kernels_for(name))
    ]


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:4]) + (" and others" if len(names) > 4 else "")


# ---------------------------------------------------------------- the reason


def _reason(ground: Ground, rule: Rule) -> str:
    """The smallest part of the condition that already cannot be, in the first operation of the rule."""
    space = ground.space(_operations(ground.program, rule)[0])
    conjuncts = list(_conjuncts(rule.condition))
    if not conjuncts or any(isinstance(part, AttributeValue) for one in conjuncts for part in walk(one)):
        return "its condition is true nowhere"
    wanted = Truths.NOT_FALSE if rule.kind == "quarantine" else Truths.TRUE
    parts: list[tuple[str, Formula]] = [(part.span.text, space.where(part, wanted)) for part in conjuncts]
    views = [scope for scope in rule.scopes if scope.operation == space.operation.name]
    if rule.scopes:
        parts.append((" and ".join(map(str, views)), space.within(rule.scopes, wanted)))
    for left_out in range(min(len(parts), _PARTS) - 1, -1, -1):
        fewer = parts[:left_out] + parts[left_out + 1 :]
        if fewer and _nowhere(space, fewer):
            parts = fewer
    texts = [f"`{text}`" for text, _ in parts]
    return f"{texts[0]} is true nowhere" if len(texts) == 1 else f"{' and '.join(texts)} exclude each other"


def _nowhere(space: Space, parts: list[tuple[str, Formula]]) -> bool:
    return isinstance(Region(space, f.all_of(formula for _, formula in parts)).find(), Nowhere)


def _conjuncts(condition: Expression | None) -> Iterator[Expression]:
    if isinstance(condition, And):
        for operand in condition.operands:
            yield from _conjuncts(operand)
    elif condition is not None:
        yield condition
