"""Dimensions: what a literal `dimension in set` speaks about, and how to read it from a concrete context.

A field is a dimension. So is every other thing that a condition compares: `q_heads % kv_heads`, the sign of
`q_len - kv_len`, whether `device_name like "*H100*"`. Those are not independent of the fields that they read: boxes
treat them as if they were, and the search (search.py) brings the dependence back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from packaging.version import Version

from layerzero.check.expressions import (
    Arithmetic,
    Expression,
    Extremum,
    FieldValue,
    InstalledVersion,
    Negate,
    Type,
    Value,
    type_of,
    walk,
)
from layerzero.regions.sets import ABSENT, BROKEN, Marker, Members, ValueSet, everything_of
from layerzero.semantics.evaluate import Lookups, evaluate
from layerzero.semantics.values import readable
from layerzero.syntax.glob import like


@dataclass(frozen=True, slots=True)
class FieldDimension:
    name: str
    type: Type

    def __hash__(self) -> int:  # one program has one type for a name
        return hash(self.name)


@dataclass(frozen=True, slots=True)
class PackageDimension:
    """The installed version of a package; absent where it is not installed."""

    package: str


@dataclass(frozen=True, slots=True)
class ArmDimension:
    """The arm of an experiment that the call is in; absent where it is not enrolled."""

    experiment: str


@dataclass(frozen=True)
class TermDimension:
    """The value of `q_len * (q_heads // kv_heads)`; absent where it cannot be computed."""

    expression: Expression

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.expression)


@dataclass(frozen=True)
class SignDimension:
    """How `left` compares with `right`: -1 below, 0 equal, 1 above (or just different, where there is no order)."""

    left: Expression
    right: Expression

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.left, self.right))


@dataclass(frozen=True, slots=True)
class LikeDimension:
    """Whether a string field matches a glob."""

    operand: Expression
    pattern: str


Synthetic = TermDimension | SignDimension | LikeDimension
Dimension = FieldDimension | PackageDimension | ArmDimension | Synthetic

_SIGNS = Members(frozenset({-1, 0, 1}))
_EQUALITY = Members(frozenset({0, 1}))


def is_ordered(expression: Expression) -> bool:
    return type_of(expression).kind in ("int", "float", "version")


@lru_cache(maxsize=65536)
def full(dimension: Dimension) -> ValueSet:
    """Every element that the dimension can have in any context of any operation."""
    match dimension:
        case FieldDimension(type=type):
            return ValueSet(everything_of(type), absent=True, broken=_may_break(type))
        case PackageDimension():
            return ValueSet(everything_of(Type("version")), absent=True)
        case ArmDimension():
            return ValueSet(Members(frozenset(), True), absent=True)
        case TermDimension(expression=expression):
            return ValueSet(everything_of(Type(type_of(expression).kind)), absent=True)
        case SignDimension(left=left, right=right):
            if left == right:
                return ValueSet(Members(frozenset({0})), absent=True)
            return ValueSet(_SIGNS if is_ordered(left) else _EQUALITY, absent=True)
        case LikeDimension():
            return ValueSet(Members(frozenset({True, False})), absent=True)


def _may_break(type: Type) -> bool:
    # NaN lies in no range that has an end; an infinity lies in one that is open on its side.
    return type.kind == "float" and (type.low is None or type.high is None)


def read(dimension: Dimension, lookups: Lookups) -> Value | Marker:
    """The element that a concrete (completed) context has."""
    match dimension:
        case FieldDimension(name=name):
            value = lookups.fields.get(name)
            if value is None:
                return ABSENT
            seen = readable(value)
            return seen if isinstance(seen, bool | int | float | str | Version) else BROKEN
        case PackageDimension(package=package):
            return lookups.packages.get(package, ABSENT)
        case ArmDimension(experiment=experiment):
            return lookups.arms.get(experiment, ABSENT)
        case TermDimension(expression=expression):
            return _known(expression, lookups)
        case SignDimension(left=left, right=right):
            one, other = _known(left, lookups), _known(right, lookups)
            if isinstance(one, Marker) or isinstance(other, Marker):
                return ABSENT
            if not is_ordered(left):
                return 0 if one == other else 1
            return _sign(one, other)
        case LikeDimension(operand=operand, pattern=pattern):
            text = _known(operand, lookups)
            return like(text, pattern) if isinstance(text, str) else ABSENT


def _known(expression: Expression, lookups: Lookups) -> Value | Marker:
    result = evaluate(expression, lookups)
    return result if isinstance(result, bool | int | float | str | Version) else ABSENT


def _sign(one: Value, other: Value) -> int:
    less: bool = one < other  # type: ignore[operator]
    return -1 if less else int(one != other)


def operands(dimension: Synthetic) -> tuple[Expression, ...]:
    """The expressions that a synthetic dimension computes with."""
    match dimension:
        case TermDimension(expression=expression):
            return (expression,)
        case SignDimension(left=left, right=right):
            return (left, right)
        case LikeDimension(operand=operand):
            return (operand,)


@lru_cache(maxsize=65536)
def basis(dimension: Synthetic) -> tuple[Dimension, ...]:
    """The fields and packages that a synthetic dimension depends on, in the order read."""
    found: dict[Dimension, None] = {}
    for expression in operands(dimension):
        for part in walk(expression):
            plain = dimension_of(part)
            if isinstance(plain, FieldDimension | PackageDimension):
                found[plain] = None
    return tuple(found)


def dimension_of(expression: Expression) -> Dimension | None:
    """The dimension whose elements are the values of an expression; None for a constant or a condition."""
    match expression:
        case FieldValue(name=name, type=type):
            return FieldDimension(name, type)
        case InstalledVersion(package=package):
            return PackageDimension(package)
        case Arithmetic() | Negate() | Extremum():
            return TermDimension(expression)
        case _:
            return None


@lru_cache(maxsize=65536)
def sign_between(left: Expression, right: Expression) -> tuple[SignDimension, bool]:
    """One dimension for `a < b` and `b > a`; the second part says whether the sides were swapped."""
    swapped = repr(left) > repr(right)
    return (SignDimension(right, left), True) if swapped else (SignDimension(left, right), False)


def lookups_from(values: Mapping[Dimension, Value | Marker]) -> Lookups:
    """A context from elements of plain dimensions."""
    fields: dict[str, Value] = {}
    packages: dict[str, Version] = {}
    arms: dict[str, str] = {}
    for dimension, value in values.items():
        if value is ABSENT:
            continue
        if isinstance(dimension, FieldDimension):
            fields[dimension.name] = value if not isinstance(value, Marker) else broken_value(dimension.type)
        elif isinstance(dimension, PackageDimension) and isinstance(value, Version):
            packages[dimension.package] = value
        elif isinstance(dimension, ArmDimension) and isinstance(value, str):
            arms[dimension.experiment] = value
    return Lookups(fields, packages, arms)


def broken_value(type: Type) -> float:
    """A double that lies in the range but that no condition can read."""
    return float("inf") if type.high is None else float("-inf")
