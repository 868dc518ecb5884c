"""A region -> a short condition in `.lzp`: boxes joined where they differ in one dimension, what is certain left out.

The text is true exactly in the region, unless `exact` is false: no condition can ask which arm a call is in, whether
a package is missing, whether a double is infinite or whether arithmetic overflows.
"""

from __future__ import annotations

from dataclasses import dataclass

from layerzero.check.expressions import Arithmetic, Constant, Expression, FieldValue, walk
from layerzero.check.ranges import inside
from layerzero.regions.narrow import unrepresentable
from layerzero.regions.region import Region
from layerzero.regions.sets import Members, ValueSet
from layerzero.regions.space import Space
from layerzero.regions.spell import member_of, spell
from layerzero.regions.terms import (
    ArmDimension,
    Dimension,
    FieldDimension,
    LikeDimension,
    PackageDimension,
    SignDimension,
    Synthetic,
    TermDimension,
    basis,
    full,
    operands,
)
from layerzero.syntax.spelling import name, string

_SIGNS = {
    frozenset({-1}): "<",
    frozenset({0}): "==",
    frozenset({1}): ">",
    frozenset({-1, 0}): "<=",
    frozenset({0, 1}): ">=",
    frozenset({-1, 1}): "!=",
}

Box = dict[Dimension, ValueSet]
_TERMS = (TermDimension, SignDimension, LikeDimension)


@dataclass(frozen=True, slots=True)
class Readable:
    """A condition as text. Where it is not `exact` it is a hint: it may be true in more or fewer contexts."""

    text: str
    exact: bool = True


def readable(region: Region, limit: int = 64) -> Readable:
    """The region as a condition.

    Raises:
        TooComplexError: it has more than `limit` boxes.
    """
    boxes = joined(region.space, region.boxes(limit))
    if not boxes:
        return Readable("false")
    writer = _Writer(region.space)
    texts = list(dict.fromkeys(writer.box(box) for box in boxes))
    if "" in texts:
        return Readable("true", writer.exact)
    if len(texts) == 1:
        return Readable(texts[0], writer.exact)
    return Readable(" or ".join(f"({text})" if " " in text else text for text in texts), writer.exact)


def spelled(space: Space, box: Box) -> str:
    """One box as a condition, without another search; empty where it says nothing."""
    return _Writer(space).box(box)


def joined(space: Space, boxes: list[Box]) -> list[Box]:
    """The same set in fewer boxes: pairs that differ in one dimension become one, and contained ones go."""
    found = [_without_certain(space, box) for box in boxes]
    index = 0
    while index < len(found):
        for other in range(len(found)):
            union = None if other == index else _union(space, found[index], found[other])
            if union is not None:
                found = [box for at, box in enumerate(found) if at not in (index, other)]
                found.append(union)
                index = -1  # start again: the new box may join others
                break
        index += 1
    return found


def _without_certain(space: Space, box: Box) -> Box:
    return {dimension: values for dimension, values in box.items() if not space.domain(dimension) <= values}


def _union(space: Space, one: Box, other: Box) -> Box | None:
    """One box for two, where their union is a box."""
    names = [*one, *(dimension for dimension in other if dimension not in one)]
    pairs = {d: (one.get(d, space.domain(d)), other.get(d, space.domain(d))) for d in names}
    if all(b <= a for a, b in pairs.values()):
        return one
    if all(a <= b for a, b in pairs.values()):
        return other
    different = [d for d, (a, b) in pairs.items() if a != b]
    if len(different) != 1:
        return None
    dimension = different[0]
    a, b = pairs[dimension]
    return _without_certain(space, {**one, dimension: a | b})


