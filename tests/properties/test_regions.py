"""Regions against the interpreter: what a region says of a context is what evaluating the condition says."""

from __future__ import annotations

from functools import reduce

from hypothesis import HealthCheck, given, settings, strategies as st
from packaging.version import Version

from layerzero.check import load_text, program_from_text
from layerzero.check.expressions import (
    FLOAT,
    INT,
    STRING,
    VERSION,
    And,
    Arithmetic,
    ArmIs,
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
    type_of,
)
from layerzero.check.program import Scope
from layerzero.regions import formula as f
from layerzero.regions.region import Nowhere, Region, Witness
from layerzero.regions.simplify import readable
from layerzero.regions.space import Space
from layerzero.regions.translate import TooComplexError, Truths
from layerzero.semantics.context import complete
from layerzero.semantics.evaluate import Lookups, holds
from layerzero.semantics.experiments import enrol
from layerzero.semantics.values import UNKNOWN, Truth
from layerzero.syntax.source import Source, Span

SPAN = Span(Source("<test>", "x"), 0, 1)
DECLARED = """
    field n: int in 0..12
    field m: int in -5..5
    field big: int
    field x: float in 0..
    field y: float in -2..<2 = 0.5
    field e: enum(red, green, blue)
    field g: enum(red, green, blue) = e
    field d: int in 1..9 = n * 2
    field on: bool = false
    field up: bool
    field s: string
    field v: version
    operation work { needs n, e view small when n < 4 }
    kernel k.one for work { }
    experiment trial on s share 50% { arm one 50% arm two 50% }
"""
PROGRAM = program_from_text(DECLARED, prelude=False)
SPACE = Space(PROGRAM, PROGRAM.operations["work"])
PROFILE = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def place(name: str) -> FieldValue:
    return FieldValue(name, PROGRAM.fields[name].type, span=SPAN)


def constant(value: object, kind: object) -> Constant:
    return Constant(value, kind, span=SPAN)  # type: ignore[arg-type]


def _numeric(*parts: Expression) -> object:
    return FLOAT if any(type_of(part).kind == "float" for part in parts) else INT


# ---------------------------------------------------------------- conditions

integers = st.integers(-6, 14) | st.sampled_from([2**63 - 1, -(2**63), 2**53 + 1, 64])
doubles = st.sampled_from([0.0, 0.5, 1.0, 1.5, -2.0, 1e308, 3.0000000000000004, 0.1])
numbers = st.deferred(
    lambda: (
        st.sampled_from([place(name) for name in ("n", "m", "d", "big", "x", "y")])
        | integers.map(lambda value: constant(value, INT))
        | doubles.map(lambda value: constant(value, FLOAT))
        | st.builds(
            lambda op, a, b: Arithmetic(op, a, b, _numeric(a, b), span=SPAN),
            st.sampled_from(["+", "-", "*", "//", "%"]),
            numbers,
            numbers,
        )
        | st.builds(lambda a: Negate(a, type_of(a), span=SPAN), numbers)
        | st.builds(
            lambda name, a, b: Extremum(name, (a, b), _numeric(a, b), span=SPAN),
            st.sampled_from(["min", "max"]),
            numbers,
            numbers,
        )
        | st.builds(lambda a, c, b: Conditional(a, c, b, _numeric(a, b), span=SPAN), numbers, conditions, numbers)
    )
)
operators = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
equalities = st.sampled_from(["==", "!="])
words = st.sampled_from(["", "a", "ab", "H100", "xH100"])
strings = st.just(place("s")) | words.map(lambda value: constant(value, STRING))
enums = st.sampled_from([place("e"), place("g")]) | st.sampled_from(["red", "green", "blue"]).map(
    lambda value: constant(value, PROGRAM.fields["e"].type)
)
versions = st.sampled_from([place("v"), InstalledVersion("lib", span=SPAN)]) | st.sampled_from(
    ["1.0", "2.9", "2.10", "3.0rc1"]
).map(lambda value: constant(Version(value), VERSION))


def pair(kind: st.SearchStrategy[Expression], by: st.SearchStrategy[str]) -> st.SearchStrategy[Expression]:
    return st.builds(lambda op, a, b: Comparison((a, b), (op,), span=SPAN), by, kind, kind)  # type: ignore[arg-type]


