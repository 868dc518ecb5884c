"""A formula -> boxes that make it up, a concrete context in it, or the proof that there is none.

Branch and prune: facts that stand alone are drawn to their conclusions (narrow.py), an open `any of` is split, and
at the end the fields of terms such as `q_heads % kv_heads` are tried from their ends and then halved. Every branch is
either tried, or pruned because it is impossible; a search that runs out of its budget says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import cast

from packaging.version import Version

from layerzero.check.expressions import Arithmetic, Comparison, Constant, Expression, Type, Value, walk
from layerzero.regions import formula as f
from layerzero.regions.formula import All, Any, Formula, Literal
from layerzero.regions.globs import example, literally
from layerzero.regions.narrow import Conflict, State, bounds_of, narrow, unrepresentable
from layerzero.regions.sets import ABSENT, BROKEN, Marker, Members, Ordered, ValueSet, interval
from layerzero.regions.space import Space
from layerzero.regions.terms import (
    Dimension,
    FieldDimension,
    LikeDimension,
    SignDimension,
    Synthetic,
    TermDimension,
    basis,
    dimension_of,
    lookups_from,
    operands,
    read,
)
from layerzero.regions.translate import TooComplexError, Truths, where

MAX_STEPS = 4_000
"""Splits of one search; a policy's condition needs a handful."""
MAX_OPEN = 250
"""Alternatives that are open side by side; each is a level of the search."""
_LABEL_COST = 5  # steps; fixing the fields of terms takes longer than splitting
_ROUNDS = 30
_STRATEGIES = ("low", "high", "mixed", "extreme")

Point = dict[Dimension, Value | Marker]