@dataclass
class _Writer:
    space: Space
    exact: bool = True

    def box(self, box: Box) -> str:
        terms = [d for d, values in box.items() if values.readable and isinstance(d, _TERMS)]
        implied = {part for term in terms for part in basis(term)}  # a term that has a value has its fields
        texts = []
        for dimension, values in box.items():
            if dimension not in implied or values.known != self.space.domain(dimension).known:
                texts.append(self.literal(dimension, values))
        return " and ".join(dict.fromkeys(text for text in texts if text))

    def literal(self, dimension: Dimension, values: ValueSet) -> str:
        """`dimension in set`, empty where that says nothing."""
        domain = self.space.domain(dimension)
        match dimension:
            case FieldDimension():
                return self._field(dimension, values, domain)
            case PackageDimension(package=package):
                self.exact &= not values.absent
                subject = f"package({string(package)})"
                if values.known.empty:
                    return ""
                if values.known == domain.known:
                    return f'{subject} >= "0.dev0"'  # every version, but it has to be there
                return member_of(subject, values.known, domain.known)
            case ArmDimension():
                self.exact = False
                return ""
            case TermDimension() | SignDimension() | LikeDimension():
                return self._synthetic(dimension, values)

    def _field(self, dimension: FieldDimension, values: ValueSet, domain: ValueSet) -> str:
        subject = name(dimension.name)
        options = [f"not has({subject})"] if values.absent and domain.absent else []
        if values.known == domain.known and (values.broken or not domain.broken):
            options.append(f"has({subject})")
        elif values.known == domain.known:
            options.append(f"{subject} == {subject}")  # there, and a number that conditions can read
        else:
            self.exact &= not values.broken
            if not values.known.empty:
                options.append(member_of(subject, values.known, domain.known, dimension.type.kind == "enum"))
        return _either(options)

    def _synthetic(self, dimension: Synthetic, values: ValueSet) -> str:
        known = "" if values.known.empty else self._known(dimension, values)
        if values.readable:
            return known or self._computable(dimension)
        self.exact &= not any(unrepresentable(part, self.space.domain) for part in operands(dimension))
        unknown = self._not_computable(dimension)
        return _either([*unknown, known] if known else unknown)

    def _known(self, dimension: Synthetic, values: ValueSet) -> str:
        """The known part as text; empty where it is every value."""
        if values.known == full(dimension).known:
            return ""
        match dimension:
            case TermDimension(expression=expression):
                return member_of(spell(expression, 1), values.known, full(dimension).known)
            case LikeDimension(operand=operand, pattern=pattern):
                word = "like" if values.known.contains(True) else "not like"
                return f"{spell(operand)} {word} {string(pattern)}"
            case SignDimension(left=left, right=right):
                assert isinstance(values.known, Members)
                ordered = full(dimension).known.contains(-1)
                sign = _SIGNS[values.known.values] if ordered else "==" if values.known.contains(0) else "!="
                return f"{spell(left, 1)} {sign} {spell(right, 1)}"

    def _computable(self, dimension: Synthetic) -> str:
        """What makes a term computable."""
        plain = not any(unrepresentable(part, self.space.domain) for part in operands(dimension))
        parts = [part for part in basis(dimension) if self.space.domain(part) != self.space.domain(part).only_known()]
        texts = [f"has({name(part.name)})" for part in parts if isinstance(part, FieldDimension)]
        if not plain or len(texts) < len(parts) or any(self.space.domain(part).broken for part in parts):
            return " and ".join(f"{spell(term, 1)} == {spell(term, 1)}" for term in operands(dimension))
        return " and ".join([*texts, *(f"{divisor} != 0" for divisor in _divisors(dimension))])

    def _not_computable(self, dimension: Synthetic) -> list[str]:
        self.exact &= not any(self.space.domain(part).broken for part in basis(dimension))
        self.exact &= not any(isinstance(part, PackageDimension) for part in basis(dimension))
        fields = [part for part in basis(dimension) if isinstance(part, FieldDimension)]
        texts = [f"not has({name(part.name)})" for part in fields if self.space.domain(part).absent]
        return [*texts, *(f"{divisor} == 0" for divisor in _divisors(dimension))]


def _either(options: list[str]) -> str:
    return f"({' or '.join(options)})" if len(options) > 1 else "".join(options)


def _divisors(dimension: Synthetic) -> list[str]:
    """Divisors that may be 0, as text."""
    parts = [part for expression in operands(dimension) for part in walk(expression)]
    divisors = [part.right for part in parts if isinstance(part, Arithmetic) and part.operator in ("//", "%")]
    return list(dict.fromkeys(spell(part, 1) for part in divisors if _may_be_zero(part)))


def _may_be_zero(divisor: Expression) -> bool:
    """Whether 0 is among its values: `d != 0` is an error of the checker where the range of `d` excludes it."""
    match divisor:
        case Constant(value=value):
            return value == 0
        case FieldValue(type=type):
            return inside(0, type)
        case _:
            return True
