"""Constants against declared ranges: what can be said of a value without looking at any context."""

from __future__ import annotations

from layerzero.check.expressions import Arithmetic, Constant, Expression, FieldValue, Interval, Negate, Type, Value
from layerzero.check.report import Report
from layerzero.syntax.source import Span


def constant_of(expression: Expression) -> Value | None:
    """The value of an expression that reads nothing, if it is plain enough to tell."""
    match expression:
        case Constant(value=value):
            return value
        case Negate(operand=operand):
            inner = constant_of(operand)
            return -inner if isinstance(inner, int | float) and not isinstance(inner, bool) else None
        case Arithmetic(operator=operator, left=left, right=right):
            one, other = constant_of(left), constant_of(right)
            if type(one) is not int or type(other) is not int:
                return None
            match operator:
                case "+":
                    return one + other
                case "-":
                    return one - other
                case "*":
                    return one * other
                case "//" | "%":
                    if other == 0:
                        return None
                    return one // other if operator == "//" else one % other
        case _:
            return None


def inside(value: Value, type: Type) -> bool:
    """Whether a value lies in the range of a type (of the right kind already)."""
    if type.kind == "enum":
        return value in type.members
    if isinstance(value, bool) or not isinstance(value, int | float):
        return True
    if type.low is not None and value < type.low:
        return False
    if type.high is None:
        return True
    return value < type.high if type.high_open else value <= type.high


def check_constant(report: Report, value: Value, type: Type, what: str, span: Span) -> bool:
    """Report a constant that the declared range excludes."""
    if inside(value, type):
        return True
    report.add("LZ303", f"{what} can never be `{span.text}`", span, f"outside {type}")
    return False


def check_interval(report: Report, interval: Interval, operand: Expression) -> bool:
    """Report an empty range (an error) and bounds beyond the field's own (a warning)."""
    low = None if interval.low is None else constant_of(interval.low)
    high = None if interval.high is None else constant_of(interval.high)
    low = low if isinstance(low, int | float) else None
    high = high if isinstance(high, int | float) else None
    if low is not None and high is not None and (low > high or (low == high and interval.high_open)):
        swapped = interval.high is not None and interval.low is not None and low > high
        help = (
            f"did you mean `{interval.high.span.text}..{interval.low.span.text}`?"
            if swapped and interval.high and interval.low
            else ""
        )
        report.add("LZ304", f"the range `{interval.span.text}` is empty", interval.span, help=help)
        return False
    if isinstance(operand, FieldValue):
        own = operand.type
        if high is not None and interval.high_open and own.kind == "int":
            high = high - 1
        if any(bound is not None and not inside(bound, own) for bound in (low, high)):
            report.add(
                "LZ505", f"the range `{interval.span.text}` reaches beyond `{own}` of `{operand.name}`", interval.span
            )
    return True
