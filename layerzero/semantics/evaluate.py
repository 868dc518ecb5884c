"""Expression and what it may look up -> a value or UNKNOWN; also which part failed, what it read and what it missed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    Interval,
    Like,
    Membership,
    Negate,
    Not,
    Or,
    Type,
    Value,
    children,
    walk,
)
from layerzero.semantics import values as rules
from layerzero.semantics.values import UNKNOWN, Result, Truth, Unknown
from layerzero.syntax.glob import like


@dataclass(frozen=True, slots=True)
class Lookups:
    """All that a condition can read. `attributes` are those of the one kernel that is asked about."""

    fields: Mapping[str, Value] = field(default_factory=dict)
    packages: Mapping[str, Version] = field(default_factory=dict)
    arms: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Value] = field(default_factory=dict)


def holds(condition: Expression | None, lookups: Lookups) -> Truth:
    """The truth of a condition; one that is not written is true."""
    return True if condition is None else _truth(evaluate(condition, lookups))


def _truth(result: Result) -> Truth:
    """The checker lets only bools stand where a condition does."""
    return result if isinstance(result, bool) else UNKNOWN


def evaluate(expression: Expression, lookups: Lookups) -> Result:
    # The order is that of how often each is met: a case that is tried in vain takes time.
    match expression:
        case FieldValue(name=name):
            return _read(lookups.fields, name)
        case Constant(value=value):
            return value
        case Comparison(operands=operands, operators=operators):
            results = [evaluate(operand, lookups) for operand in operands]
            pairs = zip(operators, results, results[1:], strict=False)
            return rules.conjunction([rules.compare(operator, one, other) for operator, one, other in pairs])
        case And(operands=operands):
            return rules.conjunction([_truth(evaluate(operand, lookups)) for operand in operands])
        case Membership(operand=operand, items=items, negated=negated):
            result = evaluate(operand, lookups)
            found = rules.disjunction([_matches(result, item, lookups) for item in items])
            return rules.negation(found) if negated else found
        case Not(operand=operand):
            return rules.negation(_truth(evaluate(operand, lookups)))
        case Or(operands=operands):
            return rules.disjunction([_truth(evaluate(operand, lookups)) for operand in operands])
        case AttributeValue(name=name):
            return _read(lookups.attributes, name)
        case InstalledVersion(package=package):
            return _read(lookups.packages, package)
        case HasField(name=name):
            return name in lookups.fields
        case ArmIs(experiment=experiment, arm=arm):
            return lookups.arms.get(experiment) == arm
        case Extremum(function=function, arguments=arguments, type=type):
            return _typed(rules.extremum(function, [evaluate(part, lookups) for part in arguments]), type)
        case Negate(operand=operand):
            return rules.negative(evaluate(operand, lookups))
        case Arithmetic(operator=operator, left=left, right=right):
            return rules.arithmetic(operator, evaluate(left, lookups), evaluate(right, lookups))
        case Conditional(then=then, condition=condition, otherwise=otherwise, type=type):
            truth = holds(condition, lookups)
            if truth is UNKNOWN:
                return UNKNOWN
            return _typed(evaluate(then if truth else otherwise, lookups), type)
        case Like(operand=operand, pattern=pattern, negated=negated):
            text = evaluate(operand, lookups)
            return like(text, pattern) is not negated if isinstance(text, str) else UNKNOWN
        case _:
            assert_never(expression)


def _read(table: Mapping[str, Value], name: str) -> Result:
    value = table.get(name)
    return UNKNOWN if value is None else rules.readable(value)


def _typed(result: Result, type: Type) -> Result:
    """`4 if c else 0.5` is a double whichever branch is taken."""
    if type.kind == "float" and isinstance(result, int) and not isinstance(result, bool):
        return float(result)
    return result


def _matches(value: Result, item: Expression | Interval, lookups: Lookups) -> Truth:
    if not isinstance(item, Interval):
        return rules.compare("==", value, evaluate(item, lookups))
    low = None if item.low is None else evaluate(item.low, lookups)
    high = None if item.high is None else evaluate(item.high, lookups)
    return rules.within(value, low, high, item.high_open)


# ---------------------------------------------------------------- what an answer came from


def smallest_failure(
    condition: Expression, lookups: Lookups, excuse: Callable[[Expression, Lookups], bool] | None = None
) -> Expression:
    """The conjunct that keeps a condition from being true: the first false one, else the first unknown one.

    An unknown conjunct that `excuse` pardons is named only where there is no other.
    """
    while isinstance(condition, And):
        truths = [(operand, holds(operand, lookups)) for operand in condition.operands]
        false = [operand for operand, truth in truths if truth is False]
        unknown = [operand for operand, truth in truths if truth is UNKNOWN]
        if excuse is not None and not false:
            unknown = [operand for operand in unknown if not excuse(operand, lookups)] or unknown
        if not false and not unknown:
            return condition
        condition = (false or unknown)[0]
    return condition


def values_read(expression: Expression, lookups: Lookups) -> dict[str, Value | None]:
    """Everything that an expression reads, as it is spelled in conditions, in the order written; None where absent."""
    got: dict[str, Value | None] = {}
    for part in walk(expression):
        match part:
            case FieldValue(name=name) | HasField(name=name):
                got[name] = lookups.fields.get(name)
            case AttributeValue(name=name):
                got[f"kernel.{name}"] = lookups.attributes.get(name)
            case InstalledVersion(package=package):
                got[spell_package(package)] = lookups.packages.get(package)
            case _:
                pass
    return got


def missing(expression: Expression, lookups: Lookups) -> tuple[str, ...]:
    """What is absent and so left an expression unknown; nothing for one that is known or divides by zero."""
    if not isinstance(evaluate(expression, lookups), Unknown):
        return ()
    match expression:
        case FieldValue(name=name):
            return () if name in lookups.fields else (name,)
        case AttributeValue(name=name):
            return (f"kernel.{name}",)
        case InstalledVersion(package=package):
            return (spell_package(package),)
        case Conditional(then=then, condition=condition, otherwise=otherwise):
            truth = holds(condition, lookups)
            parts: tuple[Expression, ...] = (condition,) if truth is UNKNOWN else (then if truth else otherwise,)
        case _:
            parts = children(expression)
    return tuple(dict.fromkeys(name for part in parts for name in missing(part, lookups)))


def packages_read(expression: Expression) -> tuple[str, ...]:
    names = (part.package for part in walk(expression) if isinstance(part, InstalledVersion))
    return tuple(dict.fromkeys(names))


def spell_package(package: str) -> str:
    return f'package("{package}")'
