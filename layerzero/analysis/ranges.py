"""One call with some fields free -> the decisions over all their values, in as few rows as were found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from layerzero.analysis.fixed import like_it
from layerzero.analysis.model import Model
from layerzero.analysis.settle import Outcome, outcome_of, settle
from layerzero.check.expressions import Value
from layerzero.check.program import Scope
from layerzero.regions import formula as f
from layerzero.regions.explore import explore
from layerzero.regions.formula import Formula, Literal
from layerzero.regions.region import Nowhere, Region, Witness
from layerzero.regions.sets import ValueSet
from layerzero.regions.simplify import Box, joined, spelled
from layerzero.regions.terms import Dimension, FieldDimension
from layerzero.regions.translate import TooComplexError
from layerzero.semantics.interpret import decide

STEPS = 20_000
PIECES = 400
BOXES = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """All contexts whose axes lie in `sets` (an axis that is left out has any value) and where `besides` holds."""

    sets: Mapping[FieldDimension, ValueSet]
    besides: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Ranges:
    """`rows` do not overlap in what they decide; `gap` says why some contexts are in none of them."""

    rows: tuple[Row, ...]
    gap: str | None = None


def over_ranges(
    model: Model,
    scope: Scope,
    given: Mapping[str, Value],
    axes: Mapping[FieldDimension, ValueSet],
    stop: Callable[[], bool] = lambda: False,
) -> Ranges:
    """The decisions of a call over all values of the axes."""
    limits = f.all_of(f.literal(axis, values) for axis, values in axes.items())
    line = f.all_of([like_it(model, scope, given, [axis.name for axis in axes]), limits])

    def look(witness: Witness) -> tuple[Outcome, tuple[Formula, ...]]:
        asked = Scope(scope.operation)
        proof = decide(model.program, model.supposed(witness), asked, witness.lookups.fields, witness.lookups.arms)
        return outcome_of(proof), settle(model, witness, proof).within

    found: dict[Outcome, list[Formula]] = {}
    gap = None
    try:
        for piece in explore(model.space, line, look, stop, STEPS, PIECES):
            found.setdefault(piece.answer, []).append(piece.formula)
    except TooComplexError as error:
        gap = str(error)
    rows: list[Row] = []
    for outcome, formulas in found.items():
        region = Region(model.space, f.all_of([line, f.any_of(dict.fromkeys(formulas))]))
        try:
            boxes = joined(model.space, [_plain(model, line, box, axes) for box in region.boxes(BOXES)])
        except TooComplexError as error:
            gap = gap or f"{outcome.text}: {error}"
            continue
        rows += [_row(model, box, axes, outcome) for box in boxes]
    return Ranges(tuple(sorted(rows, key=lambda row: _order(row, axes))), gap)


def _plain(model: Model, line: Formula, box: Box, axes: Collection[Dimension]) -> Box:
    """A box without what the call says anyway."""
    kept = dict(box)
    for dimension in [one for one in box if one not in axes]:
        others = f.all_of(Literal(one, values) for one, values in kept.items() if one != dimension)
        outside = f.negation(f.literal(dimension, box[dimension]))
        if isinstance(Region(model.space, f.all_of([line, others, outside])).find(budget=200), Nowhere):
            del kept[dimension]
    return kept


def _row(model: Model, box: Box, axes: Mapping[FieldDimension, ValueSet], outcome: Outcome) -> Row:
    sets = {axis: box[axis] for axis, values in axes.items() if axis in box and not values <= box[axis]}
    besides = spelled(model.space, {one: values for one, values in box.items() if one not in axes})
    return Row(sets, besides, outcome)


def _order(row: Row, axes: Collection[FieldDimension]) -> tuple[object, ...]:
    places: list[object] = []
    for axis in axes:
        values = row.sets.get(axis)
        spans = getattr(values.known, "spans", None) if values is not None else None
        numbers = axis.type.kind in ("int", "float")
        places.append((0 if values is None else 1, spans[0][0] if spans and numbers else 0, str(values)))
    return (*places, row.besides, row.outcome.text)