bounds = st.none() | numbers
intervals = st.builds(
    lambda low, high, opened: Interval(low, high if low or high else constant(3, INT), opened, span=SPAN),
    bounds,
    bounds,
    st.booleans(),
)
conditions: st.SearchStrategy[Expression] = st.deferred(
    lambda: st.recursive(
        st.sampled_from([place("on"), place("up")])
        | st.sampled_from([HasField(name, span=SPAN) for name in ("d", "g", "up", "x", "s")])
        | st.sampled_from([ArmIs("trial", "one", span=SPAN)])
        | pair(numbers, operators)
        | pair(enums, equalities)
        | pair(strings, equalities)
        | pair(versions, operators)
        | st.builds(
            lambda a, b, c, p, q: Comparison((a, b, c), (p, q), span=SPAN),
            numbers,
            numbers,
            numbers,
            operators,
            operators,
        )
        | st.builds(
            lambda operand, items, negated: Membership(operand, tuple(items), negated, span=SPAN),
            numbers,
            st.lists(numbers | intervals, min_size=1, max_size=3),
            st.booleans(),
        )
        | st.builds(
            lambda pattern, negated: Like(place("s"), pattern, negated, span=SPAN),
            st.sampled_from(["*H100*", "a?", "[!a]*", "[a-c]*", "H100", "*"]),
            st.booleans(),
        ),
        lambda part: (
            st.builds(lambda a: Not(a, span=SPAN), part)
            | st.builds(lambda a, b: And((a, b), span=SPAN), part, part)
            | st.builds(lambda a, b: Or((a, b), span=SPAN), part, part)
            | st.builds(lambda a, b: Comparison((a, b), ("==",), span=SPAN), part, part)
            | st.builds(lambda a, c, b: Conditional(a, c, b, type_of(a), span=SPAN), part, part, part)
        ),
        max_leaves=6,
    )
)

# ---------------------------------------------------------------- contexts

optional = {
    "m": st.integers(-5, 5),
    "big": st.sampled_from([0, 1, 7, -3, 2**63 - 1, -(2**63), 2**53 + 1]),
    "x": st.sampled_from([0.0, 0.5, 1.0, 3.0000000000000004, 1e308, float("inf")]),
    "y": st.sampled_from([-2.0, 0.0, 1.5, 0.1]),
    "g": st.sampled_from(["red", "green", "blue"]),
    "d": st.integers(1, 9),
    "on": st.booleans(),
    "up": st.booleans(),
    "s": st.sampled_from(["", "a", "ab", "H100", "xH100", "u1", "u2"]),
    "v": st.sampled_from(["1.0", "2.9", "2.10", "3.0rc1", "3.0"]).map(Version),
}
contexts = st.fixed_dictionaries(
    {"n": st.integers(0, 12), "e": st.sampled_from(["red", "green", "blue"])}, optional=optional
)
installed = st.dictionaries(st.just("lib"), st.sampled_from(["1.0", "2.9", "2.10"]).map(Version))


@st.composite
def lookups(draw: st.DrawFn) -> Lookups:
    given_values = draw(contexts)
    completed = complete(PROGRAM, Scope("work"), given_values)
    return Lookups(completed.values, draw(installed), enrol(PROGRAM, given_values))


def truths(truth: Truth) -> Truths:
    if truth is UNKNOWN:
        return Truths.UNKNOWN
    return Truths.TRUE if truth else Truths.FALSE


# ---------------------------------------------------------------- properties


def test_every_comparison_at_every_small_value() -> None:
    """Exhaustive where boundaries lie: constants on either side, two fields, chains of both, ranges, absence."""
    sides = [place("n"), place("m"), place("x"), constant(3, INT), constant(2.5, FLOAT), constant(-1, INT)]
    sides.append(Arithmetic("-", place("n"), place("m"), INT, span=SPAN))
    pairs = [(a, b) for a in sides for b in sides if not (isinstance(a, Constant) and isinstance(b, Constant))]
    asked: list[Expression] = []
    for one, other in pairs:
        asked += [Comparison((one, other), (op,), span=SPAN) for op in ("==", "!=", "<", "<=", ">", ">=")]
        asked += [
            Membership(one, (Interval(low, high, opened, span=SPAN), constant(5, INT)), negated, span=SPAN)
            for low, high in ((other, None), (None, other), (constant(1, INT), other))
            for opened in (False, True)
            for negated in (False, True)
        ]
    samples = []
    for n in range(6):
        for m in (None, -1, 0, 2, 3, 5):
            for x in (None, 2.5, 3.0, float("inf")):
                values = {"n": n, "e": "red", "m": m, "x": x}
                given_values = {name: value for name, value in values.items() if value is not None}
                samples.append(Lookups(complete(PROGRAM, Scope("work"), given_values).values))
    for condition in asked:
        regions = {wanted: SPACE.where(condition, wanted) for wanted in (Truths.TRUE, Truths.FALSE, Truths.UNKNOWN)}
        for sample in samples:
            inside = [wanted for wanted, formula in regions.items() if f.holds_in(formula, sample)]
            assert inside == [truths(holds(condition, sample))], (condition, sample)


