"""Many formulas -> the pairs that may overlap, without looking at every pair: ints as sets of rules, one bit each.

Only what stands alone in a formula counts (`sm >= 90 and ...`), and of a set of numbers only its ends. So a pair that
is left out is certainly disjoint; one that is named still has to be looked at.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Sequence

from layerzero.regions import formula as f
from layerzero.regions.formula import All, Formula, Literal
from layerzero.regions.sets import Members, Ordered, Position, ValueSet
from layerzero.regions.terms import Dimension


def overlapping(formulas: Sequence[Formula], kinds: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
    """Pairs of indices, the smaller first, of formulas that may hold in one context.

    Args:
        formulas: of one space.
        kinds: one for each formula; two of the same kind are never named, None is no kind.
    """
    boxes = [_literals(formula) for formula in formulas]
    everyone = (1 << len(formulas)) - 1
    alive = sum(1 << index for index, formula in enumerate(formulas) if formula != f.FALSE)
    names = dict.fromkeys(dimension for box in boxes for dimension in box)
    partners = [alive if alive >> index & 1 else 0 for index in range(len(formulas))]
    alike: dict[Hashable, int] = {}
    for index, kind in enumerate(kinds):
        alike[kind] = alike.get(kind, 0) | 1 << index
    for index, kind in enumerate(kinds):
        if kind is not None:
            partners[index] &= ~alike[kind]
    for dimension in names:
        bound = [(index, box[dimension]) for index, box in enumerate(boxes) if dimension in box]
        free = everyone & ~sum(1 << index for index, _ in bound)
        for index, mask in _partners(bound):
            partners[index] &= free | mask
    for index, mask in enumerate(partners):
        mask >>= index + 1
        other = index + 1
        while mask:
            step = (mask & -mask).bit_length()
            mask >>= step
            other += step
            yield index, other - 1


def _literals(formula: Formula) -> dict[Dimension, ValueSet]:
    parts = formula.parts if isinstance(formula, All) else (formula,)
    return {part.dimension: part.values for part in parts if isinstance(part, Literal)}


def _partners(bound: list[tuple[int, ValueSet]]) -> Iterator[tuple[int, int]]:
    """For each of the sets of one dimension, those that it may share an element with."""
    unreadable = sum(1 << index for index, values in bound if not values.readable)
    known = [(index, values.known) for index, values in bound if not values.known.empty]
    shared: dict[int, int] = {}
    if known and isinstance(known[0][1], Ordered):
        shared = _by_ends(
            [(index, plain.spans[0][0], plain.spans[-1][1]) for index, plain in known if isinstance(plain, Ordered)]
        )
    else:
        shared = _by_members([(index, plain) for index, plain in known if isinstance(plain, Members)])
    for index, values in bound:
        yield index, shared.get(index, 0) | (0 if values.readable else unreadable)


def _by_ends(spans: list[tuple[int, Position, Position]]) -> dict[int, int]:
    """Spans overlap where each starts before the other ends."""
    starts = sorted(spans, key=lambda span: span[1])
    ends = sorted(spans, key=lambda span: span[2])
    started, ended = [0], [0]
    for index, _, _ in starts:
        started.append(started[-1] | 1 << index)
    for index, _, _ in ends:
        ended.append(ended[-1] | 1 << index)
    low, high = [span[1] for span in starts], [span[2] for span in ends]
    found = {}
    for index, start, end in spans:
        # Those that start before this one ends, without those that end before it starts.
        found[index] = started[bisect_left(low, end)] & ~ended[bisect_right(high, start)]
    return found


def _by_members(sets: list[tuple[int, Members]]) -> dict[int, int]:
    others = sum(1 << index for index, members in sets if members.others)
    everyone = sum(1 << index for index, _ in sets)
    having: dict[object, int] = {}
    for index, members in sets:
        if not members.others:
            for value in members.values:
                having[value] = having.get(value, 0) | 1 << index
    found = {}
    for index, members in sets:
        mask = everyone if members.others else others
        for value in members.values:
            mask |= having.get(value, 0)
        found[index] = mask
    return found
