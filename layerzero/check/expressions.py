"""Typed expressions: what the checker makes of the expressions in a tree.

Names are resolved, defines and aliases are expanded, operands have agreeing types, enum members are constants.
An expression is immutable and hashable; `span` is the place in the text and takes no part in equality, so equal
conditions written in two places are one condition to the compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal as OneOf

from packaging.version import Version

from layerzero.syntax.source import Span

Value = bool | int | float | str | Version
"""A known value. Strings and enum members are both `str`; their fields' types tell them apart."""

Kind = OneOf["bool", "int", "float", "string", "version", "enum"]
ComparisonOperator = OneOf["==", "!=", "<", "<=", ">", ">="]
ArithmeticOperator = OneOf["+", "-", "*", "//", "%"]


@dataclass(frozen=True, slots=True)
class Type:
    """`int in 1..1024`, `enum(full, sliding)`. Bounds are inclusive, None where open; `high_open` is `..<`, floats."""

    kind: Kind
    members: tuple[str, ...] = ()
    low: int | float | None = None
    high: int | float | None = None
    high_open: bool = False

    def __str__(self) -> str:
        if self.kind == "enum":
            return f"enum({', '.join(self.members)})"
        if self.low is None and self.high is None:
            return self.kind
        low = "" if self.low is None else f"{self.low}"
        high = "" if self.high is None else f"{self.high}"
        return f"{self.kind} in {low}..{'<' if self.high_open else ''}{high}"


BOOL = Type("bool")
INT = Type("int")
FLOAT = Type("float")
STRING = Type("string")
VERSION = Type("version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constant(Typed):
    """`8192`, `bf16` (value "bf16" of an enum type), `"tenant-a"`, a version."""

    value: Value
    type: Type

    def __eq__(self, other: object) -> bool:
        # 1, 1.0 and True are equal and hash alike in Python; here they are different constants.
        return (
            isinstance(other, Constant)
            and type(self.value) is type(other.value)
            and self.value == other.value
            and self.type.kind == other.type.kind
        )

    def __hash__(self) -> int:
        return hash((type(self.value), self.value, self.type.kind))


@dataclass(frozen=True, slots=True)
class FieldValue(Typed):
    """`head_dim`: the canonical name, aliases resolved."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class AttributeValue(Typed):
    """`kernel.vendor_support`: decided per kernel."""

    name: str
    type: Type


@dataclass(frozen=True, slots=True)
class InstalledVersion(Typed):
    """`package("flash-attn")`: PEP 503 normalised name; a version, or unknown where it is not installed."""

    package: str


@dataclass(frozen=True, slots=True)
class HasField(Typed):
    """`has(tenant)`"""

    name: str


@dataclass(frozen=True, slots=True)
class ArmIs(Typed):
    """The call is enrolled in this arm: a conjunct of every rule written inside the arm."""

    experiment: str
    arm: str


@dataclass(frozen=True, slots=True)
class Extremum(Typed):
    """`min(a, b)`; the type is float if any argument is."""

    function: OneOf["min", "max"]
    arguments: tuple[Expression, ...]
    type: Type


@dataclass(frozen=True, slots=True)
class Negate(Typed):
    operand: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Arithmetic(Typed):
    operator: ArithmeticOperator
    left: Expression
    right: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Conditional(Typed):
    then: Expression
    condition: Expression
    otherwise: Expression
    type: Type


@dataclass(frozen=True, slots=True)
class Comparison(Typed):
    """`64 <= head_dim <= 256` as written: the conjunction of its neighbouring pairs."""

    operands: tuple[Expression, ...]
    operators: tuple[ComparisonOperator, ...]


@dataclass(frozen=True, slots=True)
class Interval(Typed):
    """`100..109` inside a set or after `in`; None is an open end."""

    low: Expression | None
    high: Expression | None
    high_open: bool


@dataclass(frozen=True, slots=True)
class Membership(Typed):
    """`sm in {90, 100..109}`: equal to an item, or inside an interval."""

    operand: Expression
    items: tuple[Expression | Interval, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Like(Typed):
    operand: Expression
    pattern: str
    negated: bool


@dataclass(frozen=True, slots=True)
class Not(Typed):
    operand: Expression


@dataclass(frozen=True, slots=True)
class And(Typed):
    """Flat, two or more operands; parentheses and defines that are conjunctions stay nested with their own span."""

    operands: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or(Typed):
    operands: tuple[Expression, ...]


Expression = (
    Constant
    | FieldValue
    | AttributeValue
    | InstalledVersion
    | HasField
    | ArmIs
    | Extremum
    | Negate
    | Arithmetic
    | Conditional
    | Comparison
    | Membership
    | Like
    | Not
    | And
    | Or
)


def type_of(expression: Expression) -> Type:
    """The type of an expression's value; conditions are bool."""
    match expression:
        case InstalledVersion():
            return VERSION
        case Constant() | FieldValue() | AttributeValue() | Extremum() | Negate() | Arithmetic() | Conditional():
            return expression.type
        case _:
            return BOOL


def children(expression: Expression) -> tuple[Expression, ...]:
    """The direct sub-expressions, in the order written."""
    match expression:
        case Extremum(arguments=parts) | Comparison(operands=parts) | And(operands=parts) | Or(operands=parts):
            return parts
        case Negate(operand=part) | Not(operand=part) | Like(operand=part):
            return (part,)
        case Arithmetic(left=left, right=right):
            return (left, right)
        case Conditional(then=then, condition=condition, otherwise=otherwise):
            return (then, condition, otherwise)
        case Membership(operand=operand, items=items):
            found = [operand]
            for item in items:
                if isinstance(item, Interval):
                    found.extend(bound for bound in (item.low, item.high) if bound is not None)
                else:
                    found.append(item)
            return tuple(found)
        case _:
            return ()


def walk(expression: Expression) -> Iterator[Expression]:
    """The expression and everything below it, parents first."""
    yield expression
    for child in children(expression):
        yield from walk(child)


def fields_of(expression: Expression) -> frozenset[str]:
    """The names of the fields whose value or presence the expression reads."""
    return frozenset(part.name for part in walk(expression) if isinstance(part, FieldValue | HasField))
