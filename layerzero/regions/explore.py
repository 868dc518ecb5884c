"""A region -> pieces on which a question has one answer, found by example: ask about a context, learn where the same
answer holds, leave that out, and go on with what is left until nothing is.

    for piece in explore(space, formula, look): ...

`look` answers for one context and hands over formulas, all true there, within which the answer stays the same. So
each answer is paid for once per piece, however many contexts are in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from layerzero.regions import formula as f
from layerzero.regions.formula import Formula, Literal
from layerzero.regions.narrow import State
from layerzero.regions.region import Region, Witness
from layerzero.regions.search import Search, mixed_terms
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError

T = TypeVar("T")
Look = Callable[[Witness], tuple[T, Sequence[Formula]]]

MAX_PIECES = 2_000
MAX_STEPS = 60_000


@dataclass(frozen=True, slots=True)
class Piece(Generic[T]):
    """One answer, a context that has it, and where it holds: `box` and `within` together."""

    answer: T
    witness: Witness
    box: State
    within: tuple[Formula, ...]

    @property
    def formula(self) -> Formula:
        return f.all_of([*(Literal(dimension, values) for dimension, values in self.box.items()), *self.within])


def explore(
    space: Space,
    formula: Formula,
    look: Look[T],
    stop: Callable[[], bool] = lambda: False,
    steps: int = MAX_STEPS,
    pieces: int = MAX_PIECES,
) -> Iterator[Piece[T]]:
    """Pieces that together are the region, but for contexts that cannot exist.

    Raises:
        TooComplexError: the bounds are spent, or a context could not be made; what was handed out stays true.
    """
    yield from _Exploration(space, look, stop, pieces, Search(space, steps, stop=stop)).run(formula)


class _Exploration(Generic[T]):
    def __init__(self, space: Space, look: Look[T], stop: Callable[[], bool], pieces: int, search: Search) -> None:
        self._space, self._look, self._stop, self._left, self._search = space, look, stop, pieces, search
        self._known: list[Piece[T]] = []
        self._axioms: dict[int, tuple[Formula, list[Formula]]] = {}

    def run(self, formula: Formula) -> Iterator[Piece[T]]:
        waiting: list[tuple[State, tuple[Formula, ...]]] = [({}, (formula, *self._about(formula)))]
        while waiting:
            state, todo = waiting.pop()
            for box in self._search.leaves(dict(state), todo, ()):
                for concrete in self._search.leaves(dict(box), (), tuple(mixed_terms(box))):
                    yield from self._visit(concrete, waiting)
        if self._search.gaps:
            raise TooComplexError(self._search.gaps[0])

    def _visit(self, box: State, waiting: list[tuple[State, tuple[Formula, ...]]]) -> Iterator[Piece[T]]:
        """Answer for one context of a box, and put off what is outside the answer's piece."""
        if self._stop():
            raise TooComplexError("the budget is spent")
        status = self._search.status
        known = next((one for one in self._known if all(status(box, part) is True for part in one.within)), None)
        if known is not None:
            yield Piece(known.answer, known.witness, box, known.within)
            return
        point = self._search.label(box)
        if point is None:
            return  # an empty box, or one of `gaps`
        inside = f.all_of(Literal(dimension, values) for dimension, values in box.items())
        witness = Region(self._space, inside).witness_at(point, box)
        if witness is None:
            raise TooComplexError("no call was found that leads to a context of the region")
        self._left -= 1
        if self._left < 0:
            raise TooComplexError("there are more pieces than are looked at")
        answer, parts = self._look(witness)
        within = tuple(sorted(parts, key=_size))
        piece = Piece(answer, witness, box, within)
        self._known.append(piece)
        yield piece
        before: list[Formula] = []
        for part in within:
            if status(box, part) is True:
                continue
            outside, axioms = f.negation(part), self._about(part)
            waiting.append((box, (*before, outside, *axioms)))
            before += [part, *axioms]

    def _about(self, formula: Formula) -> list[Formula]:
        """What defaults say about the fields of a formula."""
        found = self._axioms.get(id(formula))
        if found is None:
            found = self._axioms[id(formula)] = (formula, self._space.axioms(formula))
        return found[1]


def _size(formula: Formula) -> int:
    return 1 if isinstance(formula, Literal) else 1 + sum(map(_size, formula.parts))
