"""A condition -> the formula that holds exactly where the condition is true, false or unknown.

Which of the three is asked is a set of them: `where(c, TRUE)`, `where(c, FALSE | UNKNOWN)`. Conjunction and
disjunction follow Kleene; a conditional inside a comparison is split into its cases; `kernel.X` is a constant of the
one kernel that is asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntFlag
from itertools import pairwise
from typing import assert_never

from layerzero.check.expressions import (
    FLOAT,
    And,
    Arithmetic,
    ArmIs,
    AttributeValue,
    Comparison,
    ComparisonOperator,
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
    Type,
    Value,
    type_of,
    walk,
)
from layerzero.regions import formula as f
from layerzero.regions.formula import Formula
from layerzero.regions.sets import Members, Ordered, ValueSet, interval, matching, nothing_like
from layerzero.regions.terms import (
    ArmDimension,
    Dimension,
    FieldDimension,
    LikeDimension,
    dimension_of,
    full,
    is_ordered,
    sign_between,
)
from layerzero.semantics import values as rules
from layerzero.semantics.evaluate import Lookups, evaluate
from layerzero.syntax.glob import like

MAX_CASES = 256
"""Combinations of the conditionals within one comparison; past it the answer is "too complex"."""


class Truths(IntFlag):
    """A set of truth values."""

    NONE = 0
    TRUE = 1
    FALSE = 2
    UNKNOWN = 4
    NOT_TRUE = 6
    NOT_FALSE = 5
    KNOWN = 3
    ANY = 7


class TooComplexError(Exception):
    """A question that is larger than the stated bounds: it is answered "undecided", never guessed."""


_OPPOSITE: dict[ComparisonOperator, ComparisonOperator] = {
    "==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<=",
}  # fmt: skip
_SIGNS_OF: dict[ComparisonOperator, frozenset[int]] = {
    "==": frozenset({0}),
    "!=": frozenset({-1, 1}),
    "<": frozenset({-1}),
    "<=": frozenset({-1, 0}),
    ">": frozenset({1}),
    ">=": frozenset({0, 1}),
}

Part = Callable[[Truths], Formula]


def where(
    condition: Expression | None,
    wanted: Truths,
    types: Mapping[str, Type],
    attributes: Mapping[str, Value] | None = None,
) -> Formula:
    """The formula of the contexts in which a condition is one of the wanted truth values.

    Args:
        condition: None stands for one that is not written, which is true.
        wanted: the truth values asked for.
        types: of the program's fields.
        attributes: those of the kernel that is asked about; `kernel.X` is unknown where it is not among them.

    Raises:
        TooComplexError: more cases than the bounds allow.
    """
    if condition is None:
        return _constant(True, wanted)
    return _Translation(types, attributes or {}).condition(condition, wanted)


def opposite(wanted: Truths) -> Truths:
    """The truth values whose negations are wanted."""
    turned = wanted & Truths.UNKNOWN
    if wanted & Truths.TRUE:
        turned |= Truths.FALSE
    if wanted & Truths.FALSE:
        turned |= Truths.TRUE
    return turned


def _constant(truth: rules.Truth, wanted: Truths) -> Formula:
    if truth is rules.UNKNOWN:
        return f.TRUE if wanted & Truths.UNKNOWN else f.FALSE
    return f.TRUE if wanted & (Truths.TRUE if truth else Truths.FALSE) else f.FALSE


def _literal(dimension: Dimension, true: ValueSet, wanted: Truths) -> Formula:
    """A condition that is true for the known values in `true`, false for other known ones, else unknown."""
    everything = full(dimension)
    values = ValueSet(nothing_like(everything.known))
    if wanted & Truths.TRUE:
        values |= true.only_known()
    if wanted & Truths.FALSE:
        values |= everything.only_known() - true
    if wanted & Truths.UNKNOWN:
        values |= everything.only_markers()
    return f.literal(dimension, values)


def _all(parts: Iterable[Part], wanted: Truths) -> Formula:
    """Kleene's conjunction of parts, each of which answers for any set of truth values."""
    listed = list(parts)
    found: list[Formula] = []
    if wanted & Truths.TRUE and wanted & Truths.UNKNOWN and wanted & Truths.FALSE:
        return f.TRUE
    if wanted & Truths.FALSE:
        low = wanted & Truths.NOT_TRUE  # "false or unknown" is one question to each part
        found.append(f.any_of(part(low) for part in listed))
        wanted &= ~low
    if wanted & Truths.TRUE:
        found.append(f.all_of(part(wanted) for part in listed))
    elif wanted & Truths.UNKNOWN:
        not_false = f.all_of(part(Truths.NOT_FALSE) for part in listed)
        found.append(f.all_of([not_false, f.any_of(part(Truths.UNKNOWN) for part in listed)]))
    return f.any_of(found)


