"""Two values and an operator -> a value or UNKNOWN: Kleene logic, exact comparison, bounded arithmetic.

Every engine of the language computes with these rules; here they are written once, plainly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import Any, Literal as OneOf, NoReturn, TypeAlias, assert_never

from packaging.version import InvalidVersion, Version

from layerzero.check.expressions import ArithmeticOperator, ComparisonOperator, Value

LOWEST, HIGHEST = -(2**63), 2**63 - 1


class Unknown(Enum):
    """The third truth value, and the value of what is absent or cannot be computed."""

    UNKNOWN = "unknown"

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> NoReturn:
        raise TypeError("UNKNOWN is neither true nor false: ask `is True`")


UNKNOWN: OneOf[Unknown.UNKNOWN] = Unknown.UNKNOWN
Truth: TypeAlias = bool | Unknown
Known: TypeAlias = Value
Result: TypeAlias = Value | Unknown


# ---------------------------------------------------------------- logic


def negation(truth: Truth) -> Truth:
    if truth is UNKNOWN:
        return UNKNOWN
    return not truth


def conjunction(truths: Iterable[Truth]) -> Truth:
    """False if any is false, else unknown if any is unknown, else true."""
    answer: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if truth is UNKNOWN:
            answer = UNKNOWN
    return answer


def disjunction(truths: Iterable[Truth]) -> Truth:
    """True if any is true, else unknown if any is unknown, else false."""
    return negation(conjunction(negation(truth) for truth in truths))


# ---------------------------------------------------------------- comparison


def compare(operator: ComparisonOperator, left: Result, right: Result) -> Truth:
    """`==` to `>=`. Int and float compare by mathematical value; a string beside a version becomes one."""
    if left is UNKNOWN or right is UNKNOWN:
        return UNKNOWN
    one, other = _same_kind(left, right)
    if isinstance(one, Unknown) or isinstance(other, Unknown):
        return UNKNOWN
    match operator:
        case "==":
            return bool(one == other)
        case "!=":
            return bool(one != other)
        case "<":
            return bool(one < other)
        case "<=":
            return bool(one <= other)
        case ">":
            return bool(one > other)
        case ">=":
            return bool(one >= other)
        case _:
            assert_never(operator)


def _same_kind(left: Value, right: Value) -> tuple[Any, Any]:
    """Python compares int with float exactly, so only strings beside versions need help."""
    if isinstance(left, str) and not isinstance(right, str):
        return version(left), right
    if isinstance(right, str) and not isinstance(left, str):
        return left, version(right)
    return left, right


def version(text: str) -> Version | Unknown:
    """A version by PEP 440; what is none is unknown."""
    try:
        return Version(text)
    except InvalidVersion:
        return UNKNOWN


def within(value: Result, low: Result | None, high: Result | None, high_open: bool) -> Truth:
    """`low..high`, both ends included but for `..<`; None is an open end."""
    if value is UNKNOWN:
        return UNKNOWN
    above = True if low is None else compare("<=", low, value)
    below = True if high is None else compare("<" if high_open else "<=", value, high)
    return conjunction((above, below))


# ---------------------------------------------------------------- arithmetic


def representable(number: float) -> int | float | Unknown:
    """An int within 64 bits or a finite double; anything else is unknown."""
    if isinstance(number, int):
        return number if LOWEST <= number <= HIGHEST else UNKNOWN
    return number if math.isfinite(number) else UNKNOWN


def readable(value: Value) -> Result:
    """A value as a condition sees it: one that is not a number at all (NaN) or is infinite is unknown."""
    return UNKNOWN if isinstance(value, float) and not math.isfinite(value) else value


def arithmetic(operator: ArithmeticOperator, left: Result, right: Result) -> Result:
    """`+ - * // %`; `//` and `%` floor. By zero, past 64 bits or past the doubles: unknown."""
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        return UNKNOWN
    if isinstance(left, float) or isinstance(right, float):
        left, right = float(left), float(right)
    if operator in ("//", "%") and right == 0:
        return UNKNOWN
    match operator:
        case "+":
            return representable(left + right)
        case "-":
            return representable(left - right)
        case "*":
            return representable(left * right)
        case "//":
            return representable(left // right)
        case "%":
            return representable(left % right)
        case _:
            assert_never(operator)


def negative(operand: Result) -> Result:
    return representable(-operand) if isinstance(operand, int | float) else UNKNOWN


def extremum(function: OneOf["min", "max"], arguments: Iterable[Result]) -> Result:
    """`min(a, b)`: unknown as soon as one argument is; a double if one argument is."""
    numbers: list[int | float] = []
    for argument in arguments:
        if not isinstance(argument, int | float):
            return UNKNOWN
        numbers.append(argument)
    chosen = min(numbers) if function == "min" else max(numbers)
    return float(chosen) if any(isinstance(number, float) for number in numbers) else chosen
