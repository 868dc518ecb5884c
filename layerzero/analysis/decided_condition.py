"""LZ510: a condition that the ranges decide.

**What it does.** Looks, in the conditions of rules and kernels, for parts that are true (or true nowhere) whatever
the call, because of the declared ranges, the needed fields and the defaults.

**Why it is bad.** The part says nothing; most often a bound, a field or an operator is not the one that was meant.

**Avoid**

    field head_dim: int in 1..1024
    deny torch.* for attention when batch > 32 and head_dim <= 1024

**Prefer** to leave it out, or the bound that was meant

    deny torch.* for attention when batch > 32 and head_dim <= 128

What reads `kernel.X` is decided for each kernel and not looked at, and neither is a rule that never applies (LZ511).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from layerzero.analysis.dead_rule import never_applies
from layerzero.analysis.findings import Answer, Doubt, called
from layerzero.analysis.ground import BUDGET_SPENT, Ground
from layerzero.check.expressions import And, ArmIs, AttributeValue, Constant, Expression, HasField, Not, Or, walk
from layerzero.regions.region import Region, Undecided, Witness
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.syntax.diagnostics import Diagnostic


def check(ground: Ground) -> Iterator[Answer]:
    reported: set[tuple[int, int, int]] = set()
    for rule in ground.rules():
        if rule.condition is None or never_applies(ground, rule) is not None:
            continue
        if ground.spent():
            yield Doubt("decided_condition", called(rule), BUDGET_SPENT)
            continue
        spaces = [ground.space(name) for name in ground.program.operations if rule.concerns(name)]
        yield from _ask(ground, spaces, rule.condition, reported)
    for kernel in ground.kernels():
        if ground.spent():
            yield Doubt("decided_condition", f"`{kernel.id}`", BUDGET_SPENT)
            continue
        spaces = [ground.space(name) for name in ground.program.operations if kernel.serves(name)]
        for requirement in kernel.requirements:
            for condition in (requirement.condition, requirement.when):
                if condition is not None:
                    yield from _ask(ground, spaces, condition, reported)


def _ask(
    ground: Ground, spaces: list[Space], condition: Expression, reported: set[tuple[int, int, int]]
) -> Iterator[Answer]:
    for part in parts(condition):
        place = (id(part.span.source), part.span.start, part.span.end)
        if place in reported or not ground.reports(part.span) or not_asked(part):
            continue
        reported.add(place)
        always = _nowhere(spaces, part, Truths.NOT_TRUE)
        never = False if always else _nowhere(spaces, part, Truths.TRUE)
        if isinstance(always, str) or isinstance(never, str):
            yield Doubt("decided_condition", f"`{part.span.text}` at {part.span}", f"{always or never}")
            continue
        if not always and not never:
            continue
        what = "always" if always else "never"
        yield Diagnostic(
            "LZ510",
            f"`{part.span.text}` is {what} true, whatever the call",
            part.span,
            "the declared ranges decide it",
            "leave it out, or write the bound that was meant",
        )


def parts(condition: Expression) -> Iterator[Expression]:
    """The smallest conditions that `and`, `or` and `not` join."""
    match condition:
        case And(operands=operands) | Or(operands=operands):
            for operand in operands:
                yield from parts(operand)
        case Not(operand=operand):
            yield from parts(operand)
        case _:
            yield condition


def not_asked(part: Expression) -> bool:
    """Presence is asked for safety's sake, arms and attributes are not the call's; a constant was written as one."""
    if isinstance(part, HasField | ArmIs | Constant):
        return True
    return any(isinstance(inner, AttributeValue) for inner in walk(part))


def _nowhere(spaces: Iterable[Space], part: Expression, wanted: Truths) -> bool | str:
    """Whether a condition has one of these truth values in no call; a text says why that was not decided."""
    doubt = ""
    for space in spaces:
        try:
            found = Region.of(space, part, wanted).find(budget=1_000, shortest=False)
        except TooComplexError as error:
            found = Undecided(str(error))
        if isinstance(found, Witness):
            return False
        if isinstance(found, Undecided):
            doubt = found.reason
    return doubt or True