@PROFILE
@given(conditions, st.lists(lookups(), min_size=1, max_size=5))
def test_a_region_is_where_the_interpreter_says(condition: Expression, samples: list[Lookups]) -> None:
    for wanted in (Truths.TRUE, Truths.FALSE, Truths.UNKNOWN, Truths.NOT_TRUE, Truths.NOT_FALSE, Truths.KNOWN):
        region = Region.of(SPACE, condition, wanted)
        for sample in samples:
            assert region.contains(sample) == bool(truths(holds(condition, sample)) & wanted)


@PROFILE
@given(conditions, conditions, lookups())
def test_intersection_union_difference_and_complement(one: Expression, other: Expression, sample: Lookups) -> None:
    a, b = Region.of(SPACE, one), Region.of(SPACE, other)
    in_a, in_b = a.contains(sample), b.contains(sample)
    assert (a & b).contains(sample) == (in_a and in_b)
    assert (a | b).contains(sample) == (in_a or in_b)
    assert (a - b).contains(sample) == (in_a and not in_b)
    assert (~a).contains(sample) == (not in_a)


@PROFILE
@given(conditions, st.sampled_from([Truths.TRUE, Truths.FALSE, Truths.UNKNOWN]), st.lists(lookups(), max_size=8))
def test_a_witness_replays_and_an_empty_region_holds_no_sample(
    condition: Expression, wanted: Truths, samples: list[Lookups]
) -> None:
    region = Region.of(SPACE, condition, wanted)
    found = region.find(budget=300)
    if isinstance(found, Witness):
        again = Lookups(
            complete(PROGRAM, Scope("work"), found.given).values, found.lookups.packages, enrol(PROGRAM, found.given)
        )
        assert truths(holds(condition, again)) == wanted
    elif isinstance(found, Nowhere):
        for sample in samples:
            assert truths(holds(condition, sample)) != wanted


@PROFILE
@given(conditions, conditions)
def test_what_is_subtracted_is_gone(one: Expression, other: Expression) -> None:
    a, b = Region.of(SPACE, one), Region.of(SPACE, other)
    assert not isinstance((a & b - a).find(budget=200), Witness)
    assert not isinstance(((a - b) & b).find(budget=200), Witness)


@PROFILE
@given(conditions, st.lists(lookups(), min_size=1, max_size=5))
def test_boxes_make_up_the_region(condition: Expression, samples: list[Lookups]) -> None:
    region = Region.of(SPACE, condition)
    try:
        boxes = region.boxes(limit=200)
    except TooComplexError:
        return
    union = f.any_of(f.all_of(f.literal(d, values) for d, values in box.items()) for box in boxes)
    for sample in samples:
        assert f.holds_in(union, sample) == region.contains(sample)


@PROFILE
@given(lookups())
def test_every_completed_context_fulfils_the_axioms(sample: Lookups) -> None:
    everything = reduce(lambda a, b: And((a, b), span=SPAN), [HasField(name, span=SPAN) for name in PROGRAM.fields])
    for axiom in SPACE.axioms(SPACE.where(everything)):
        assert f.holds_in(axiom, sample)


@PROFILE
@given(conditions, st.sampled_from([Truths.TRUE, Truths.NOT_TRUE]), st.lists(lookups(), min_size=1, max_size=5))
def test_a_region_reads_as_a_condition_that_means_it(
    condition: Expression, wanted: Truths, samples: list[Lookups]
) -> None:
    region = Region.of(SPACE, condition, wanted)
    try:
        written = readable(region, limit=40)
    except TooComplexError:
        return
    checked = load_text(f"{DECLARED}\ndeny k.one for work when {written.text} as probe", prelude=False)
    assert checked.program is not None, f"{written.text}: {[d.message for d in checked.diagnostics]}"
    if written.exact:
        again = next(rule.condition for rule in checked.program.rules if rule.name == "probe")
        for sample in samples:
            assert (holds(again, sample) is True) == region.contains(sample), written.text