@dataclass
class Search:
    """One question about one space. `steps` counts the splits of all its branches together."""

    space: Space
    budget: int = MAX_STEPS
    steps: int = 0
    stop: Callable[[], bool] | None = None  # whether the time is over
    gaps: list[str] = field(default_factory=list)  # what was left untried, so that "none" is not proved

    def get(self, state: State, dimension: Dimension) -> ValueSet:
        known = state.get(dimension)
        return self.space.domain(dimension) if known is None else known

    def points(self, formula: Formula) -> Iterator[tuple[Point, State]]:
        """Concrete elements for every dimension that matters, one for each box where there are any, with the box.

        No point at all and no `gaps` prove that the formula holds nowhere.

        Raises:
            TooComplexError: the budget is spent.
        """
        whole = f.all_of([formula, *self.space.axioms(formula)])
        for state in self.leaves({}, (whole,), ()):
            for concrete in self.leaves(dict(state), (), tuple(mixed_terms(state))):
                point = self.label(concrete)
                if point is not None:
                    yield point, concrete

    def boxes(self, formula: Formula) -> Iterator[State]:
        """Boxes that together make up the formula; some may be empty for reasons that only a search finds."""
        whole = f.all_of([formula, *self.space.axioms(formula)])
        yield from self.leaves({}, (whole,), ())

    def any_value(self, dimension: FieldDimension, values: ValueSet | None = None) -> Value | None:
        """A value that a field can have, for a reader's eyes; None where none was found."""
        among = self.space.domain(dimension) if values is None else values
        element = self._choose({}, dimension, among.only_known(), False)
        return None if isinstance(element, Marker) else element

    def _spend(self, cost: int = 1) -> None:
        self.steps += cost
        if self.steps > self.budget:
            raise TooComplexError(f"more than {self.budget} cases")
        if self.stop is not None and self.stop():
            raise TooComplexError("the budget is spent")

    # ------------------------------------------------------------ splitting

    def leaves(
        self,
        state: State,
        todo: tuple[Formula, ...],
        mixed: tuple[Synthetic, ...],
        left_open: tuple[Any, ...] | None = None,
    ) -> Iterator[State]:
        """Boxes without anything left open.

        Args:
            mixed: terms that are split into "has a value" and "cannot be computed".
            left_open: disjunctions that the state, all of its conclusions drawn, leaves open.
        """
        try:
            open_parts = self._propagate(state, list(todo), left_open)
        except Conflict:
            return
        self._spend()
        if len(open_parts) > MAX_OPEN:
            raise TooComplexError(f"more than {MAX_OPEN} alternatives at once")
        if open_parts:
            chosen = min(open_parts, key=lambda part: len(part.parts))
            rest = tuple(part for part in open_parts if part is not chosen)
            refused: list[Formula] = []
            for part in chosen.parts:
                yield from self.leaves(dict(state), (*refused, part), mixed, rest)
                if isinstance(part, Literal):
                    refused.append(f.negation(part))  # so that no context is visited twice
            return
        for index, dimension in enumerate(mixed):
            values = self.get(state, dimension)
            if values.readable or values.known.empty:
                continue
            for half in (values.only_known(), values.only_markers()):
                yield from self.leaves(dict(state), (Literal(dimension, half),), mixed[index + 1 :])
            return
        yield state

    def _propagate(self, state: State, todo: list[Formula], left_open: tuple[Any, ...] | None) -> list[Any]:
        """Draw every conclusion that needs no split; what stays open are disjunctions. Raises Conflict."""
        open_parts: list[Any] = []
        known = set(map(id, left_open or ()))  # what was found to be open in the state `looked_at`
        looked_at = dict(state)
        narrowed = None if left_open is None else looked_at
        rounds = 0
        while True:
            before = dict(state)
            while todo:
                self._assume(state, todo.pop(), todo, open_parts)
            if rounds == 0:
                open_parts += reversed(left_open or ())
            rounds += 1
            if rounds <= _ROUNDS:
                narrowed = dict(state) if self._narrow(state, narrowed) else None
            changed = {dimension for dimension, values in state.items() if looked_at.get(dimension) is not values}
            looked_at = dict(state)
            still: list[Any] = []
            for part in open_parts:
                if id(part) in known and part.reads.isdisjoint(changed):
                    still.append(part)
                    continue
                left = self._remaining(state, part)
                if isinstance(left, Any) and left.parts:
                    still.append(left)
                elif left != f.TRUE:
                    todo.append(left)
            open_parts = still
            known = set(map(id, still))
            if not todo and (state == before or rounds > _ROUNDS):
                return open_parts

    def _assume(self, state: State, part: Formula, todo: list[Formula], open_parts: list[Any]) -> None:
        match part:
            case Literal(dimension=dimension, values=values):
                before = self.get(state, dimension)
                after = before & values
                if after.empty:
                    raise Conflict
                state[dimension] = after
                if not isinstance(dimension, TermDimension | SignDimension | LikeDimension):
                    return
                if after.known.empty and not before.known.empty:
                    todo.append(self._causes(state, dimension))
            case All(parts=parts):
                todo.extend(parts)
            case Any(parts=parts):
                if not parts:
                    raise Conflict
                open_parts.append(part)

    def _remaining(self, state: State, part: Any) -> Formula:
        """A disjunction without the parts that the state rules out; TRUE when one is certain."""
        left: list[Formula] = []
        for option in part.parts:
            truth = self.status(state, option)
            if truth is True:
                return f.TRUE
            if truth is None:
                left.append(option)
        if not left:
            raise Conflict
        return left[0] if len(left) == 1 else Any(tuple(left))

    def status(self, state: State, part: Formula) -> bool | None:
        """Whether a state makes a formula certain (True), impossible (False) or neither."""
        match part:
            case Literal(dimension=dimension, values=values):
                own = self.get(state, dimension)
                if not own.meets(values):
                    return False
                return True if own <= values else None
            case All(parts=parts):
                decides = False
            case Any(parts=parts):
                decides = True
        known: bool | None = not decides
        for option in parts:
            truth = self.status(state, option)
            if truth is decides:
                return decides
            known = None if truth is None else known
        return known

    # ------------------------------------------------------------ terms

    def _narrow(self, state: State, before: State | None = None) -> bool:
        """Draw the conclusions of every term of a state; tells whether all are drawn.

        Args:
            before: the state when that was last so.
        """

        def get(dimension: Dimension) -> ValueSet:
            return self.get(state, dimension)

        synthetic = tuple(d for d in state if isinstance(d, TermDimension | SignDimension | LikeDimension))
        known, readers = _wired(synthetic)
        waiting = set(synthetic)
        if before is not None:
            new = [part for part in known if state.get(part) is not before.get(part)]
            waiting = {reader for part in new for reader in readers[part]}
        for _ in range(_ROUNDS):
            for dimension in synthetic:
                if dimension not in waiting:
                    continue
                waiting.discard(dimension)
                was = {part: state.get(part) for part in known}
                values = get(dimension)
                changed = not values.readable and not values.known.empty and self._always_known(state, dimension)
                if changed:
                    state[dimension] = values.only_known()
                changed |= narrow(state, get, dimension)
                if changed:
                    for part, values_before in was.items():
                        if state.get(part) is not values_before:
                            waiting.update(readers[part])
            if not waiting:
                break
        return not waiting

    def _always_known(self, state: State, dimension: Synthetic) -> bool:
        """Whether a term can be computed in every context of the state, as far as bounds tell."""
        if any(not self.get(state, part).readable for part in basis(dimension)):
            return False
        get = lambda part: self.get(state, part)  # noqa: E731
        if any(unrepresentable(part, get) for part in operands(dimension)):
            return False
        return all(self._never_zero(state, divisor) for divisor in _divisors(dimension))

    def _never_zero(self, state: State, divisor: Expression) -> bool:
        low, high = bounds_of(divisor, lambda part: self.get(state, part))
        return low > 0 or high < 0

    def _causes(self, state: State, dimension: Synthetic) -> Formula:
        """What can keep a term from being computed: an absent field, a divisor of 0; failing those, overflow."""
        found: list[Formula] = [f.literal(part, self.get(state, part).only_markers()) for part in basis(dimension)]
        for divisor in _divisors(dimension):
            zero = Constant(0, Type("int"), span=divisor.span)
            found.append(where(Comparison((divisor, zero), ("==",), span=divisor.span), Truths.TRUE, self.space.types))
        plain = f.any_of(found)
        if any(unrepresentable(part, lambda place: self.get(state, place)) for part in operands(dimension)):
            # Overflow is found by trial only. Not `any_of`, which would see that the two together are no restriction.
            return Any((plain, f.negation(plain)))
        return plain

    # ------------------------------------------------------------ concrete values

    def label(self, state: State) -> Point | None:
        """Elements for the fields of all terms; None when there are none (or `gaps` says what was not tried)."""
        try:
            self._narrow(state)
        except Conflict:
            return None
        synthetic = [d for d in state if isinstance(d, TermDimension | SignDimension | LikeDimension)]
        variables = list(dict.fromkeys(part for dimension in synthetic for part in basis(dimension)))
        self._spend(_LABEL_COST)
        for strategy in _STRATEGIES:
            point = self._dive(state, variables, synthetic, strategy)
            if point is not None:
                return point
        halves = self._halves(state, variables)
        if halves is None:
            return None
        for dimension, values in halves:
            point = self.label({**state, dimension: values})
            if point is not None:
                return point
        return None

    def _dive(
        self, start: State, variables: list[Dimension], synthetic: list[Synthetic], strategy: str
    ) -> Point | None:
        """Fix one variable after the other, drawing conclusions in between; no way back."""
        state = dict(start)
        point: Point = {}
        for index, dimension in enumerate(variables):
            values = self.get(state, dimension)
            high = strategy in ("high", "extreme") or (strategy == "mixed" and index % 2 == 0)
            element = self._choose(state, dimension, values, high)
            if strategy == "extreme" and isinstance(element, int | float) and isinstance(values.known, Ordered):
                element = values.known.hull[1]
            if element is None:
                return None
            point[dimension] = element
            before = dict(state)
            state[dimension] = _just(values, element)
            try:
                self._narrow(state, before)
            except Conflict:
                return None
        lookups = lookups_from(point)
        if not all(self.get(state, dimension).contains(read(dimension, lookups)) for dimension in synthetic):
            return None
        for dimension, values in state.items():
            if dimension not in point and not isinstance(dimension, TermDimension | SignDimension | LikeDimension):
                element = self._choose(state, dimension, values, False)
                if element is None:
                    return None
                point[dimension] = element
        return point

    def _choose(self, state: State, dimension: Dimension, values: ValueSet, high: bool) -> Value | Marker | None:
        """One element, as readable as possible; None where none could be found."""
        if isinstance(dimension, FieldDimension) and not high:
            default = self.space.constant_default(dimension.name)
            if default is not None and values.contains(default):
                return default
        if values.absent and (values.known.empty or not high):
            return ABSENT
        known = values.known
        if known.empty:
            return BROKEN if values.broken else None
        if isinstance(known, Members):
            return self.member(state, dimension, known)
        if known.kind == "version":
            version = some_version(known)
            if version is None:
                self.gaps.append("no version was found between two others")
            return version
        return _some_number(known, high)

    def member(self, state: State, dimension: Dimension, known: Members, containing: str = "") -> Value | None:
        """A member of a set that the globs of the box allow; of strings, one that contains a given text."""
        globs = [d for d in state if isinstance(d, LikeDimension) and dimension_of(d.operand) == dimension]
        if not known.others and not globs:
            order = dimension.type.members if isinstance(dimension, FieldDimension) else ()
            ranked = sorted(known.values, key=lambda v: (order.index(v) if v in order else 0, v is True, str(v)))
            return cast("Value", ranked[0])
        if not known.others:
            return cast("Value", min(known.values, key=str))
        matching: list[str] = [f"*{literally(containing)}*"] if containing else []
        avoiding = [literally(text) for text in known.values]
        for glob in globs:
            values = self.get(state, glob)
            if not values.readable or values.known.size != 1:
                continue
            (matching if values.known.single is True else avoiding).append(glob.pattern)
        if not matching:
            avoiding.append("")  # an empty string says little to a reader
        return example(matching, avoiding) or example(matching, avoiding[:-1] if not matching else avoiding)

    def _halves(self, state: State, variables: list[Dimension]) -> list[tuple[Dimension, ValueSet]] | None:
        """Two parts of one variable that has several elements left: the one with the fewest."""
        open_variables: list[tuple[int, int, Dimension, ValueSet]] = []
        for index, dimension in enumerate(variables):
            values = self.get(state, dimension)
            size = values.known.size
            if size is None:
                related = [d for d in state if isinstance(d, LikeDimension | SignDimension) and dimension in basis(d)]
                # Globs on one string alone are decided exactly (globs.py).
                if not isinstance(values.known, Members) or any(basis(d) != (dimension,) for d in related):
                    self.gaps.append("strings or versions beside each other were not tried exhaustively")
                if not values.readable:
                    return [(dimension, values.only_known()), (dimension, values.only_markers())]
                continue
            size += values.absent + values.broken
            if size > 1:
                open_variables.append((size, index, dimension, values))
        if not open_variables:
            return None
        _, _, dimension, values = min(open_variables, key=lambda item: item[:2])
        if not values.readable and not values.known.empty:
            return [(dimension, values.only_known()), (dimension, values.only_markers())]
        if values.known.empty:
            empty = values.known
            return [(dimension, ValueSet(empty, absent=True)), (dimension, ValueSet(empty, broken=True))]
        if isinstance(values.known, Members):
            first = min(values.known.values, key=str)
            one = ValueSet(Members(frozenset({first})))
            return [(dimension, one), (dimension, values - one)]
        spans = values.known.spans
        middle = spans[len(spans) // 2][0] if len(spans) > 1 else sum(spans[0]) // 2
        lower = ValueSet(values.known.intersect(Ordered(values.known.kind, ((spans[0][0], middle),))))
        return [(dimension, lower), (dimension, values - lower)]


def mixed_terms(state: State) -> list[Synthetic]:
    """The terms of a box that may have a value there or be impossible to compute."""
    terms = [d for d in state if isinstance(d, TermDimension | SignDimension | LikeDimension)]
    return [d for d in terms if not state[d].readable and not state[d].known.empty]


@lru_cache(maxsize=4096)
def _wired(synthetic: tuple[Synthetic, ...]) -> tuple[tuple[Dimension, ...], dict[Dimension, tuple[Synthetic, ...]]]:
    """The dimensions that narrowing these terms reads and restricts, and for each the terms that read it."""
    plain = dict.fromkeys(part for dimension in synthetic for part in basis(dimension))
    readers: dict[Dimension, tuple[Synthetic, ...]] = {
        part: tuple(dimension for dimension in synthetic if part in basis(dimension)) for part in plain
    }
    for dimension in synthetic:  # a term is read by itself, and by those that share a field with it
        sharing = {other for part in basis(dimension) for other in readers[part]}
        readers[dimension] = tuple(other for other in synthetic if other in sharing or other == dimension)
    return tuple(readers), readers


def _divisors(dimension: Synthetic) -> list[Expression]:
    parts = (part for expression in operands(dimension) for part in walk(expression))
    return [part.right for part in parts if isinstance(part, Arithmetic) and part.operator in ("//", "%")]


def _just(values: ValueSet, element: Value | Marker) -> ValueSet:
    """The part of a set that holds just this element of it."""
    if isinstance(element, Marker):
        empty = replace(values.only_markers(), absent=element is ABSENT, broken=element is BROKEN)
        return empty
    if isinstance(values.known, Members):
        return ValueSet(Members(frozenset({element})))
    return ValueSet(interval(values.known.kind, element, element))


def _some_number(known: Ordered, high: bool) -> int | float:
    """An end of the set; of the low ends the first that is not negative, and rather 1 than 0."""
    top: int | float = known.hull[1]
    if high:
        return top if abs(top) < 2**62 else _round_below(known, top)
    for wanted in (1, 0):
        if known.contains(wanted):
            return wanted if known.kind == "int" else float(wanted)
    positive = known.intersect(interval(known.kind, 0))
    if positive.empty:
        return top
    least: int | float = positive.hull[0]
    return least if known.kind == "int" else _plain_double(known, least)


def _round_below(known: Ordered, top: int | float) -> int | float:
    """A big but readable number of a set that is open above."""
    for power in (1 << 40, 1 << 20):
        if known.contains(power):
            return power if known.kind == "int" else float(power)
    return top


def _plain_double(known: Ordered, low: float) -> float:
    """A short double just above the low end: 2.5 rather than 2.4000000000000004."""
    for digits in range(1, 17):
        rounded = float(f"{low:.{digits}g}")
        for near in (rounded, float(f"{low * 1.05:.{digits}g}")):
            if known.contains(near) and near >= low:
                return near
    return low


def some_version(known: Ordered) -> Version | None:
    """A version of the set: an end that belongs to it, or one near it."""
    for start, end in known.spans:
        near: list[Version] = []
        for position in (start, end):
            if len(position) == 3:
                base = position[1]
                release = base.release
                bumped = ".".join(map(str, (*release[:-1], release[-1] + 1)))
                longer = ".".join(map(str, (*release, 1)))
                near += [base, Version(longer), Version(bumped), Version(f"{release[0] + 1}.0")]
                near += [Version(f"{base.base_version}.post1"), Version(f"{base.base_version}rc1")]
                near += [Version(f"{base.base_version}.dev0"), Version("0"), Version("0.dev0")]
        if not near:
            near = [Version("1.0")]
        for candidate in near:
            if known.contains(candidate):
                return candidate
    return None
