"""Checked expression and what is known when compiling -> three-valued term, folded.

Known when compiling: fixed fields, installed packages, and for conditions that read `kernel.X` the one kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from layerzero.check.expressions import (
    And,
    Arithmetic,
    ArmIs,
    AttributeValue,
    Comparison,
    Conditional,
    Constant,
    Expression,
    Extremum,
    FieldValue,
    HasField,
    InstalledVersion,
    Interval,
    Like,
    Membership,
    Negate,
    Not,
    Or,
    Value,
    children,
    type_of,
)
from layerzero.compiler.terms import Id, Pool
from layerzero.compiler.versions import AnyVersion, Between
from layerzero.syntax.glob import like

Coin = tuple[str, Id, Id]
"""A comparison by operator and sides."""


@dataclass
class Specialiser:
    """Turns expressions into terms of `pool`.

    `fixed` holds a term for every field that is known when compiling (`pool.unknown` for one that is absent);
    `versions` the packages that are present. Shared sub-expressions are visited once. How a version that stands for
    many compares with a field is not known: `tossed` collects such comparisons, `coins` says how they come out.
    """

    pool: Pool
    fixed: Mapping[str, Id]
    versions: Mapping[str, AnyVersion]
    attributes: Mapping[str, Value] = field(default_factory=dict)
    coins: Mapping[Coin, bool] = field(default_factory=dict)
    tossed: set[Coin] = field(default_factory=set)
    _done: dict[int, tuple[Expression, Id]] = field(default_factory=dict)

    def about(self, attributes: Mapping[str, Value]) -> Specialiser:
        """The same knowledge, asked about a kernel with these attributes."""
        return Specialiser(self.pool, self.fixed, self.versions, attributes)

    def with_versions(self, versions: Mapping[str, AnyVersion], coins: Mapping[Coin, bool]) -> Specialiser:
        return Specialiser(self.pool, self.fixed, {**self.versions, **versions}, self.attributes, coins)

    def condition(self, expression: Expression | None) -> Id:
        """The term of a condition; one that is not written is true."""
        return self.pool.true if expression is None else self.term(expression)

    def term(self, expression: Expression) -> Id:
        """The term of an expression. Parts come first, so a deep expression needs no deep stack."""
        done = self._done
        known = done.get(id(expression))
        if known is not None:
            return known[1]
        stack = [expression]
        while stack:
            top = stack[-1]
            waiting = [part for part in children(top) if id(part) not in done]
            if waiting:
                stack.extend(waiting)
                continue
            stack.pop()
            if id(top) not in done:
                # The expression is kept beside its term, so that its id stays its own.
                done[id(top)] = (top, self._term(top))
        return done[id(expression)][1]

    def _term(self, expression: Expression) -> Id:
        pool = self.pool
        match expression:
            case Constant(value=value):
                return pool.constant(value)
            case FieldValue(name=name, type=type):
                found = self.fixed.get(name)
                return pool.add("field", name, _stored_kind(type.kind)) if found is None else found
            case AttributeValue(name=name):
                attribute = self.attributes.get(name)
                return pool.unknown if attribute is None else pool.constant(attribute)
            case InstalledVersion(package=package):
                version = self.versions.get(package)
                return pool.unknown if version is None else pool.constant(version)
            case HasField(name=name):
                if name in pool.present:
                    return pool.true
                found = self.fixed.get(name)
                return pool.add("has", name) if found is None else pool.false if found == pool.unknown else pool.true
            case ArmIs(experiment=experiment, arm=arm):
                return pool.add("arm", experiment, arm)
            case Extremum(function=function, arguments=arguments, type=type):
                return pool.extremum(function, type.kind, tuple(self.term(part) for part in arguments))
            case Negate(operand=operand, type=type):
                return pool.negate_value(type.kind, self.term(operand))
            case Arithmetic(operator=operator, left=left, right=right, type=type):
                return pool.arithmetic(operator, type.kind, self.term(left), self.term(right))
            case Conditional(then=then, condition=condition, otherwise=otherwise, type=type):
                parts = self.term(condition), self.term(then), self.term(otherwise)
                return pool.alternative(*parts) if type.kind == "bool" else pool.choose(_stored_kind(type.kind), *parts)
            case Comparison(operands=operands, operators=operators):
                pairs = zip(operators, operands, operands[1:], strict=False)
                return pool.conjunction(tuple(self._compare(operator, one, other) for operator, one, other in pairs))
            case Membership(operand=operand, items=items, negated=negated):
                found = pool.disjunction(tuple(self._matches(operand, item) for item in items))
                return pool.negation(found) if negated else found
            case Like(operand=operand, pattern=pattern, negated=negated):
                found = self._like(self.term(operand), pattern)
                return pool.negation(found) if negated else found
            case Not(operand=operand):
                return pool.negation(self.term(operand))
            case And(operands=operands):
                return pool.conjunction(tuple(self.term(operand) for operand in operands))
            case Or(operands=operands):
                return pool.disjunction(tuple(self.term(operand) for operand in operands))
            case _:
                assert_never(expression)

    def _compare(self, operator: str, left: Expression, right: Expression) -> Id:
        one, other = self.term(left), self.term(right)
        if type_of(left).kind == "version":
            same = self._compare_versions("==" if operator == "!=" else operator, one, other)
            return self.pool.negation(same) if operator == "!=" else same
        if type_of(left).kind != "bool":
            return self.pool.compare(operator, one, other)
        same = self.pool.equivalent(one, other)
        return same if operator == "==" else self.pool.negation(same)

    def _compare_versions(self, operator: str, one: Id, other: Id) -> Id:
        pool = self.pool
        folded = pool.compare(operator, one, other)
        stand_ins = [term for term in (one, other) if isinstance(pool.constant_value(term), Between)]
        if len(stand_ins) != 1 or folded in (pool.true, pool.false, pool.unknown):
            return folded
        coin = (operator, one, other)
        self.tossed.add(coin)
        value = other if stand_ins[0] == one else one
        known = pool.compare("==", value, value)
        return known if self.coins.get(coin, True) else pool.negation(known)

    def _matches(self, operand: Expression, item: Expression | Interval) -> Id:
        if not isinstance(item, Interval):
            return self._compare("==", operand, item)
        bounds: list[Id] = []
        if item.low is not None:
            bounds.append(self._compare("<=", item.low, operand))
        if item.high is not None:
            bounds.append(self._compare("<" if item.high_open else "<=", operand, item.high))
        return self.pool.conjunction(tuple(bounds))

    def _like(self, text: Id, pattern: str) -> Id:
        value = self.pool.constant_value(text)
        if isinstance(value, str):
            return self.pool.true if like(value, pattern) else self.pool.false
        return self.pool.unknown if text == self.pool.unknown else self.pool.add("like", text, pattern)


def _stored_kind(kind: str) -> str:
    return "string" if kind == "enum" else kind
