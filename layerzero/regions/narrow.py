"""What a fact about a term says about its fields: `q_len * 4 <= 64` and `q_len >= 1` make `q_len in 1..16`.

Bounds only, outwards: a value that is removed is impossible, a value that stays may be. Ints are exact. For
doubles the bounds of a sum or product come from the same rounded operation at its corners, which is sound because
rounding is monotone; nothing is concluded backwards through them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

from layerzero.check.expressions import Arithmetic, Constant, Expression, Extremum, Negate, type_of
from layerzero.regions.sets import Members, Ordered, ValueSet, interval, ordered
from layerzero.regions.terms import (
    Dimension,
    FieldDimension,
    LikeDimension,
    PackageDimension,
    SignDimension,
    Synthetic,
    TermDimension,
    basis,
    dimension_of,
    full,
    read,
    sign_between,
)
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.values import HIGHEST, LOWEST

Number = int | float
Bounds = tuple[Number, Number]
State = dict[Dimension, ValueSet]
Get = Callable[[Dimension], ValueSet]

MAX_MODULUS = 4096
"""Residues of one modulus are enumerated up to here; past it only bounds are used."""
_FAR = 2.0**1023 * (2 - 2**-52)


class Conflict(Exception):  # noqa: N818 - a signal of the search, not an error of anyone
    """No context fulfils all the facts."""


def narrow(state: State, get: Get, dimension: Synthetic) -> bool:
    """Draw the conclusions of one fact; tells whether any was new. Raises Conflict."""
    values = get(dimension)
    if not values.readable:
        return False  # it may hold just because something is absent: the search splits that case off first
    changed = False
    for part in basis(dimension):
        changed |= _restrict(state, get, part, get(part).only_known())
    match dimension:
        case TermDimension(expression=expression):
            assert isinstance(values.known, Ordered)
            bounds = bounds_of(expression, get)
            kept = values.known.intersect(interval(values.known.kind, *bounds))
            changed |= _restrict(state, get, dimension, ValueSet(kept))
            changed |= _backward(expression, kept.hull, state, get)
            changed |= _residues(expression, kept, state, get)
            changed |= _division(dimension, state, get)
        case SignDimension(left=left, right=right):
            assert isinstance(values.known, Members)
            if type_of(left).kind in ("int", "float"):
                changed |= _signs(values.known.values, left, right, state, get)
            else:
                changed |= _equality(values.known.values, left, right, state, get)
        case LikeDimension(operand=operand, pattern=_):
            place = dimension_of(operand)
            assert place is not None, "globs are asked of fields"
            changed |= _glob(dimension, values, place, state, get)
    return changed


def _restrict(state: State, get: Get, dimension: Dimension, allowed: ValueSet) -> bool:
    before = get(dimension)
    after = before & allowed
    if after.empty:
        raise Conflict
    if after == before:
        return False
    state[dimension] = after
    return True


# ---------------------------------------------------------------- bounds of a term


def _clip(low: Number, high: Number, expression: Expression) -> Bounds:
    """What can be represented of a result; the rest is unknown, so the term is not there."""
    if type_of(expression).kind == "int":
        low, high = max(low, LOWEST), min(high, HIGHEST)
    else:
        low, high = max(low, -_FAR), min(high, _FAR)
    if low > high or low != low or high != high:
        raise Conflict
    return low, high


def bounds_of(expression: Expression, get: Get) -> Bounds:
    """The least and greatest value that a term can have, given those of its fields."""
    match expression:
        case Constant(value=int() | float() as value):
            return value, value
        case Negate(operand=operand):
            low, high = bounds_of(operand, get)
            return _clip(-high, -low, expression)
        case Extremum(function=function, arguments=arguments):
            bounds = [bounds_of(part, get) for part in arguments]
            pick = min if function == "min" else max
            low, high = pick(low for low, _ in bounds), pick(high for _, high in bounds)
            return (float(low), float(high)) if type_of(expression).kind == "float" else (low, high)
        case Arithmetic(operator=operator, left=left, right=right):
            one, other = bounds_of(left, get), bounds_of(right, get)
            if type_of(expression).kind == "float":
                return _clip(*_float_bounds(operator, one, other), expression)
            return _clip(*_int_bounds(operator, one, other), expression)
        case _:
            dimension = dimension_of(expression)
            known = get(dimension).known if dimension is not None else None
            if not isinstance(known, Ordered) or known.kind == "version":
                raise TypeError("bounds are asked of numbers only")
            if known.empty:
                raise Conflict
            return known.hull


def _float_bounds(operator: str, one: Bounds, other: Bounds) -> Bounds:
    left, right = (float(one[0]), float(one[1])), (float(other[0]), float(other[1]))
    if operator == "+":
        return left[0] + right[0], left[1] + right[1]
    if operator == "-":
        return left[0] - right[1], left[1] - right[0]
    if operator == "*":
        corners = [a * b for a in left for b in right]
        return min(corners), max(corners)
    return -_FAR, _FAR


def _int_bounds(operator: str, one: Bounds, other: Bounds) -> Bounds:
    (a, b), (c, d) = (int(one[0]), int(one[1])), (int(other[0]), int(other[1]))
    if operator == "+":
        return a + c, b + d
    if operator == "-":
        return a - d, b - c
    if operator == "*":
        corners = [x * y for x in (a, b) for y in (c, d)]
        return min(corners), max(corners)
    # `//` and `%`: the divisor is not 0 where the term is there.
    divisors = [x for x in (c, d, -1, 1) if c <= x <= d and x != 0]
    if not divisors:
        raise Conflict
    if operator == "//":
        quotients = [x // y for x in (a, b) for y in divisors]
        return min(quotients), max(quotients)
    low = min(0, c + 1)
    high = max(0, d - 1)
    if a >= 0 and c > 0:
        high = min(high, b)
        if a // d == b // c:  # one quotient for all: the rest moves with both sides
            low, high = max(0, a - a // d * d), min(high, b - b // c * c)
    return low, high


# ---------------------------------------------------------------- from a term to its fields


def _backward(expression: Expression, wanted: Bounds, state: State, get: Get) -> bool:
    """Restrict the fields of a term whose value lies in `wanted`."""
    low, high = wanted
    if low > high:
        raise Conflict
    dimension = dimension_of(expression)
    if isinstance(dimension, FieldDimension | PackageDimension):
        known = get(dimension).known
        if not isinstance(known, Ordered) or known.kind == "version":
            return False
        return _restrict(state, get, dimension, ValueSet(interval(known.kind, low, high)))
    if type_of(expression).kind != "int" or not isinstance(low, int) or not isinstance(high, int):
        return False
    match expression:
        case Negate(operand=operand):
            return _backward(operand, (-high, -low), state, get)
        case Extremum(function=function, arguments=arguments):
            return _through_extremum(function, arguments, (low, high), state, get)
        case Arithmetic(operator=operator, left=left, right=right):
            return _through_arithmetic(operator, left, right, (low, high), state, get)
        case _:
            return False


def _through_extremum(function: str, arguments: tuple[Expression, ...], wanted: Bounds, state: State, get: Get) -> bool:
    low, high = wanted
    changed = False
    for part in arguments:
        # Every argument of a min is at least the result, every argument of a max at most.
        limit = (low, HIGHEST) if function == "min" else (LOWEST, high)
        changed |= _backward(part, limit, state, get)
    reaching = []
    for part in arguments:
        least, most = bounds_of(part, get)
        if (least <= high) if function == "min" else (most >= low):
            reaching.append(part)
    if not reaching:
        raise Conflict
    if len(reaching) == 1:
        changed |= _backward(reaching[0], (LOWEST, high) if function == "min" else (low, HIGHEST), state, get)
    return changed


def _through_arithmetic(
    operator: str, left: Expression, right: Expression, wanted: Bounds, state: State, get: Get
) -> bool:
    low, high = int(wanted[0]), int(wanted[1])
    a, b = map(int, bounds_of(left, get))
    c, d = map(int, bounds_of(right, get))
    changed = False
    if operator == "+":
        changed |= _backward(left, (low - d, high - c), state, get)
        changed |= _backward(right, (low - b, high - a), state, get)
    elif operator == "-":
        changed |= _backward(left, (low + c, high + d), state, get)
        changed |= _backward(right, (a - high, b - low), state, get)
    elif operator == "*":
        changed |= _factor(left, (c, d), (low, high), state, get)
        changed |= _factor(right, (a, b), (low, high), state, get)
    elif operator == "//" and c > 0:
        changed |= _backward(left, (min(low * c, low * d), max((high + 1) * c, (high + 1) * d) - 1), state, get)
        if a >= 0 and low >= 1:
            changed |= _backward(right, (c, b // low), state, get)
        if a > 0 and high >= 0:
            changed |= _backward(right, (max(c, a // (high + 1) + 1), d), state, get)
    elif operator == "%" and c > 0:
        changed |= _backward(right, (max(c, low + 1), d), state, get)
        if a >= 0:
            changed |= _backward(left, (max(a, low), b), state, get)
    return changed


def _factor(side: Expression, partner: tuple[int, int], wanted: tuple[int, int], state: State, get: Get) -> bool:
    """`side * partner in wanted`, for a partner that is never 0."""
    c, d = partner
    low, high = wanted
    if c <= 0 <= d:
        return False
    if d < 0:
        c, d, low, high = -d, -c, -high, -low
    # side >= low / partner: the weakest bound is at the partner's end that makes it smallest.
    least = min(-(-low // c), -(-low // d))
    most = max(high // c, high // d)
    return _backward(side, (least, most), state, get)


def _residues(expression: Expression, wanted: Ordered, state: State, get: Get) -> bool:
    """`head_dim % 8 in wanted`: move the ends of the field's spans to values with such a residue.

    What is known of its other residues counts as well: `head_dim % 128 == 0` leaves none for `head_dim % 32 != 0`.
    """
    own = _modulus(expression)
    if own is None or wanted.kind != "int":
        return False
    left, modulus = own
    facts = [(modulus, wanted)]
    for other in state:
        if isinstance(other, TermDimension) and other.expression != expression:
            found, its = _modulus(other.expression), get(other)
            if found is not None and found[0] == left and its.readable and isinstance(its.known, Ordered):
                together = math.lcm(modulus, found[1])
                if together <= MAX_MODULUS:
                    modulus = together
                    facts.append((found[1], its.known))
    residues = _common(modulus, tuple(facts))
    if not residues:
        raise Conflict
    dimension = dimension_of(left)
    if not isinstance(dimension, FieldDimension):
        return False
    known = get(dimension).known
    if not isinstance(known, Ordered) or known.kind != "int":
        return False
    spans = []
    for start, end in known.spans:
        first = min(start + (residue - start) % modulus for residue in residues)
        last = max(end - 1 - (end - 1 - residue) % modulus for residue in residues)
        if first <= last:
            spans.append((first, last + 1))
    return _restrict(state, get, dimension, ValueSet(ordered("int", spans)))


@lru_cache(maxsize=4096)
def _common(modulus: int, facts: tuple[tuple[int, Ordered], ...]) -> tuple[int, ...]:
    """The residues of a common multiple that every fact (modulus, residues) allows."""
    return tuple(r for r in range(modulus) if all(allowed.contains(r % each) for each, allowed in facts))


def _modulus(expression: Expression) -> tuple[Expression, int] | None:
    """The left side and the modulus of `left % 8`, for one whose residues are enumerated."""
    match expression:
        case Arithmetic(operator="%", left=left, right=Constant(value=int() as modulus)) if 0 < modulus <= MAX_MODULUS:
            return left, modulus
        case _:
            return None


def _division(dimension: TermDimension, state: State, get: Get) -> bool:
    """`a % b` and `a // b` beside how a compares with b: below it, `a % b` is a itself; beside an equal one it is 0."""
    expression = dimension.expression
    if not isinstance(expression, Arithmetic) or expression.operator not in ("%", "//"):
        return False
    left, right = expression.left, expression.right
    if isinstance(right, Constant) or type_of(expression).kind != "int":
        return False
    (a, b), (c, d) = bounds_of(left, get), bounds_of(right, get)
    if a < 0 or c <= 0:
        return False
    sign, swapped = sign_between(left, right)
    known = get(sign).known if sign in state else full(sign).known
    assert isinstance(known, Members)
    remainder = expression.operator == "%"
    where = {
        -1: interval("int", a, min(b, d - 1)) if remainder else interval("int", 0, 0),
        0: interval("int", 0, 0) if remainder else interval("int", 1, 1),
        1: interval("int", 0, d - 1) if remainder else interval("int", 1, b // c),
    }
    wanted = get(dimension).known
    possible = {-s if swapped else s: values for s, values in where.items() if values.meets(wanted)}
    possible = {s: values for s, values in possible.items() if s in known.values}
    if not possible:
        raise Conflict
    signs = frozenset(possible)
    changed = _restrict(
        state, get, dimension, ValueSet(ordered("int", (span for one in possible.values() for span in one.spans)))
    )
    if sign in state:
        changed |= _restrict(state, get, sign, ValueSet(Members(signs)))
    elif len(signs) < len(known.values):
        changed |= _signs(signs, sign.left, sign.right, state, get)
    if remainder and signs == {1 if swapped else -1}:
        place = dimension_of(left)
        if isinstance(place, FieldDimension):
            changed |= _restrict(state, get, place, ValueSet(get(dimension).known))
    return changed


# ---------------------------------------------------------------- comparisons of two terms


def _signs(signs: frozenset[int], left: Expression, right: Expression, state: State, get: Get) -> bool:
    (a, b), (c, d) = bounds_of(left, get), bounds_of(right, get)
    possible = {sign for sign, can in ((-1, a < d), (0, a <= d and c <= b), (1, b > c)) if can}
    if not possible & signs:
        raise Conflict
    changed = False
    if 1 not in signs:  # left <= right
        changed |= _below(left, (a, b), (c, d), 0 not in signs, state, get, left_side=True)
        changed |= _below(right, (c, d), (a, b), 0 not in signs, state, get, left_side=False)
    if -1 not in signs:  # left >= right
        changed |= _below(right, (c, d), (a, b), 0 not in signs, state, get, left_side=True)
        changed |= _below(left, (a, b), (c, d), 0 not in signs, state, get, left_side=False)
    if signs == {-1, 1} and a == b and isinstance(dimension_of(right), FieldDimension):
        changed |= _without(right, a, state, get)
    if signs == {-1, 1} and c == d and isinstance(dimension_of(left), FieldDimension):
        changed |= _without(left, c, state, get)
    return changed


def _below(
    side: Expression, own: Bounds, other: Bounds, strictly: bool, state: State, get: Get, left_side: bool
) -> bool:
    """Restrict the smaller (`left_side`) or the greater side of `smaller <= greater`."""
    both_ints = all(isinstance(bound, int) for bound in (*own, *other))
    step = 1 if strictly and both_ints else 0
    bounds = (own[0], min(own[1], other[1] - step)) if left_side else (max(own[0], other[0] + step), own[1])
    if bounds[0] > bounds[1]:
        raise Conflict
    return _backward(side, bounds, state, get)


def _without(side: Expression, value: Number, state: State, get: Get) -> bool:
    dimension = dimension_of(side)
    assert dimension is not None
    known = get(dimension).known
    if not isinstance(known, Ordered):
        return False
    return _restrict(state, get, dimension, ValueSet(interval(known.kind, value, value).complement()))


def _equality(signs: frozenset[int], left: Expression, right: Expression, state: State, get: Get) -> bool:
    """Strings, enums and versions: equal sides share their values, a known side is not the other's when they differ."""
    one, other = dimension_of(left), dimension_of(right)
    if one is None or other is None:
        return False
    left_known, right_known = get(one).known, get(other).known
    changed = False
    if signs == {0}:
        changed |= _restrict(state, get, one, ValueSet(right_known))
        changed |= _restrict(state, get, other, ValueSet(left_known))
    elif 0 not in signs:
        for mine, theirs in ((one, right_known), (other, left_known)):
            if theirs.single is not None:
                changed |= _restrict(state, get, mine, ValueSet(theirs.complement()))
    return changed


