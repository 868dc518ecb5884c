"""Formulas: `dimension in set`, all of, any of. Two-valued: in a concrete context each is true or false.

What a three-valued condition leaves open is in the sets: "unknown because absent" is an element like any other, so
the negation of a formula is a formula. What is asked of a formula again and again, its hash above all, is found once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from layerzero.regions.sets import ValueSet
from layerzero.regions.terms import Dimension, full, read
from layerzero.semantics.evaluate import Lookups


@dataclass(frozen=True)
class Literal:
    dimension: Dimension
    values: ValueSet

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.dimension, self.values))

    @cached_property
    def reads(self) -> frozenset[Dimension]:
        return frozenset((self.dimension,))

    @cached_property
    def negation(self) -> Formula:
        return literal(self.dimension, full(self.dimension) - self.values)


@dataclass(frozen=True)
class _Several:
    parts: tuple[Formula, ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((type(self), self.parts))

    @cached_property
    def reads(self) -> frozenset[Dimension]:
        return frozenset[Dimension]().union(*(part.reads for part in self.parts))


@dataclass(frozen=True, eq=False)
class All(_Several):
    @cached_property
    def negation(self) -> Formula:
        return any_of(part.negation for part in self.parts)


@dataclass(frozen=True, eq=False)
class Any(_Several):
    @cached_property
    def negation(self) -> Formula:
        return all_of(part.negation for part in self.parts)


Formula = Literal | All | Any

TRUE = All(())
FALSE = Any(())


def literal(dimension: Dimension, values: ValueSet) -> Formula:
    values = values & full(dimension)
    if values.empty:
        return FALSE
    return TRUE if full(dimension) <= values else Literal(dimension, values)


def all_of(parts: Iterable[Formula]) -> Formula:
    """The conjunction, flat, with one literal per dimension."""
    literals: dict[Dimension, ValueSet] = {}
    rest: dict[Formula, None] = {}
    for part in _flat(parts, All):
        if part == FALSE:
            return FALSE
        if isinstance(part, Literal):
            known = literals.get(part.dimension)
            values = part.values if known is None else known & part.values
            if values.empty:
                return FALSE
            literals[part.dimension] = values
        else:
            rest[part] = None
    found = [*(Literal(dimension, values) for dimension, values in literals.items()), *rest]
    return found[0] if len(found) == 1 else All(tuple(found))


def any_of(parts: Iterable[Formula]) -> Formula:
    """The disjunction, flat, with one literal per dimension."""
    literals: dict[Dimension, ValueSet] = {}
    rest: dict[Formula, None] = {}
    for part in _flat(parts, Any):
        if part == TRUE:
            return TRUE
        if isinstance(part, Literal):
            known = literals.get(part.dimension)
            values = part.values if known is None else known | part.values
            if full(part.dimension) <= values:
                return TRUE
            literals[part.dimension] = values
        else:
            rest[part] = None
    found = [*(Literal(dimension, values) for dimension, values in literals.items()), *rest]
    return found[0] if len(found) == 1 else Any(tuple(found))


def _flat(parts: Iterable[Formula], kind: type[All] | type[Any]) -> Iterator[Formula]:
    for part in parts:
        if isinstance(part, All | Any) and isinstance(part, kind):
            yield from part.parts
        else:
            yield part


def negation(formula: Formula) -> Formula:
    return formula.negation


def holds_in(formula: Formula, lookups: Lookups) -> bool:
    """Whether a concrete context fulfils a formula: exact, by reading each dimension with the interpreter."""
    match formula:
        case Literal(dimension=dimension, values=values):
            return values.contains(read(dimension, lookups))
        case All(parts=parts):
            return all(holds_in(part, lookups) for part in parts)
        case Any(parts=parts):
            return any(holds_in(part, lookups) for part in parts)


def dimensions(formula: Formula) -> dict[Dimension, None]:
    """Every dimension that a formula names, in order."""
    found: dict[Dimension, None] = {}
    seen: set[int] = set()
    stack: list[Formula] = [formula]
    while stack:
        part = stack.pop()
        if isinstance(part, Literal):
            found[part.dimension] = None
        elif id(part) not in seen:
            seen.add(id(part))
            stack.extend(reversed(part.parts))
    return found
