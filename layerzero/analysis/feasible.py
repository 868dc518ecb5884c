"""A kernel in one operation -> the contexts in which it may run: what it requires, what it must support.

Packages count as installed at an accepted version, breakers as closed; so a kernel that is feasible nowhere here is
feasible nowhere at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from layerzero.analysis.reach import reach
from layerzero.check.expressions import And, Expression
from layerzero.check.program import Kernel, Requirement, Rule
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.region import Nowhere, Region
from layerzero.regions.space import Space
from layerzero.regions.translate import Truths
from layerzero.syntax.source import Span


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing that a kernel needs: `requires sm >= 90`, where that is written, and where it is met."""

    text: str
    span: Span
    met: Formula


def needs(space: Space, kernel: Kernel) -> Iterator[Bar]:
    """Everything that a kernel needs in order to run, smallest conjuncts first where they are written as such."""
    operation = space.operation
    yield from required(space, kernel)
    for feature, demanded in operation.features.items():
        lines = [line for line in kernel.supports if line.feature == feature]
        supported = [space.where(line.when, Truths.TRUE, kernel.attributes) for line in lines]
        not_asked = space.where(demanded, Truths.FALSE)
        text = f"does not support `{feature}`" + (" there" if lines else "")
        yield Bar(text, lines[0].span if lines else kernel.span, f.any_of([not_asked, *supported]))


def required(space: Space, kernel: Kernel) -> Iterator[Bar]:
    """What a kernel needs of every call, whatever the call demands."""
    operation = space.operation
    views = kernel.views(operation.name)
    if views:
        met = f.any_of(space.where(operation.views[view]) for view in views)
        yield Bar(f"serves only {' or '.join(f'`{operation.name}.{view}`' for view in views)}", kernel.span, met)
    for requirement in kernel.requirements:
        yield from _requirement(space, kernel, requirement)


def _requirement(space: Space, kernel: Kernel, requirement: Requirement) -> Iterator[Bar]:
    """`require E when C` is `not C or E`."""
    excused: Formula = f.FALSE
    if requirement.when is not None:
        excused = space.where(requirement.when, Truths.FALSE, kernel.attributes)
    for part in _conjuncts(requirement.condition):
        text = f"requires `{part.span.text}`"
        if requirement.when is not None:
            text += f" when `{requirement.when.span.text}`"
        if requirement.because:
            text += f' ("{requirement.because}")'
        yield Bar(text, part.span, f.any_of([excused, space.where(part, Truths.TRUE, kernel.attributes)]))


def _conjuncts(condition: Expression) -> Iterator[Expression]:
    if isinstance(condition, And):
        for operand in condition.operands:
            yield from _conjuncts(operand)
    else:
        yield condition


def feasible(space: Space, kernel: Kernel, quarantines: Iterable[Rule] = ()) -> Formula:
    """Where a kernel may run, and none of these quarantines applies to it. Raises TooComplexError."""
    barred = [reach(space, rule) for rule in quarantines if kernel.id in rule.kernels]
    return f.all_of(
        [
            *(bar.met for bar in needs(space, kernel)),
            *(f.negation(where.of(kernel.id)) for where in barred if where is not None),
        ]
    )


def barring(space: Space, kernel: Kernel, within: Formula) -> Bar | None:
    """The one need that is met nowhere in a region; None where only several together bar the kernel."""
    for bar in needs(space, kernel):
        if isinstance(Region(space, f.all_of([within, bar.met])).find(), Nowhere):
            return bar
    return None
