"""Arms in a point -> a value of the experiment's key that really leads there. Buckets are hashes: values are tried."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count, islice

from packaging.version import Version

from layerzero.check.expressions import Value
from layerzero.check.program import Experiment
from layerzero.regions.narrow import State
from layerzero.regions.search import Point, Search
from layerzero.regions.sets import ABSENT, Marker, Members, ValueSet
from layerzero.regions.space import Space
from layerzero.regions.terms import ArmDimension, FieldDimension, LikeDimension, dimension_of
from layerzero.semantics.experiments import arm_of

MAX_KEYS = 20_000
MAX_GLOBBED = 300  # a key that has to match a glob takes longer to make


def enrolled_points(space: Space, point: Point, state: State) -> Iterator[Point]:
    """Versions of a point whose keys enrol the call in the arms that it names.

    Args:
        space: where the experiments are declared.
        point: elements of the dimensions that matter.
        state: the box that the point was taken from; other values of a key come from there.
    """
    wanted: dict[str, list[tuple[Experiment, Value | Marker]]] = {}
    for dimension, element in point.items():
        if isinstance(dimension, ArmDimension):
            experiment = space.program.experiments[dimension.experiment]
            wanted.setdefault(experiment.key, []).append((experiment, element))
    if not wanted:
        yield point
        return
    # Keys of different experiments do not hinder each other: the first fitting value of each is as good as any.
    found = dict(point)
    for key, arms in wanted.items():
        dimension = FieldDimension(key, space.types[key])
        values = state.get(dimension, space.domain(dimension))
        chosen = next(_fitting(space, dimension, arms, values, point.get(dimension), state), None)
        if chosen is None:
            return
        found[dimension] = chosen
    yield found


def _fitting(
    space: Space,
    dimension: FieldDimension,
    arms: list[tuple[Experiment, Value | Marker]],
    values: ValueSet,
    present: Value | Marker | None,
    state: State,
) -> Iterator[Value | Marker]:
    """Elements of a key that lead to these arms."""
    if values.absent and all(arm is ABSENT for _, arm in arms):
        yield ABSENT
    first = [] if present is None or isinstance(present, Marker) else [present]
    for value in islice(chain(first, _values(space, dimension, values, state)), MAX_KEYS):
        if all((arm_of(experiment, value) or ABSENT) == arm for experiment, arm in arms):
            yield value


def _values(space: Space, dimension: FieldDimension, values: ValueSet, state: State) -> Iterator[Value]:
    """Many different values of a key."""
    known = values.known
    if isinstance(known, Members):
        globbed = any(isinstance(d, LikeDimension) and dimension_of(d.operand) == dimension for d in state)
        if known.others and globbed:
            found = (Search(space).member(state, dimension, known, str(number)) for number in range(1, MAX_GLOBBED))
            yield from (name for name in found if name is not None)
        elif known.others:
            yield from (name for name in map("u{}".format, count(1)) if known.contains(name))
        else:
            yield from sorted(known.values, key=str)
    elif known.kind == "version":
        yield from (version for version in map(Version, map("{}.0".format, count())) if known.contains(version))
    else:
        first = Search(space).any_value(dimension, values)
        numbers = (type(first)(first + step) for step in count()) if isinstance(first, int | float) else iter(())
        yield from (number for number in islice(numbers, MAX_KEYS) if known.contains(number))