def _any(parts: Iterable[Part], wanted: Truths) -> Formula:
    return _all((_turned(part) for part in parts), opposite(wanted))


def _turned(part: Part) -> Part:
    return lambda wanted: part(opposite(wanted))


@dataclass(frozen=True, slots=True)
class _Cases:
    """An expression without its conditionals: which one it is where, and where it is none (unknown)."""

    known: tuple[tuple[Formula, Expression], ...]
    unknown: Formula = f.FALSE


@dataclass
class _Translation:
    types: Mapping[str, Type]
    attributes: Mapping[str, Value]
    _done: dict[tuple[int, Truths], tuple[Expression, Formula]] = field(default_factory=dict)

    def condition(self, condition: Expression, wanted: Truths) -> Formula:
        # Defines are shared, so a condition that doubles thirty times is small as a graph: each node is done once.
        key = (id(condition), wanted)
        if key not in self._done:
            self._done[key] = (condition, self._condition(condition, wanted))
        return self._done[key][1]

    def _part(self, condition: Expression) -> Part:
        return lambda wanted: self.condition(condition, wanted)

    def _condition(self, condition: Expression, wanted: Truths) -> Formula:
        match condition:
            case Constant(value=value):
                return _constant(value if isinstance(value, bool) else rules.UNKNOWN, wanted)
            case AttributeValue(name=name):
                own = self.attributes.get(name)
                return _constant(own if isinstance(own, bool) else rules.UNKNOWN, wanted)
            case FieldValue(name=name, type=type):
                return _literal(FieldDimension(name, type), ValueSet(Members(frozenset({True}))), wanted)
            case HasField(name=name):
                dimension = FieldDimension(name, self.types[name])
                absent = ValueSet(nothing_like(full(dimension).known), absent=True)
                there = full(dimension) - absent  # also where the value is NaN: present, though no condition reads it
                return f.any_of(
                    f.literal(dimension, values)
                    for truth, values in ((Truths.TRUE, there), (Truths.FALSE, absent))
                    if wanted & truth
                )
            case ArmIs(experiment=experiment, arm=arm):
                enrolment = ArmDimension(experiment)
                inside = ValueSet(Members(frozenset({arm})))
                outside = full(enrolment) - inside  # also where the call is not enrolled
                return f.any_of(
                    f.literal(enrolment, values)
                    for truth, values in ((Truths.TRUE, inside), (Truths.FALSE, outside))
                    if wanted & truth
                )
            case Not(operand=operand):
                return self.condition(operand, opposite(wanted))
            case And(operands=operands):
                return _all(map(self._part, operands), wanted)
            case Or(operands=operands):
                return _any(map(self._part, operands), wanted)
            case Comparison(operands=operands, operators=operators):
                pairs = zip(operators, pairwise(operands), strict=True)
                return _all([self._pair(operator, one, other) for operator, (one, other) in pairs], wanted)
            case Membership():
                turned = opposite(wanted) if condition.negated else wanted
                return self._membership(condition, turned)
            case Like(operand=operand, pattern=pattern, negated=negated):
                turned = opposite(wanted) if negated else wanted
                return self._by_cases((operand,), lambda leaf: self._like(leaf[0], pattern, turned), wanted)
            case Conditional(then=then, condition=test, otherwise=otherwise):
                found = [
                    f.all_of([self.condition(test, Truths.TRUE), self.condition(then, wanted)]),
                    f.all_of([self.condition(test, Truths.FALSE), self.condition(otherwise, wanted)]),
                ]
                if wanted & Truths.UNKNOWN:
                    found.append(self.condition(test, Truths.UNKNOWN))
                return f.any_of(found)
            case InstalledVersion() | Extremum() | Negate() | Arithmetic():
                raise TypeError(f"{type_of(condition)} is not a condition")
            case _:
                assert_never(condition)

    # ------------------------------------------------------------ comparisons

    def _pair(self, operator: ComparisonOperator, one: Expression, other: Expression) -> Part:
        if type_of(one).kind == "bool":
            return lambda wanted: self._equivalence(one, other, opposite(wanted) if operator == "!=" else wanted)
        return lambda wanted: self._by_cases(
            (one, other), lambda leaves: self._compare(operator, leaves[0], leaves[1], wanted), wanted
        )

    def _equivalence(self, one: Expression, other: Expression, wanted: Truths) -> Formula:
        left, right = self._part(one), self._part(other)
        found: list[Formula] = []
        for side in (Truths.TRUE, Truths.FALSE):
            if wanted & Truths.TRUE:
                found.append(f.all_of([left(side), right(side)]))
            if wanted & Truths.FALSE:
                found.append(f.all_of([left(side), right(opposite(side))]))
        if wanted & Truths.UNKNOWN:
            found += [left(Truths.UNKNOWN), right(Truths.UNKNOWN)]
        return f.any_of(found)

    def _compare(self, operator: ComparisonOperator, one: Expression, other: Expression, wanted: Truths) -> Formula:
        left, right = _value_of(one), _value_of(other)
        if left is rules.UNKNOWN or right is rules.UNKNOWN:
            return _constant(rules.UNKNOWN, wanted)
        if left is not None and right is not None:
            return _constant(rules.compare(operator, left, right), wanted)
        if left is not None:
            operator, one, right = _OPPOSITE[operator], other, left
        if right is None:
            return _compare_terms(operator, one, other, wanted)
        dimension = dimension_of(one)
        assert dimension is not None, "what reads something has a dimension"
        return _literal(dimension, ValueSet(matching(type_of(one).kind, operator, right)), wanted)

    def _membership(self, condition: Membership, wanted: Truths) -> Formula:
        operand = condition.operand
        if type_of(operand).kind == "bool":
            items = [item for item in condition.items if not isinstance(item, Interval)]
            return _any([self._pair("==", operand, item) for item in items], wanted)
        plain = _plain_items(condition)
        dimension = dimension_of(operand)
        if plain is not None and dimension is not None and isinstance(operand, FieldValue | InstalledVersion):
            return _literal(dimension, ValueSet(plain), wanted)
        parts: list[Part] = []
        for item in condition.items:
            if isinstance(item, Interval):
                parts.append(self._within(operand, item))
            else:
                parts.append(self._pair("==", operand, item))
        return _any(parts, wanted)

    def _within(self, operand: Expression, item: Interval) -> Part:
        pairs: list[Part] = []
        if item.low is not None:
            pairs.append(self._pair("<=", item.low, operand))
        if item.high is not None:
            pairs.append(self._pair("<" if item.high_open else "<=", operand, item.high))
        # `..` without ends does not parse, so there is at least one pair, and each is unknown where the operand is.
        return lambda wanted: _all(pairs, wanted)

    def _like(self, operand: Expression, pattern: str, wanted: Truths) -> Formula:
        text = _value_of(operand)
        if text is not None:
            return _constant(like(text, pattern) if isinstance(text, str) else rules.UNKNOWN, wanted)
        if not any(character in pattern for character in "*?[\\"):
            return self._compare("==", operand, Constant(pattern, Type("string"), span=operand.span), wanted)
        return _literal(LikeDimension(operand, pattern), ValueSet(Members(frozenset({True}))), wanted)

    # ------------------------------------------------------------ conditionals inside values

    def _by_cases(
        self, parts: tuple[Expression, ...], leaf: Callable[[tuple[Expression, ...]], Formula], wanted: Truths
    ) -> Formula:
        cases = self._product(parts)
        found = [f.all_of([guard, leaf(leaves)]) for guard, leaves in cases[0]]
        if wanted & Truths.UNKNOWN:
            found.append(cases[1])
        return f.any_of(found)

    def _product(self, parts: tuple[Expression, ...]) -> tuple[list[tuple[Formula, tuple[Expression, ...]]], Formula]:
        """Every combination of the parts' cases, and where any of the parts has none."""
        known: list[tuple[Formula, tuple[Expression, ...]]] = [(f.TRUE, ())]
        unknown: list[Formula] = []
        for part in parts:
            cases = self._cases(part)
            unknown.append(cases.unknown)
            known = [
                (f.all_of([guard, extra]), (*leaves, leaf)) for guard, leaves in known for extra, leaf in cases.known
            ]
            known = [(guard, leaves) for guard, leaves in known if guard != f.FALSE]
            if len(known) > MAX_CASES:
                raise TooComplexError(f"a comparison has more than {MAX_CASES} cases")
        return known, f.any_of(unknown)

    def _cases(self, expression: Expression) -> _Cases:
        match expression:
            case AttributeValue(name=name, type=type):
                value = self.attributes.get(name)
                if value is None:
                    return _Cases((), f.TRUE)
                return _Cases(((f.TRUE, Constant(value, type, span=expression.span)),))
            case Conditional(then=then, condition=test, otherwise=otherwise, type=type):
                found: list[tuple[Formula, Expression]] = []
                unknown = [self.condition(test, Truths.UNKNOWN)]
                for branch, truth in ((then, Truths.TRUE), (otherwise, Truths.FALSE)):
                    guard, cases = self.condition(test, truth), self._cases(branch)
                    found += [(f.all_of([guard, extra]), _as_double(leaf, type)) for extra, leaf in cases.known]
                    unknown.append(f.all_of([guard, cases.unknown]))
                if len(found) > MAX_CASES:
                    raise TooComplexError(f"a conditional has more than {MAX_CASES} cases")
                return _Cases(tuple((guard, leaf) for guard, leaf in found if guard != f.FALSE), f.any_of(unknown))
            case Negate(operand=operand):
                return self._rebuilt((operand,), lambda leaves: replace(expression, operand=leaves[0]))
            case Arithmetic(left=left, right=right):
                return self._rebuilt((left, right), lambda leaves: replace(expression, left=leaves[0], right=leaves[1]))
            case Extremum(arguments=arguments):
                return self._rebuilt(arguments, lambda leaves: replace(expression, arguments=leaves))
            case _:
                return _Cases(((f.TRUE, expression),))

    def _rebuilt(self, parts: tuple[Expression, ...], build: Callable[[tuple[Expression, ...]], Expression]) -> _Cases:
        known, unknown = self._product(parts)
        return _Cases(tuple((guard, build(leaves)) for guard, leaves in known), unknown)


