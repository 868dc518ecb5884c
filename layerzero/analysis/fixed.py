"""One call -> the formula of the contexts that differ from it in some fields alone."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

from layerzero.analysis.model import Model
from layerzero.check.expressions import Comparison, FieldValue, Value
from layerzero.check.program import Scope
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.sets import Members, Ordered, ValueSet, interval, matching, nothing_like
from layerzero.regions.space import fits
from layerzero.regions.terms import ArmDimension, FieldDimension, PackageDimension, full
from layerzero.regions.translate import Truths
from layerzero.semantics.context import asserted_values
from layerzero.semantics.experiments import enrol


def like_it(model: Model, scope: Scope, given: Mapping[str, Value], free: Collection[str] = ()) -> Formula:
    """Contexts that are given as a call is, but for the `free` fields: those have any value, or none.

    Fields that the call leaves out have their defaults, which follow the free ones. Packages that nobody gave stay
    not given.
    """
    space = model.space
    view = None if scope.view is None else model.operation.views[scope.view]
    values = {**({} if view is None else asserted_values(model.program, view)), **given}
    parts = [model.machine, space.within([scope])]
    for name in model.program.fields:
        if name not in free:
            parts.append(_given(model, name, values[name]) if name in values else _left_out(model, name))
    parts += _arms(model, values, free)
    for package in sorted(model.packages_read - model.environment.packages.keys()):
        dimension = PackageDimension(package)
        parts.append(f.literal(dimension, full(dimension).only_markers()))
    return f.all_of(parts)


def _given(model: Model, name: str, value: Value) -> Formula:
    dimension = FieldDimension(name, model.space.types[name])
    if isinstance(value, float) and not math.isfinite(value):
        return f.literal(dimension, ValueSet(nothing_like(full(dimension).known), broken=True))
    return f.literal(dimension, only(dimension, value))


def only(dimension: FieldDimension, value: Value) -> ValueSet:
    """The set of one value."""
    if dimension.type.kind in ("int", "float", "version"):
        return ValueSet(matching(dimension.type.kind, "==", value))
    return ValueSet(Members(frozenset({value})))


def _left_out(model: Model, name: str) -> Formula:
    """The default, or absent where there is none or it cannot be computed."""
    space = model.space
    dimension = FieldDimension(name, space.types[name])
    absent = f.literal(dimension, ValueSet(nothing_like(full(dimension).known), absent=True))
    default = model.program.fields[name].default
    if default is None:
        return absent
    constant = space.constant_default(name)
    if constant is not None:
        return f.literal(dimension, only(dimension, constant))
    read = FieldValue(name, dimension.type, span=default.span)
    equal = space.where(Comparison((read, default), ("==",), span=default.span))
    return f.any_of([equal, f.all_of([absent, space.where(fits(default, dimension.type), Truths.NOT_TRUE)])])


def _arms(model: Model, values: Mapping[str, Value], free: Collection[str]) -> Iterator[Formula]:
    arms = enrol(model.program, values)
    for name, experiment in model.program.experiments.items():
        if experiment.key in free:
            continue
        arm = arms.get(name)
        members = frozenset[str]() if arm is None else frozenset({arm})
        yield f.literal(ArmDimension(name), ValueSet(Members(members), absent=arm is None))


def near(dimension: FieldDimension, value: Value | None, distance: int) -> ValueSet | None:
    """The numbers within a distance of a value; None where values have no distance."""
    if dimension.type.kind not in ("int", "float") or isinstance(value, bool | str) or value is None:
        return None
    assert isinstance(value, int | float)
    kind = "int" if dimension.type.kind == "int" else "float"
    plain: Ordered = interval(kind, value - distance, value + distance)  # type: ignore[arg-type]
    return ValueSet(plain)
