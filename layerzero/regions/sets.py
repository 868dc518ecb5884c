"""Sets of values of one dimension, exact: the union, intersection and difference of two are again one.

Ints, doubles and versions are ordered, so their sets are sorted disjoint half-open spans of *positions*. A position
is an int for ints, a double's place among all doubles for doubles, and for versions the gap just below or just
above one. Bools, enum members and strings are finite sets or the complements of finite sets.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal as OneOf

from packaging.version import Version

from layerzero.check.expressions import ComparisonOperator, Type, Value
from layerzero.semantics.values import HIGHEST, LOWEST

OrderedKind = OneOf["int", "float", "version"]
Position = Any  # int, or for versions (0,) < (1, version, 0 below | 1 above) < (2,)


class Marker(Enum):
    """What stands where a value could not be read."""

    ABSENT = "absent"  # no value: the field is not there, the term cannot be computed, nobody is enrolled
    BROKEN = "not finite"  # a double that is NaN or infinite: there, but unknown to every condition


ABSENT = Marker.ABSENT
BROKEN = Marker.BROKEN


# ---------------------------------------------------------------- positions


def ordinal(number: float) -> int:
    """The place of a finite double among all of them; 0.0 (and -0.0) has place 0."""
    bits: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF)


def double_at(place: int) -> float:
    """The double at a place: the inverse of `ordinal`."""
    number: float = struct.unpack("<d", struct.pack("<q", abs(place)))[0]
    return number if place >= 0 else -number


_FLOAT_TOP = ordinal(struct.unpack("<d", b"\xff\xff\xff\xff\xff\xff\xef\x7f")[0])
_ENDS: dict[OrderedKind, tuple[Position, Position]] = {
    "int": (LOWEST, HIGHEST + 1),
    "float": (-_FLOAT_TOP, _FLOAT_TOP + 1),
    "version": ((0,), (2,)),
}


def _below(kind: OrderedKind, value: Any) -> Position:
    """The first position at or above a number, which may be of the other numeric kind; the gap below a version."""
    if kind == "version":
        return (1, value, 0)
    if kind == "int":
        return math.ceil(value)
    return _double_above(value, strictly=False)


def _above(kind: OrderedKind, value: Any) -> Position:
    """The first position above a number; the gap above a version."""
    if kind == "version":
        return (1, value, 1)
    if kind == "int":
        return math.floor(value) + 1
    return _double_above(value, strictly=True)


def _double_above(value: int | float, strictly: bool) -> int:
    try:
        near = float(value)
    except OverflowError:
        return _FLOAT_TOP + 1 if value > 0 else -_FLOAT_TOP
    place = ordinal(near)  # an int beyond 2**53 may lie beside its nearest double, on either side
    return place + 1 if near < value or (strictly and near == value) else place


# ---------------------------------------------------------------- ordered sets


@dataclass(frozen=True, slots=True)
class Ordered:
    """`{90, 100..109}`: kind int, spans ((90, 91), (100, 110)); sorted, disjoint, not touching, not empty."""

    kind: OrderedKind
    spans: tuple[tuple[Position, Position], ...]

    @property
    def empty(self) -> bool:
        return not self.spans

    def intersect(self, other: Plain) -> Ordered:
        if not isinstance(other, Ordered):
            raise TypeError("sets of different dimensions")
        # The answer is often one of the two sides: then it is that object, which makes comparing them cheap.
        if self <= other:
            return self
        if other <= self:
            return other
        found: list[tuple[Position, Position]] = []
        i = j = 0
        while i < len(self.spans) and j < len(other.spans):
            start = max(self.spans[i][0], other.spans[j][0])
            end = min(self.spans[i][1], other.spans[j][1])
            if start < end:
                found.append((start, end))
            if self.spans[i][1] <= other.spans[j][1]:
                i += 1
            else:
                j += 1
        return Ordered(self.kind, tuple(found))

    def __le__(self, other: Plain) -> bool:
        if not isinstance(other, Ordered):
            raise TypeError("sets of different dimensions")
        theirs, j = other.spans, 0
        for start, end in self.spans:
            while j < len(theirs) and theirs[j][1] < end:
                j += 1
            if j == len(theirs) or theirs[j][0] > start:
                return False
        return True

    def meets(self, other: Plain) -> bool:
        """Whether the two share a value."""
        if not isinstance(other, Ordered):
            raise TypeError("sets of different dimensions")
        theirs, j = other.spans, 0
        for start, end in self.spans:
            while j < len(theirs) and theirs[j][1] <= start:
                j += 1
            if j == len(theirs):
                return False
            if theirs[j][0] < end:
                return True
        return False

    def complement(self) -> Ordered:
        bottom, top = _ENDS[self.kind]
        found: list[tuple[Position, Position]] = []
        for start, end in self.spans:
            if bottom < start:
                found.append((bottom, start))
            bottom = end
        if bottom < top:
            found.append((bottom, top))
        return Ordered(self.kind, tuple(found))

    def contains(self, value: Value) -> bool:
        if self.kind == "version":
            at: Position = (1, value, 0)
        elif isinstance(value, str | Version):
            return False
        else:
            at = value if self.kind == "int" else ordinal(float(value))
        return any(start <= at < end for start, end in self.spans)

    @property
    def size(self) -> int | None:
        """How many values; None where that is not counted (versions)."""
        return None if self.kind == "version" else sum(end - start for start, end in self.spans)

    def value(self, position: int) -> int | float:
        return position if self.kind == "int" else double_at(position)

    @property
    def hull(self) -> tuple[Any, Any]:
        """The least and the greatest number. Numbers only, not empty."""
        return self.value(self.spans[0][0]), self.value(self.spans[-1][1] - 1)

    @property
    def single(self) -> Value | None:
        """The one value of a set that has just one."""
        if len(self.spans) != 1:
            return None
        start, end = self.spans[0]
        if self.kind == "version":
            only = len(start) == 3 and len(end) == 3 and start[1] == end[1]
            return start[1] if only else None
        return self.value(start) if end == start + 1 else None


def ordered(kind: OrderedKind, spans: Iterable[tuple[Position, Position]]) -> Ordered:
    """Any spans, in any order -> the set that they cover."""
    bottom, top = _ENDS[kind]
    found: list[tuple[Position, Position]] = []
    for start, end in sorted((max(start, bottom), min(end, top)) for start, end in spans):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return Ordered(kind, tuple(found))


def interval(kind: OrderedKind, low: Any = None, high: Any = None, high_open: bool = False) -> Ordered:
    """`low..high` with mathematical bounds of either numeric kind; None is an open end."""
    start, end = _ENDS[kind]
    if low is not None:
        start = _below(kind, low)
    if high is not None:
        end = _below(kind, high) if high_open else _above(kind, high)
    return ordered(kind, [(start, end)])


# ---------------------------------------------------------------- sets without order


@dataclass(frozen=True, slots=True)
class Members:
    """`{fp16, bf16}`; or with `others` every value but these: `not in {"bank", "shop"}`."""

    values: frozenset[Any]
    others: bool = False

    @property
    def empty(self) -> bool:
        return not self.values and not self.others

    def intersect(self, other: Plain) -> Members:
        if not isinstance(other, Members):
            raise TypeError("sets of different dimensions")
        if self.others and other.others:
            return Members(self.values | other.values, True)
        if self.others:
            return Members(other.values - self.values)
        return Members(self.values - other.values if other.others else self.values & other.values)

    def __le__(self, other: Plain) -> bool:
        if not isinstance(other, Members):
            raise TypeError("sets of different dimensions")
        if self.others:
            return other.others and other.values <= self.values
        return self.values.isdisjoint(other.values) if other.others else self.values <= other.values

    def meets(self, other: Plain) -> bool:
        """Whether the two share a value."""
        if not isinstance(other, Members):
            raise TypeError("sets of different dimensions")
        if self.others:
            return other.others or not other.values <= self.values
        return not (self.values <= other.values if other.others else self.values.isdisjoint(other.values))

    def complement(self) -> Members:
        return Members(self.values, not self.others)

    def contains(self, value: Any) -> bool:
        return (value in self.values) is not self.others

    @property
    def size(self) -> int | None:
        return None if self.others else len(self.values)

    @property
    def single(self) -> Any:
        return next(iter(self.values)) if len(self.values) == 1 and not self.others else None


Plain = Ordered | Members


# ---------------------------------------------------------------- with markers


@dataclass(frozen=True, slots=True)
class ValueSet:
    """Values of a dimension, and whether the set also holds "absent" and "not finite"."""

    known: Plain
    absent: bool = False
    broken: bool = False

    @property
    def empty(self) -> bool:
        return self.known.empty and not self.absent and not self.broken

    @property
    def readable(self) -> bool:
        """Whether every element is a value."""
        return not self.absent and not self.broken

    def __and__(self, other: ValueSet) -> ValueSet:
        known = self.known.intersect(other.known)
        return ValueSet(known, self.absent and other.absent, self.broken and other.broken)

    def __or__(self, other: ValueSet) -> ValueSet:
        known = self.known.complement().intersect(other.known.complement()).complement()
        return ValueSet(known, self.absent or other.absent, self.broken or other.broken)

    def __sub__(self, other: ValueSet) -> ValueSet:
        known = self.known.intersect(other.known.complement())
        return ValueSet(known, self.absent and not other.absent, self.broken and not other.broken)

    def __le__(self, other: ValueSet) -> bool:
        markers = (other.absent or not self.absent) and (other.broken or not self.broken)
        return markers and self.known <= other.known

    def meets(self, other: ValueSet) -> bool:
        """Whether the two share an element."""
        return (self.absent and other.absent) or (self.broken and other.broken) or self.known.meets(other.known)

    def contains(self, value: Value | Marker) -> bool:
        if isinstance(value, Marker):
            return self.absent if value is ABSENT else self.broken
        return self.known.contains(value)

    def only_known(self) -> ValueSet:
        return replace(self, absent=False, broken=False)

    def only_markers(self) -> ValueSet:
        return replace(self, known=nothing_like(self.known))


def nothing_like(plain: Plain) -> Plain:
    return Ordered(plain.kind, ()) if isinstance(plain, Ordered) else Members(frozenset())


def everything_of(type: Type) -> Plain:
    """All values of a field's type, within its range."""
    match type.kind:
        case "int" | "float":
            return interval(type.kind, type.low, type.high, type.high_open)
        case "version":
            return interval("version")
        case "bool":
            return Members(frozenset({True, False}))
        case "enum":
            return Members(frozenset(type.members))
        case "string":
            return Members(frozenset(), True)


def matching(kind: str, operator: ComparisonOperator, constant: Any) -> Plain:
    """The values v with `v OPERATOR constant`."""
    if kind not in ("int", "float", "version"):
        return Members(frozenset({constant}), operator == "!=")
    of: OrderedKind = kind  # type: ignore[assignment]
    match operator:
        case "==":
            return interval(of, constant, constant)
        case "!=":
            return interval(of, constant, constant).complement()
        case "<":
            return interval(of, None, constant, True)
        case "<=":
            return interval(of, None, constant)
        case ">":
            return interval(of, None, constant).complement()
        case ">=":
            return interval(of, constant)
