"""Conditions -> for each field that they read, the values at and just past every boundary that they state.

`head_dim <= 256 and head_dim % 8 == 0` gives, among others, 256 and 264, 8 and 12, 255 and 257.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from layerzero.check.expressions import (
    Arithmetic,
    Comparison,
    Constant,
    Expression,
    FieldValue,
    HasField,
    Membership,
    Type,
    Value,
    walk,
)
from layerzero.semantics.context import as_type

Candidates = dict[str, list[Value | None]]
"""Field -> values to try, in the order in which they were met; None leaves the field out."""


@dataclass
class _Marks:
    """What conditions say about one field: the constants beside it, its divisors, whether it may be absent."""

    type: Type
    constants: dict[int | float, None] = field(default_factory=dict)
    divisors: dict[int, None] = field(default_factory=dict)
    related: bool = False  # compared with other fields
    presence: bool = False


def boundary_values(conditions: Iterable[Expression], base: Mapping[str, Value]) -> Candidates:
    """The values of each field of the conditions, within its range; `base` gives those of fields that are compared."""
    marks: dict[str, _Marks] = {}
    present: list[str] = []
    for condition in conditions:
        for part in walk(condition):
            if isinstance(part, HasField):
                present.append(part.name)
            elif isinstance(part, Comparison | Membership):
                _mark(part, marks)
            elif isinstance(part, FieldValue) and part.name not in marks:
                marks[part.name] = _Marks(part.type)
    for name in present:
        if name in marks:
            marks[name].presence = True
    return {name: _values(found, base.get(name)) for name, found in marks.items()}


def _mark(comparison: Comparison | Membership, marks: dict[str, _Marks]) -> None:
    parts = list(walk(comparison))
    fields = {part.name: part.type for part in parts if isinstance(part, FieldValue)}
    for name, type in fields.items():
        found = marks.setdefault(name, _Marks(type))
        found.related |= len(fields) > 1
        for part in parts:
            if isinstance(part, Constant) and isinstance(part.value, int | float) and not isinstance(part.value, bool):
                found.constants[part.value] = None
            if isinstance(part, Arithmetic) and part.operator == "%" and isinstance(part.right, Constant):
                divisor = part.right.value
                if isinstance(divisor, int) and divisor > 1:
                    found.divisors[divisor] = None


def _values(marks: _Marks, base: Value | None) -> list[Value | None]:
    found: list[Value | None] = [None] if marks.presence else []
    match marks.type.kind:
        case "bool":
            found += [False, True]
        case "enum":
            found += marks.type.members
        case "int":
            found += _within(marks.type, _ints(marks, base))
        case "float":
            near = (c + step for c in marks.constants for step in (0.0, 0.5, -0.5, 0.3))
            found += _within(marks.type, [*near, *([0.5] if marks.presence else [])])
        case "string" | "version":
            pass  # the machine's own: they are not for a call to choose
    return found


def _ints(marks: _Marks, base: Value | None) -> Iterator[int]:
    whole = [math.floor(constant) for constant in marks.constants]
    for constant in whole:
        yield from (constant, constant + 1, constant - 1)
    for divisor in marks.divisors:
        yield from (divisor, 2 * divisor, divisor + 1, divisor + divisor // 2)
        for bound in whole:
            if bound > divisor:
                yield from (bound // divisor * divisor, bound // divisor * divisor + divisor)
    if marks.related and isinstance(base, int):
        yield from (base, base + 1, base - 1, 2 * base, 3 * base, base // 2)


def _within(type: Type, numbers: Iterable[int | float]) -> list[Value]:
    fitting = (as_type(type, number) for number in numbers)
    return list(dict.fromkeys(number for number in fitting if number is not None))


def claimed_values(type: Type) -> list[Value]:
    """Values of a field that a kernel's facts do not limit: what is not limited is claimed for the whole range."""
    match type.kind:
        case "bool":
            return [False, True]
        case "enum":
            return list(type.members)
        case "int":
            lowest = [type.low] if isinstance(type.low, int) and type.low < 3 else []
            return _within(type, [*lowest, 1, 3, 33, 257])
        case _:
            return []
