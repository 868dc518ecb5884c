"""Sets of one dimension -> `.lzp` text: `sm in {80, 90..99}`, `head_dim > 128`, `dtype != fp32`."""

from __future__ import annotations

from typing import assert_never

from packaging.version import Version

from layerzero.check.expressions import (
    And,
    Arithmetic,
    ArmIs,
    AttributeValue,
    Comparison,
    Conditional,
    Constant,
    Expression,
    Extremum,
    FieldValue,
    HasField,
    InstalledVersion,
    Like,
    Membership,
    Negate,
    Not,
    Or,
    Value,
)
from layerzero.regions.sets import Members, Ordered, Plain, Position, double_at
from layerzero.syntax.spelling import name, string

_LEVELS = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}


def spell(expression: Expression, least: int = 0) -> str:
    """A term as it would be written; brackets where `least`, the level of its surroundings, wants them."""
    match expression:
        case Constant(value=value, type=type):
            return constant(value, enum=type.kind == "enum")
        case FieldValue(name=word):
            return name(word)
        case InstalledVersion(package=package):
            return f"package({string(package)})"
        case Extremum(function=function, arguments=arguments):
            parts = [spell(part) for part in arguments]
            # One argument alone is an int read as a double; adding 0.0 says so, and two are the least that parse.
            return f"{function}({', '.join(parts)})" if len(parts) > 1 else f"({parts[0]} + 0.0)"
        case Negate(operand=operand):
            return f"-{spell(operand, 3)}"
        case Arithmetic(operator=operator, left=left, right=right):
            level = _LEVELS[operator]
            text = f"{spell(left, level)} {operator} {spell(right, level + 1)}"
            return f"({text})" if level < least else text
        case AttributeValue() | Conditional() | Comparison() | Membership() | Like() | HasField() | ArmIs():
            raise TypeError("a term holds no conditions")
        case Not() | And() | Or():
            raise TypeError("a term holds no conditions")
        case _:
            assert_never(expression)


def constant(value: Value, enum: bool = False) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Version():
            return string(str(value))
        case str():
            return name(value) if enum else string(value)
        case _:
            return repr(value)


def member_of(subject: str, values: Plain, everything: Plain, enum: bool = False) -> str:
    """The condition that the value of `subject` is in a set that is neither empty nor everything."""
    if isinstance(values, Members):
        return _finite(subject, values, everything, enum)
    missing = everything.intersect(values.complement())
    if isinstance(missing, Ordered) and missing.single is not None and len(values.spans) > 1:
        return f"{subject} != {constant(missing.single)}"
    if values.kind == "int":
        return _ints(subject, values, everything)
    parts = [_span(subject, values, span, everything) for span in values.spans]
    return parts[0] if len(parts) == 1 else f"({' or '.join(parts)})"


def _finite(subject: str, values: Members, everything: Plain, enum: bool) -> str:
    if values.values in ({True}, {False}) and not values.others and not enum:
        only = next(iter(values.values))
        if only is True or only is False:
            return subject if only else f"not {subject}"
    missing = everything.intersect(values.complement())
    assert isinstance(missing, Members)
    positive = not values.others and (missing.others or len(values.values) <= len(missing.values) + 1)
    listed = sorted((constant(value, enum) for value in (values if positive else missing).values), key=str)
    if len(listed) == 1:
        return f"{subject} {'==' if positive else '!='} {listed[0]}"
    return f"{subject} {'in' if positive else 'not in'} {{{', '.join(listed)}}}"


def _ints(subject: str, values: Ordered, everything: Plain) -> str:
    assert isinstance(everything, Ordered)
    bottom, top = everything.hull
    if len(values.spans) == 1:
        low, high = values.hull
        if low == high:
            return f"{subject} == {low}"
        if low == bottom:
            return f"{subject} <= {high}"
        return f"{subject} >= {low}" if high == top else f"{subject} in {low}..{high}"
    items = []
    for start, end in values.spans:
        low, high = ("" if start == bottom else start), ("" if end - 1 == top else end - 1)
        items.append(f"{start}" if end == start + 1 else f"{low}..{high}")
    return f"{subject} in {{{', '.join(items)}}}"


def _span(subject: str, values: Ordered, span: tuple[Position, Position], everything: Plain) -> str:
    """One span of doubles or versions."""
    assert isinstance(everything, Ordered)
    single = Ordered(values.kind, (span,)).single
    if single is not None:
        return f"{subject} == {constant(single)}"
    bottom, top = everything.spans[0][0], everything.spans[-1][1]
    bounds = []
    if span[0] != bottom:
        bounds.append(f"{subject} {_low(values, span[0])}")
    if span[1] != top:
        bounds.append(f"{subject} {_high(values, span[1])}")
    text = " and ".join(bounds)
    return f"({text})" if len(bounds) > 1 and len(values.spans) > 1 else text


def _low(values: Ordered, position: Position) -> str:
    if values.kind == "version":
        return f"{'>=' if position[2] == 0 else '>'} {constant(position[1])}"
    at, before = double_at(position), double_at(position - 1)
    return f"> {before!r}" if len(repr(before)) < len(repr(at)) else f">= {at!r}"


def _high(values: Ordered, position: Position) -> str:
    if values.kind == "version":
        return f"{'<' if position[2] == 0 else '<='} {constant(position[1])}"
    last, after = double_at(position - 1), double_at(position)
    return f"< {after!r}" if len(repr(after)) < len(repr(last)) else f"<= {last!r}"
