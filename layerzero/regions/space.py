"""The contexts of one operation: which values each dimension can have, and how defaults tie fields together.

A region speaks of *completed* contexts. A needed field is always there, and so is one with a constant default; a
field whose default is computed is absent only where that default is unknown or outside the field's range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from layerzero.check.expressions import Comparison, Constant, Expression, Interval, Membership, Type, Value, fields_of
from layerzero.check.program import Operation, Program, Scope
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.sets import Members, ValueSet
from layerzero.regions.terms import (
    ArmDimension,
    Dimension,
    FieldDimension,
    LikeDimension,
    PackageDimension,
    SignDimension,
    TermDimension,
    basis,
    full,
)
from layerzero.regions.translate import Truths, where
from layerzero.semantics.context import as_type
from layerzero.semantics.evaluate import Lookups, evaluate
from layerzero.semantics.values import UNKNOWN
from layerzero.syntax.source import Span


@dataclass(frozen=True)
class Space:
    """All completed contexts of an operation of a program.

    Which arms a call is in follows from its keys; with `free_arms` every arm is met with every value of the keys, as
    a `whenever` means it.
    """

    program: Program
    operation: Operation
    free_arms: bool = False
    _formulas: dict[tuple[object, ...], Formula] = field(default_factory=dict, compare=False, repr=False)
    _kept: list[object] = field(default_factory=list, compare=False, repr=False)

    @cached_property
    def types(self) -> dict[str, Type]:
        return {name: declared.type for name, declared in self.program.fields.items()}

    def where(
        self,
        condition: Expression | None,
        wanted: Truths = Truths.TRUE,
        attributes: Mapping[str, Value] | None = None,
    ) -> Formula:
        """The formula of a condition (translate.where), remembered: analyses ask for the same ones again and again."""
        key = (id(condition), wanted, None if attributes is None else id(attributes))
        if key not in self._formulas:
            self._formulas[key] = where(condition, wanted, self.types, attributes)
            self._kept.append((condition, attributes))  # so that the ids in the key stay theirs
        return self._formulas[key]

    def within(self, scopes: Iterable[Scope], wanted: Truths = Truths.TRUE) -> Formula:
        """The contexts in at least one of these scopes of this operation (in the wanted way)."""
        views = [scope.view for scope in scopes if scope.operation == self.operation.name]
        if None in views:
            return f.TRUE
        return f.any_of(self.where(self.operation.views[view], wanted) for view in views if view is not None)

    def domain(self, dimension: Dimension) -> ValueSet:
        """The elements that a dimension can have in some completed context of this operation."""
        known = self._domains.get(dimension)
        if known is None:
            known = self._domains[dimension] = self._domain(dimension)
        return known

    @cached_property
    def _domains(self) -> dict[Dimension, ValueSet]:
        return {}

    def _domain(self, dimension: Dimension) -> ValueSet:
        everything = full(dimension)
        match dimension:
            case FieldDimension(name=name):
                return everything if self.may_be_absent(name) else replace(everything, absent=False)
            case ArmDimension(experiment=name):
                experiment = self.program.experiments[name]
                met = (arm for arm in experiment.arms if self.free_arms or (arm.buckets > 0 and experiment.share > 0))
                arms = frozenset(arm.name for arm in met)
                return ValueSet(Members(arms), absent=True)
            case TermDimension() | SignDimension() | LikeDimension():
                return everything
            case PackageDimension():
                return everything

    def may_be_absent(self, name: str) -> bool:
        """Whether some completed context lacks the field, as far as can be told from its own declaration."""
        if name in self.operation.needs:
            return False
        default = self.program.fields[name].default
        return default is None or bool(fields_of(default)) or self.constant_default(name) is None

    def constant_default(self, name: str) -> Value | None:
        """The value of a default that reads no field; None where there is none or it does not fit."""
        default = self.program.fields[name].default
        if default is None or fields_of(default):
            return None
        result = evaluate(default, Lookups())
        return None if result is UNKNOWN else as_type(self.types[name], result)

    def axioms(self, formula: Formula) -> list[Formula]:
        """What defaults say about the fields of a formula: absent only where the default is unknown or out of range."""
        found: list[Formula] = []
        waiting = [name for dimension in f.dimensions(formula) for name in _fields_of(dimension)]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            default = self.program.fields[name].default
            if name in seen or default is None or not self.may_be_absent(name) or not fields_of(default):
                continue
            seen.add(name)
            dimension = FieldDimension(name, self.types[name])
            there = f.literal(dimension, replace(full(dimension), absent=False))
            axiom = f.any_of([there, where(fits(default, self.types[name]), Truths.NOT_TRUE, self.types)])
            found.append(axiom)
            waiting.extend(name for dimension in f.dimensions(axiom) for name in _fields_of(dimension))
        return found


def _fields_of(dimension: Dimension) -> list[str]:
    parts = basis(dimension) if isinstance(dimension, TermDimension | SignDimension | LikeDimension) else (dimension,)
    return [part.name for part in parts if isinstance(part, FieldDimension)]


def fits(default: Expression, type: Type) -> Expression:
    """A condition that is true exactly where a default has a value that its field can hold."""
    span: Span = default.span
    if type.kind == "enum":
        members = tuple(Constant(member, type, span=span) for member in type.members)
        return Membership(default, members, False, span=span)
    if type.kind in ("int", "float") and (type.low is not None or type.high is not None):
        number = Type("int" if type.kind == "int" else "float")
        low = None if type.low is None else Constant(type.low, number, span=span)
        high = None if type.high is None else Constant(type.high, number, span=span)
        return Membership(default, (Interval(low, high, type.high_open, span=span),), False, span=span)
    return Comparison((default, default), ("==",), span=span)  # true wherever it is known