def _as_double(leaf: Expression, type: Type) -> Expression:
    """`4 if c else 0.5` is a double whichever branch is taken."""
    if type.kind != "float" or type_of(leaf).kind == "float":
        return leaf
    return Extremum("max", (leaf,), FLOAT, span=leaf.span)


def _value_of(expression: Expression) -> rules.Result | None:
    """The value of an expression that reads nothing; None for one that does."""
    if isinstance(expression, Constant):
        return expression.value
    if _reads(expression):
        return None
    return evaluate(expression, Lookups())


def _reads(expression: Expression) -> bool:
    reading = FieldValue | InstalledVersion | AttributeValue
    return any(isinstance(part, reading) for part in walk(expression))


def _compare_terms(operator: ComparisonOperator, one: Expression, other: Expression, wanted: Truths) -> Formula:
    dimension, swapped = sign_between(one, other)
    if is_ordered(one):
        signs = _SIGNS_OF[_OPPOSITE[operator] if swapped else operator]
    else:
        signs = frozenset({0}) if operator == "==" else frozenset({1})
    return _literal(dimension, ValueSet(Members(signs)), wanted)


def _plain_items(condition: Membership) -> Ordered | Members | None:
    """The set that the items make when all of them are constants; None where one is not, or is unknown."""
    kind = type_of(condition.operand).kind
    found: ValueSet | None = None
    for item in condition.items:
        if isinstance(item, Interval):
            low = None if item.low is None else _value_of(item.low)
            high = None if item.high is None else _value_of(item.high)
            bounds = [bound for bound, written in ((low, item.low), (high, item.high)) if written is not None]
            if any(bound is None or bound is rules.UNKNOWN for bound in bounds) or kind not in ("int", "float"):
                return None
            plain: Ordered | Members = interval("int" if kind == "int" else "float", low, high, item.high_open)
        else:
            value = _value_of(item)
            if value is None or value is rules.UNKNOWN:
                return None
            plain = matching(kind, "==", value)
        found = ValueSet(plain) if found is None else found | ValueSet(plain)
    return None if found is None else found.known