def _glob(dimension: LikeDimension, values: ValueSet, place: Dimension, state: State, get: Get) -> bool:
    """A finite set of strings keeps those that match (or do not)."""
    known = get(place).known
    if not isinstance(known, Members) or known.others or not isinstance(place, FieldDimension):
        return False
    kept = frozenset(v for v in known.values if values.contains(read(dimension, Lookups({place.name: v}))))
    return _restrict(state, get, place, ValueSet(Members(kept)))


def unrepresentable(expression: Expression, get: Get) -> bool:
    """Whether some arithmetic in a term, all its fields given, may leave the ints or doubles. Errs towards yes."""
    match expression:
        case Negate(operand=operand):
            parts: tuple[Expression, ...] = (operand,)
        case Arithmetic(left=left, right=right):
            parts = (left, right)
        case Extremum(arguments=arguments):
            parts = arguments
        case _:
            return False
    if any(unrepresentable(part, get) for part in parts):
        return True
    if isinstance(expression, Extremum):
        return False
    if type_of(expression).kind == "float":
        return True
    try:
        bounds = [bounds_of(part, get) for part in parts]
        if isinstance(expression, Negate):
            low, high = -bounds[0][1], -bounds[0][0]
        else:
            assert isinstance(expression, Arithmetic)
            low, high = _int_bounds(expression.operator, bounds[0], bounds[1])
    except Conflict:
        return False
    return low < LOWEST or high > HIGHEST or math.isnan(low)
