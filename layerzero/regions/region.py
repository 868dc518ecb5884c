"""A set of contexts of one operation, and the three answers to "is there one?"."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

from layerzero.check.expressions import Expression, Value
from layerzero.check.program import Scope
from layerzero.errors import ContextError
from layerzero.regions import formula as f
from layerzero.regions.enrolment import enrolled_points
from layerzero.regions.formula import Formula
from layerzero.regions.narrow import State
from layerzero.regions.search import MAX_STEPS, Point, Search
from layerzero.regions.sets import Marker, ValueSet
from layerzero.regions.space import Space
from layerzero.regions.terms import ArmDimension, Dimension, FieldDimension, PackageDimension, broken_value
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.semantics.context import complete
from layerzero.semantics.evaluate import Lookups
from layerzero.semantics.experiments import enrol

MAX_POINTS = 50
"""Contexts that are offered for confirmation before a search gives up."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A context in a region: `given` as a caller would give it (no defaults), and the packages that it supposes."""

    operation: str
    given: Mapping[str, Value]
    lookups: Lookups  # the completed context, the packages and the arms that follow from `given`

    @property
    def context(self) -> dict[str, Any]:
        """The form that `lz decide` reads: `{"operation": "attention", "dtype": "bf16", ...}`."""
        plain = {name: str(value) if isinstance(value, Version) else value for name, value in self.given.items()}
        return {"operation": self.operation, **plain}

    @property
    def packages(self) -> dict[str, str]:
        """The versions that conditions on packages suppose: `--package NAME=VERSION` for each."""
        return {name: str(version) for name, version in sorted(self.lookups.packages.items())}


@dataclass(frozen=True, slots=True)
class Nowhere:
    """Proved: no context is in the region."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """Neither a context was found nor the proof that there is none."""

    reason: str


Found = Witness | Nowhere | Undecided
Confirm = Callable[[Witness], bool]


@dataclass(frozen=True)
class Region:
    """The completed contexts of `space` in which `formula` holds.

        region = Region.of(space, condition) - Region.of(space, other)
        match region.find(): ...

    Intersection, union, difference and complement are exact; `find` and `boxes` are where the work is done.
    """

    space: Space
    formula: Formula

    @classmethod
    def of(
        cls,
        space: Space,
        condition: Expression | None,
        wanted: Truths = Truths.TRUE,
        attributes: Mapping[str, Value] | None = None,
    ) -> Region:
        """Where a condition is one of the wanted truth values. Raises TooComplexError."""
        return cls(space, space.where(condition, wanted, attributes))

    @classmethod
    def everywhere(cls, space: Space) -> Region:
        return cls(space, f.TRUE)

    def __and__(self, other: Region) -> Region:
        return Region(self.space, f.all_of([self.formula, other.formula]))

    def __or__(self, other: Region) -> Region:
        return Region(self.space, f.any_of([self.formula, other.formula]))

    def __sub__(self, other: Region) -> Region:
        return Region(self.space, f.all_of([self.formula, f.negation(other.formula)]))

    def __invert__(self) -> Region:
        return Region(self.space, f.negation(self.formula))

    @staticmethod
    def union(space: Space, regions: Iterable[Region]) -> Region:
        return Region(space, f.any_of(region.formula for region in regions))

    def contains(self, lookups: Lookups) -> bool:
        """Whether a completed context is in the region."""
        return f.holds_in(self.formula, lookups)

    def find(
        self, confirm: Confirm | None = None, budget: int = MAX_STEPS, shortest: bool = True, most: int = MAX_POINTS
    ) -> Found:
        """A context of the region, the proof that there is none, or why neither was found.

        Args:
            confirm: asked of every candidate besides; only one that it accepts is answered.
            budget: splits that the search may take.
            shortest: leave out of the context what makes no difference; costs a `confirm` for each field.
            most: candidates that `confirm` is asked about.
        """
        search = Search(self.space, budget)
        refused = 0
        try:
            for point, state in search.points(self.formula):
                witness = self.witness_at(point, state)
                if witness is not None and (confirm is None or confirm(witness)):
                    return self._shortest(witness, confirm) if shortest else witness
                refused += 1
                if refused >= most:
                    return Undecided(f"{refused} contexts were tried and none was confirmed")
        except TooComplexError as error:
            return Undecided(str(error))
        if refused:
            what = "one context was" if refused == 1 else f"{refused} contexts were"
            return Undecided(f"{what} tried and none was confirmed")
        return Undecided(search.gaps[0]) if search.gaps else Nowhere()

    def boxes(self, limit: int = 64) -> list[dict[Dimension, ValueSet]]:
        """Boxes (dimension -> set, a dimension that is left out has every value) whose union is the region.

        Raises:
            TooComplexError: there are more than `limit`.
        """
        found: list[dict[Dimension, ValueSet]] = []
        for box in Search(self.space).boxes(self.formula):
            if box in found:
                continue
            if len(found) == limit:
                raise TooComplexError(f"more than {limit} boxes")
            found.append(box)
        return found

    # ------------------------------------------------------------ witnesses

    def witness_at(self, point: Point, state: State) -> Witness | None:
        """A context as a caller would give it, if one leads to this point; the interpreter's own rules complete it."""
        enrolled = point if self.space.free_arms else next(enrolled_points(self.space, point, state), None)
        if enrolled is None:
            return None
        given: dict[str, Value] = {}
        packages: dict[str, Version] = {}
        arms: dict[str, str] = {}
        for dimension, element in enrolled.items():
            if isinstance(dimension, PackageDimension) and isinstance(element, Version):
                packages[dimension.package] = element
            elif isinstance(dimension, FieldDimension) and not isinstance(element, Marker):
                given[dimension.name] = element
            elif isinstance(dimension, FieldDimension) and element is Marker.BROKEN:
                given[dimension.name] = broken_value(dimension.type)
            elif isinstance(dimension, ArmDimension) and isinstance(element, str):
                arms[dimension.experiment] = element
        missing = (name for name in self.space.operation.needs if name not in given)
        for name in missing:
            if self.space.program.fields[name].default is None:
                value = Search(self.space).any_value(FieldDimension(name, self.space.types[name]))
                if value is None:
                    return None
                given[name] = value
        return self._completed(given, packages, arms)

    def _completed(
        self, given: Mapping[str, Value], packages: Mapping[str, Version], arms: Mapping[str, str]
    ) -> Witness | None:
        program, operation = self.space.program, self.space.operation.name
        try:
            completed = complete(program, Scope(operation), given)
        except ContextError:
            return None
        met = arms if self.space.free_arms else enrol(program, given)
        lookups = Lookups(completed.values, packages, met)
        if not f.holds_in(self.formula, lookups):
            return None
        ordered = {name: given[name] for name in _reading_order(self.space, given)}
        return Witness(operation, ordered, lookups)

    def _shortest(self, witness: Witness, confirm: Confirm | None) -> Witness:
        """Leave out what the defaults say anyway, and what makes no difference."""
        for name in reversed(list(witness.given)):
            given = {key: value for key, value in witness.given.items() if key != name}
            shorter = self._completed(given, witness.lookups.packages, witness.lookups.arms)
            if shorter is not None and (confirm is None or confirm(shorter)):
                witness = shorter
        return witness


def _reading_order(space: Space, given: Mapping[str, Value]) -> list[str]:
    """Needed fields first, then optional ones, each as the operation lists them, then the user's own."""
    listed = [*space.operation.needs, *space.operation.optional]
    return [*(name for name in listed if name in given), *sorted(set(given) - set(listed))]
